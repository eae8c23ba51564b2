# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed or interrupted: nothing lost, and the next run cleans up."""
from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from killing import Killer, kill_imports, kill_stashes, start
from storages import Storage

from kiwi_stackbuild_plugin import locks

#: moments are seeded; "make soak" takes 500 of each
KILLS = int(os.environ.get('KIWI_STASH_TEST_KILLS', '12'))
SEED = int(os.environ.get('KIWI_STASH_TEST_SEED', '1'))


def test_killed_stash(storage: Storage, tmp_path: Path) -> None:
    killer = Killer(storage, tmp_path, SEED)
    assert kill_stashes(killer, KILLS) >= KILLS // 2


def test_killed_import(storage: Storage, tmp_path: Path) -> None:
    killer = Killer(storage, tmp_path, SEED + 1)
    assert kill_imports(killer, KILLS) >= KILLS // 2


def test_podman_killed_while_it_unmounts(storage: Storage, root: Path) -> None:
    """It then can neither mount nor unmount the image, and says so for ever."""
    storage.kiwi('stash', '--root', str(root))
    path = storage.mount('localhost/small')
    subprocess.run(['umount', str(path)], check=True)
    path.rmdir()
    broken = storage.run('podman', 'image', 'mount', 'localhost/small', check=False)
    if broken.returncode == 0:
        storage.unmount('localhost/small')
    (root / 'etc/new').write_text('new')
    storage.kiwi('stash', '--root', str(root))
    assert storage.stash('small')['layers'] == 2
    storage.mount('localhost/small')
    storage.unmount('localhost/small')


def slow_tool(storage: Storage, tmp_path: Path, name: str, pattern: str) -> Path:
    """Put a tool in front that does its work and then never ends."""
    folder = tmp_path / 'slow'
    folder.mkdir()
    flag = tmp_path / 'reached'
    (folder / name).write_text(
        '#!/bin/sh\n'
        f'case " $* " in {pattern}) PATH="{os.environ["PATH"]}" {name} "$@"\n'
        f'touch {flag}; sleep 1000; sleep 1000;; esac\n'
        f'PATH="{os.environ["PATH"]}" exec {name} "$@"\n'
    )
    (folder / name).chmod(0o755)
    storage.environment['PATH'] = f'{folder}:{os.environ["PATH"]}'
    return flag


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(('command', 'tool', 'word'), [
    ('stash', 'skopeo', 'copy'), ('stash', 'podman', 'mount'),
    ('stackbuild', 'podman', 'mount'), ('stackbuild', 'cp', '--archive')
])
def test_interrupted_run_cleans_up_at_once(
    storage: Storage, root: Path, tmp_path: Path, number: signal.Signals,
    command: str, tool: str, word: str
) -> None:
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/new').write_text('new')
    target = tmp_path / 'target'
    words = {
        'stash': ('stash', '--root', str(root)),
        'stackbuild': ('stackbuild', '--stash', 'small', '--target-dir', str(target))
    }[command]
    storage.forget_indexes()
    images = storage.run('podman', 'images', '--all', '--quiet').stdout
    flag = slow_tool(storage, tmp_path, tool, f'*" {word} "*')
    process = start(storage, *words)
    while not flag.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    storage.environment['PATH'] = os.environ['PATH']
    assert storage.left_overs() == []
    assert not target.exists()
    assert not (root / 'image/.stash.json.new').exists()
    assert storage.run('podman', 'images', '--all', '--quiet').stdout == images
    with locks.locked('the root tree', str(root)):
        pass
    storage.kiwi(*words)


def test_killed_copy_out_leaves_the_earlier_archive(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    archive = tmp_path / 'out' / 'stash.tar'
    archive.parent.mkdir()
    words = ('stash', '--root', str(root), f'--export=oci-archive:{archive}')
    storage.kiwi(*words)
    before = archive.read_bytes()
    (root / 'etc/new').write_text('new')
    flag = slow_tool(storage, tmp_path, 'skopeo', '*" copy "*oci-archive:*')
    process = start(storage, *words)
    while not flag.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert archive.read_bytes() == before
    storage.environment['PATH'] = os.environ['PATH']
    storage.kiwi(*words)
    assert archive.read_bytes() != before
    assert [path.name for path in archive.parent.iterdir()] == ['stash.tar']
