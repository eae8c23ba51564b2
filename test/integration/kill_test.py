# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed or interrupted: nothing lost, and the next run cleans up."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import List

import pytest
from killing import Killer, kill_imports, kill_stashes, slow_tool, start
from storages import Storage, image_root, mounts_below
from trees import CONFIG

from kiwi_stackbuild_plugin.host import locks

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


def work_on_the_mount(storage: Storage) -> None:
    """Let the layers look as if the storage had their files elsewhere."""
    for layer in (storage.where / 'graph/overlay').glob('*/diff'):
        (layer.parent / 'composefs-data').mkdir()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(('command', 'tool', 'word'), [
    ('stash', 'skopeo', 'copy'), ('stash', 'mount', 'overlay'), ('stash', 'podman', 'mount'),
    ('stackbuild', 'mount', 'overlay'), ('stackbuild', 'podman', 'mount'),
    ('stackbuild', 'cp', '--preserve=all')
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
    if tool in ('cp', 'podman'):
        work_on_the_mount(storage)
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


def test_interrupted_while_the_base_is_read(storage: Storage, root: Path) -> None:
    """A process of its own reads it, and has it open."""
    for number in range(4000):
        (root / f'usr/{number}').touch()
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/new').write_text('new')
    storage.forget_indexes()
    process = start(storage, 'stash', '--root', str(root))
    while not mounts_below(storage.temp_dir):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 128 + signal.SIGINT
    assert storage.left_overs() == []
    storage.kiwi('stash', '--root', str(root))


def test_killed_copy_out_leaves_the_earlier_archive(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    archive = tmp_path / 'out' / 'stash.tar'
    archive.parent.mkdir()
    words = ('stash', '--root', str(root), f'--export=oci-archive:{archive}')
    storage.kiwi(*words)
    before = archive.read_bytes()
    (root / 'etc/new').write_text('new')
    flag = slow_tool(storage, tmp_path, 'skopeo', '*" copy "*containers-storage:*" oci:"*')
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


def give_programs(root: Path, *names: str) -> None:
    """Copy programs into a root, with the libraries they need."""
    (root / 'bin').symlink_to('usr/bin')
    for name in names:
        program = shutil.which(name)
        assert program
        needed = subprocess.run(
            ['ldd', program], capture_output=True, text=True, check=True
        ).stdout
        shutil.copy(program, root / 'usr/bin' / name)
        for path in re.findall(r'/\S+', needed):
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path[1:])


def stash_what_can_be_extended(storage: Storage, root: Path) -> None:
    """Stash a root in which kiwi can run a script."""
    (root / 'image/config.xml').write_text(CONFIG.format(
        schema='7.4', name='small'
    ).replace('<packages', (
        '<repository type="apt-deb"><source path="dir:///nonexistent"/></repository>\n'
        '  <packages'
    )))
    give_programs(root, 'sh', 'sleep', 'touch')
    storage.kiwi('stash', '--root', str(root))


def write_extension(where: Path, script: str) -> None:
    """Write a description whose script kiwi runs in the root."""
    where.mkdir(exist_ok=True)
    (where / 'config.xml').write_text('<image stashed="small" name="extended"/>')
    (where / 'config.sh').write_text(f'#!/bin/sh\n{script}\n')
    (where / 'config.sh').chmod(0o755)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_killed_while_kiwi_works(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str],
    number: signal.Signals
) -> None:
    """kiwi's mounts stay behind, and its script, which goes on for a while."""
    stash_what_can_be_extended(storage, root)
    target = tmp_path / 'out'
    words = ('stackbuild', f'--description={tmp_path}/ext', f'--target-dir={target}')
    write_extension(tmp_path / 'ext', 'touch /etc/started; exec sleep 1000')
    process = start(storage, *words)
    while not (image_root(target) / 'etc/started').exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=60) == -number
    write_extension(tmp_path / 'ext', ':')
    refused = storage.kiwi(*words, options=fast, check=False)
    told = re.search(
        r'still works there: process (\d+) \(sleep\)', refused.stdout + refused.stderr
    )
    assert refused.returncode == 1 and told
    assert (image_root(target) / 'etc/started').exists()
    os.kill(int(told[1]), signal.SIGKILL)
    place = image_root(target) / 'mine here'
    place.mkdir()
    for _ in range(2):
        subprocess.run(['mount', '-t', 'tmpfs', 'none', place], check=True)
    with open(place / 'held', 'w'):
        refused = storage.kiwi(*words, options=fast, check=False)
        assert refused.returncode == 1 and re.search(
            rf'still mounted, in use by process .*{os.getpid()} \(',
            refused.stdout + refused.stderr
        )
    storage.kiwi(*words, options=fast)
    assert mounts_below(target) == []
    assert list(target.glob('*.tar.xz'))
    assert not (image_root(target) / 'etc/started').exists()
    storage.remove_kiwis_files()
