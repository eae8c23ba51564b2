# SPDX-License-Identifier: GPL-3.0-or-later
"""Extended attributes that a storage, a layer or a target does not take."""
from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from storages import Storage, remove_storage
from witnesses import import_tree, stash
from zoo import write

KEPT = [
    ('trusted.overlay.opaque', b'y'), ('trusted.overlay.redirect', b'/x'),
    ('trusted.overlay.overlay.opaque', b'y'), ('user.overlay.opaque', b'y'),
    ('user.fuseoverlayfs.opaque', b'y'), ('user.containers.override_stat', b'0:0:0755')
]


@contextmanager
def in_memory(where: Path) -> Iterator[Path]:
    """Give a file system that takes attributes of any size."""
    where.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', where], check=True)
    try:
        yield where
    finally:
        subprocess.run(['umount', where], check=True)


def test_marks_of_an_embedded_storage_are_kept(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    """A storage that unpacked them would take them for its own."""
    for key, value in KEPT:
        write(root / f'srv/{key}/conf/file', b'x')
        os.setxattr(root / f'srv/{key}/conf', key, value)
    stash(storage, root, '--strict', '--verify')
    storage.forget_indexes()
    again = stash(storage, root, '--strict', '--verify')
    assert storage.stash('small')['layers'] == 1, again
    there = import_tree(storage, tmp_path / 'imported')
    mounted = storage.mount('localhost/small')
    for key, value in KEPT:
        assert os.getxattr(there / f'srv/{key}/conf', key) == value
        assert (there / f'srv/{key}/conf/file').read_bytes() == b'x'
        assert (mounted / f'srv/{key}/conf/file').exists()
        assert key not in os.listxattr(mounted / f'srv/{key}/conf')
    storage.unmount('localhost/small')


def test_more_attributes_than_a_layer_takes(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    """Go's archive/tar, which unpacks a layer, takes 1 MiB of them for an entry."""
    with in_memory(tmp_path / 'memory') as memory:
        tree = memory / 'tree'
        subprocess.run(['cp', '-a', root, tree], check=True)
        for number in range(18):
            os.setxattr(tree / 'etc/hostname', f'trusted.s{number:02}', os.urandom(60000))
        own = Storage(memory / 'storage', storage.temp_dir)
        try:
            told = stash(own, tree, '--strict', '--verify')
            assert 'etc/hostname: more than 1 MiB of extended attributes' in told
            there = import_tree(own, memory / 'imported')
            for key in os.listxattr(tree / 'etc/hostname'):
                assert os.getxattr(there / 'etc/hostname', key) == os.getxattr(
                    tree / 'etc/hostname', key)
            for number in range(18, 26):
                os.setxattr(tree / 'etc/hostname', f'trusted.s{number:02}', bytes(60000))
            refused = own.kiwi('stash', '--root', str(tree), '--strict', check=False)
            assert refused.returncode == 1
            assert 'etc/hostname' in refused.stderr.strip().splitlines()[-2]
            told = stash(own, tree)
            assert 'left out: etc/hostname: its extended attributes' in told
        finally:
            remove_storage(own.where)


def test_target_without_attributes_is_told(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    os.setxattr(root, 'user.note', b'x')
    os.setxattr(root / 'etc/hostname', 'user.note', b'x')
    os.setxattr(root / 'usr', 'trusted.overlay.opaque', b'y')
    stash(storage, root)
    ram = tmp_path / 'ram'
    ram.mkdir()
    subprocess.run(['mount', '-t', 'ramfs', 'none', ram], check=True)
    try:
        import_tree(storage, ram / 'imported')
        assert (ram / 'imported/etc/hostname').exists()
    finally:
        subprocess.run(['umount', ram], check=True)
