# SPDX-License-Identifier: GPL-3.0-or-later
"""stackbuild --overlay, with the real tools."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import pytest
from killing import descendants, slow_tool, start
from noting import make_noting_root, write_role
from storages import Storage, image_root, mounts_below
from trees import describe


@pytest.fixture
def base(storage: Storage, tmp_path: Path) -> Iterator[Path]:
    """Give a stashed tree of two layers, with hard links and a package manager."""
    root = make_noting_root(tmp_path / 'root')
    (root / 'etc/one').write_text('linked')
    os.link(root / 'etc/one', root / 'usr/two')
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/second').write_text('second')
    storage.kiwi('stash', '--root', str(root))
    yield root
    # of a test that failed
    for point in reversed(mounts_below(tmp_path / 'over')):
        subprocess.run(['umount', '--lazy', point], check=False)


def build(storage: Storage, tmp_path: Path, name: str, *words: str, check: bool = True) -> str:
    result = storage.kiwi(
        'stackbuild', '--description', str(tmp_path / 'web'), '--root-only',
        '--target-dir', str(tmp_path / name), *words, check=check
    )
    return result.stdout + result.stderr


def stored(storage: Storage, name: str) -> Dict[bytes, Tuple[Any, ...]]:
    """Describe the tree of a stash, but for the log, that has times, and its record."""
    try:
        return describe(storage.mount(f'localhost/{name}'), ('log', 'image/stash.json'))
    finally:
        storage.unmount(f'localhost/{name}')


def size_of(path: Path) -> int:
    return sum(one.lstat().st_size for one in path.rglob('*') if one.is_file())


def test_is_what_the_copy_is(storage: Storage, base: Path, tmp_path: Path) -> None:
    write_role(tmp_path / 'web')
    (base / 'usr/large').write_bytes(os.urandom(1 << 20))
    storage.kiwi('stash', '--root', str(base))
    build(storage, tmp_path, 'copy', '--stash-as=copy')
    build(storage, tmp_path, 'over', '--stash-as=over', '--overlay')
    root = image_root(tmp_path / 'over')
    assert not mounts_below(tmp_path / 'over') and os.listdir(root) == []
    assert size_of(root.parent / 'image-root.overlay') < 1 << 18
    said = storage.kiwi('stackbuild', '--mount', str(tmp_path / 'over')).stdout
    assert said.strip() == str(root) and (root / 'usr/large').stat().st_size == 1 << 20
    storage.kiwi('stackbuild', '--unmount', str(tmp_path / 'over'))
    assert os.listdir(root) == []
    again = storage.kiwi(
        'stash', '--root', str(root), '--container-name=over', '--dry-run'
    ).stdout
    assert '0 added, 0 changed, 0 removed' in again
    assert not mounts_below(tmp_path / 'over')
    one, two = (
        {path: (*told[:4], *told[5:]) for path, told in stored(storage, name).items()}
        for name in ('copy', 'over')
    )
    assert one == two
    assert storage.stash('over')['layer_size'] < 1 << 16


@pytest.mark.parametrize('stashes', [('small',), ('small', 'other')])
def test_tree_is_that_of_the_stashes_to_the_nanosecond(
    storage: Storage, base: Path, tmp_path: Path, stashes: Tuple[str, ...]
) -> None:
    other = make_noting_root(tmp_path / 'other', 'other')
    (other / 'usr/two').write_text('changed by the other')
    storage.kiwi('stash', '--root', str(other))
    for name, words in (('copy', ()), ('over', ('--overlay',))):
        storage.kiwi(
            'stackbuild', *(f'--stash={one}' for one in stashes), '--root-only',
            '--target-dir', str(tmp_path / name), f'--stash-as={name}', *words
        )
    assert stored(storage, 'copy') == stored(storage, 'over')


def test_layers_are_held_until_they_are_let_go(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    write_role(tmp_path / 'web')
    said = build(storage, tmp_path, 'over', '--overlay')
    storage.run('podman', 'rmi', '--force', 'localhost/small')
    storage.run('podman', 'image', 'prune', '--all', '--force')
    assert storage.stashes() == [], 'what holds is no stash'
    root = image_root(tmp_path / 'over')
    storage.kiwi('stash', '--root', str(root), '--container-name=late', '--no-base')
    assert b'etc/second' in stored(storage, 'late')
    held = re.search(r'podman rmi --force (localhost/kiwi-overlay:[0-9a-f]{16})', said)
    assert held, said
    storage.run('podman', 'rmi', '--force', held[1])
    failed = storage.kiwi('stash', '--root', str(root), check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1 and 'layers below it are gone' in said
    assert 'Traceback' not in said


def test_failed_build_leaves_no_mount_and_can_be_repeated(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    write_role(tmp_path / 'web')
    script = tmp_path / 'web/config.sh'
    good = script.read_text()
    script.write_text('#!/bin/sh\nexit 1\n')
    build(storage, tmp_path, 'over', '--overlay', check=False)
    root = image_root(tmp_path / 'over')
    assert not mounts_below(tmp_path / 'over') and os.listdir(root) == []
    script.write_text(good)
    build(storage, tmp_path, 'over', '--overlay', '--stash-as=over')
    assert not mounts_below(tmp_path / 'over')
    assert b'etc/web' in stored(storage, 'over')
    holds = storage.run('podman', 'images', '--quiet', 'localhost/kiwi-overlay').stdout.split()
    assert len(holds) == 1
    names = storage.run('podman', 'ps', '--all', '--quiet').stdout.split()
    assert len(names) == 1, 'the container of the first went with it'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_ended_build_can_be_repeated(
    storage: Storage, base: Path, tmp_path: Path, number: signal.Signals
) -> None:
    write_role(tmp_path / 'web')
    script = tmp_path / 'web/config.sh'
    good = script.read_text()
    script.write_text('#!/bin/sh\n: >/reached\nwhile [ -e /reached ]; do :; done\nexit 1\n')
    process = start(
        storage, 'stackbuild', '--description', str(tmp_path / 'web'), '--root-only',
        '--target-dir', str(tmp_path / 'over'), '--overlay'
    )
    root = image_root(tmp_path / 'over')
    while not (root / 'reached').exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(number)
    (root / 'reached').unlink()
    process.wait()
    if number == signal.SIGTERM:
        assert not mounts_below(tmp_path / 'over')
    script.write_text(good)
    build(storage, tmp_path, 'over', '--overlay', '--stash-as=over')
    assert not mounts_below(tmp_path / 'over')
    assert b'etc/web' in stored(storage, 'over')
    storage.remove_kiwis_files()


@pytest.mark.parametrize(('tool', 'word', 'number'), [
    ('mount', 'overlay', signal.SIGTERM), ('mount', 'overlay', signal.SIGKILL),
    ('podman', 'create', signal.SIGKILL), ('mount', '--bind', signal.SIGTERM)
])
def test_end_while_the_root_is_made(
    storage: Storage, base: Path, tmp_path: Path, tool: str, word: str,
    number: signal.Signals
) -> None:
    words = (
        'stackbuild', '--stash=small', '--root-only', '--overlay',
        '--target-dir', str(tmp_path / 'over')
    )
    path = storage.environment['PATH']
    flag = slow_tool(storage, tmp_path, tool, f'*" {word} "*')
    process = start(storage, *words)
    while not flag.exists():
        time.sleep(0.05)
        assert process.poll() is None
    ended = descendants(process.pid)
    process.send_signal(number)
    process.wait()
    for pid in ended:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if number == signal.SIGTERM:
        assert not mounts_below(tmp_path / 'over')
    storage.environment['PATH'] = path
    storage.kiwi(*words, '--stash-as=over')
    assert not mounts_below(tmp_path / 'over')
    assert storage.stash('over')['layers'] == 2
    assert sorted(one.name for one in (tmp_path / 'over/build').iterdir()) == [
        '.stackbuild.json', 'image-root', 'image-root.overlay'
    ]
    storage.remove_kiwis_files()


def test_copy_over_an_overlay(storage: Storage, base: Path, tmp_path: Path) -> None:
    """What the overlay left goes, with what held its layers."""
    write_role(tmp_path / 'web')
    build(storage, tmp_path, 'over', '--overlay', '--if-changed')
    (tmp_path / 'web/root/etc/more').write_text('more')
    build(storage, tmp_path, 'over', '--if-changed')
    root = image_root(tmp_path / 'over')
    assert (root / 'etc/more').exists()
    assert not (root.parent / 'image-root.overlay').exists()
    assert not storage.run('podman', 'images', '--quiet', 'localhost/kiwi-overlay').stdout


def test_other_file_system_is_said_and_copied(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    write_role(tmp_path / 'web')
    place = Path(tempfile.mkdtemp(dir='/dev/shm'))
    try:
        result = storage.kiwi(
            'stackbuild', '--stash=small', '--root-only', '--overlay',
            '--target-dir', str(place / 'out')
        )
        said = result.stdout + result.stderr
        assert 'the root tree is copied: storage and target are on different' in said
        assert (image_root(place / 'out') / 'etc/second').exists()
    finally:
        shutil.rmtree(place)
