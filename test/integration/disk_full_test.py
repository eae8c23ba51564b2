# SPDX-License-Identifier: GPL-3.0-or-later
"""Full disks: a clear line, the earlier state intact, a retry works."""
from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest
from storages import Storage, image_root, mounts_below
from trees import describe

MIB = 1 << 20
OURS = ('image/stash.json',)


@contextmanager
def small_disk(where: Path, size: int) -> Iterator[Path]:
    """Mount a file system of a size, in bytes."""
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(where)], check=True
    )
    try:
        yield where
    finally:
        for point in reversed(mounts_below(where)):
            subprocess.run(['umount', '--lazy', point], check=False)
        subprocess.run(['umount', str(where)], check=True)


def grow(disk: Path) -> None:
    subprocess.run(['mount', '-o', 'remount,size=200m', str(disk)], check=True)


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert 'Traceback' not in said, said
    lines = [line for line in said.splitlines() if 'ERROR' in line]
    assert len(lines) == 1, said
    return lines[0]


@pytest.fixture
def big_root(root: Path) -> Path:
    """A root tree that does not fit on a small disk."""
    (root / 'usr/data').write_bytes(os.urandom(6 * MIB))
    return root


@pytest.mark.parametrize('room', [4096, 2 * MIB])
def test_temporary_directory_is_full(
    storage: Storage, big_root: Path, tmp_path: Path, room: int
) -> None:
    before = describe(big_root, OURS)
    with small_disk(tmp_path / 'disk', room) as disk:
        storage.temp_dir = disk
        assert 'No space left on device' in one_line(
            storage.kiwi('stash', '--root', str(big_root), check=False)
        )
        assert storage.left_overs() == []
        assert storage.stashes() == []
        assert describe(big_root, OURS) == before
        grow(disk)
        storage.kiwi('stash', '--root', str(big_root))
    storage.temp_dir = tmp_path / 'temp'
    assert storage.stash('small')['layers'] == 1


def test_storage_is_full(tmp_path: Path, big_root: Path) -> None:
    with small_disk(tmp_path / 'disk', 4 * MIB) as disk:
        (tmp_path / 'temp').mkdir()
        storage = Storage(disk / 'storage', tmp_path / 'temp')
        data = (big_root / 'usr/data').read_bytes()
        (big_root / 'usr/data').unlink()
        storage.kiwi('stash', '--root', str(big_root))
        earlier = storage.stash('small')
        (big_root / 'usr/data').write_bytes(data)
        assert 'o space left on device' in one_line(
            storage.kiwi('stash', '--root', str(big_root), check=False)
        )
        assert storage.left_overs() == []
        assert storage.stash('small') == earlier
        path = storage.mount('localhost/small')
        assert describe(path) == describe(big_root, (*OURS, 'usr/data')) | {
            b'usr': describe(path)[b'usr']
        }
        storage.unmount('localhost/small')
        grow(disk)
        storage.kiwi('stash', '--root', str(big_root))
        path = storage.mount('localhost/small')
        assert (path / 'usr/data').read_bytes() == data
        storage.unmount('localhost/small')


def test_target_is_full(
    storage: Storage, big_root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(big_root))
    earlier = storage.stash('small')
    with small_disk(tmp_path / 'disk', 4 * MIB) as disk:
        words = ('stackbuild', '--stash', 'small', '--target-dir', str(disk / 'out'))
        assert 'No space left on device' in one_line(
            storage.kiwi(*words, options=fast, check=False)
        )
        assert os.listdir(disk) == []
        assert storage.left_overs() == []
        grow(disk)
        storage.kiwi(*words, options=fast)
        assert (image_root(disk / 'out') / 'usr/data').stat().st_size == 6 * MIB
    assert storage.stash('small') == earlier


@pytest.mark.parametrize('left', [32768, 4 * MIB])
def test_target_of_an_overlay_root_is_full(
    tmp_path: Path, big_root: Path, left: int
) -> None:
    """Where its hard links are copied up; what holds its layers is made meanwhile."""
    os.link(big_root / 'usr/data', big_root / 'usr/other')
    (tmp_path / 'temp').mkdir()
    with small_disk(tmp_path / 'disk', 64 * MIB) as disk:
        storage = Storage(disk / 'storage', tmp_path / 'temp')
        storage.kiwi('stash', '--root', str(big_root))
        earlier = storage.stash('small')
        words = (
            'stackbuild', '--stash=small', '--root-only', '--overlay', '--stash-as=over',
            '--target-dir', str(disk / 'out')
        )
        with open(disk / 'filler', 'wb') as filler:
            room = os.statvfs(disk)
            os.posix_fallocate(filler.fileno(), 0, room.f_bavail * room.f_frsize - left)
        failed = one_line(storage.kiwi(*words, check=False))
        assert re.search(r"'usr/(data|bin/tool)': No space left on device", failed), failed
        assert sorted(os.listdir(disk)) == ['filler', 'storage']
        assert storage.left_overs() == []
        assert storage.stash('small') == earlier
        (disk / 'filler').unlink()
        storage.kiwi(*words)
        assert storage.stash('over')['layers'] == 1 and not mounts_below(disk / 'out')
        held = storage.run('podman', 'images', '--quiet', 'localhost/kiwi-overlay').stdout
        assert len(held.split()) == 1, 'a full disk may have kept podman from it'
        assert len(os.listdir(disk / 'storage/graph/kiwi-stackbuild/overlays')) == 1


def test_tree_is_full(storage: Storage, root: Path, tmp_path: Path) -> None:
    """The record cannot be written then: the stash is stored all the same."""
    with small_disk(tmp_path / 'disk', MIB) as disk:
        subprocess.run(['cp', '-aT', str(root), str(disk)], check=True)
        filler = os.open(disk / 'etc/filler', os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match='No space left'):
            while os.write(filler, bytes(4096)):
                pass
        os.close(filler)
        before = describe(disk)
        storage.kiwi('stash', '--root', str(disk))
        assert describe(disk, OURS) == before
        assert storage.stash('small')['layers'] == 1
        storage.kiwi('stash', '--root', str(disk), '--verify')


def test_read_only_tree_is_stashed(storage: Storage, root: Path, tmp_path: Path) -> None:
    before = describe(root)
    (tmp_path / 'bound').mkdir()
    subprocess.run(['mount', '--bind', str(root), str(tmp_path / 'bound')], check=True)
    try:
        subprocess.run(
            ['mount', '-o', 'remount,bind,ro', str(tmp_path / 'bound')], check=True
        )
        storage.kiwi('stash', '--root', str(tmp_path / 'bound'))
    finally:
        subprocess.run(['umount', str(tmp_path / 'bound')], check=True)
    assert describe(root) == before
    assert storage.stash('small')['layers'] == 1
