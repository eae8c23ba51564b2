# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a stash: it finds what a mounted base shows, and may be lost."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest
from storages import Storage
from trees import describe
from zoo import make_zoo

OURS = ('image/stash.json',)


def indexes(storage: Storage) -> List[Path]:
    """Return the indexes there are, oldest first."""
    return sorted(
        Path(storage.environment['KIWI_STASH_CACHE']).iterdir(),
        key=lambda path: path.stat().st_mtime_ns
    )


def change(root: Path) -> None:
    """Change a tree in many ways."""
    tool = root / 'usr/bin/tool'
    status = tool.stat()
    tool.write_bytes(tool.read_bytes()[::-1])
    os.utime(tool, ns=(status.st_atime_ns, status.st_mtime_ns))
    (root / 'etc/hostname').unlink()
    (root / 'etc/hostname').mkdir()
    (root / 'etc/new').symlink_to('motd')
    os.setxattr(root / 'etc/os-release', 'user.more', b'\0')
    (root / 'usr').rename(root / 'moved')
    (root / 'usr').symlink_to('moved')


def test_index_and_mount_find_the_same(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    make_zoo(root / 'zoo')
    storage.kiwi('stash', '--root', str(root))
    assert len(indexes(storage)) == 1
    words = ('stash', '--root', str(root), '--dry-run')

    def told(**environment: str) -> List[str]:
        said = storage.kiwi(*words, env=environment).stdout.splitlines()
        return [line for line in said if not line.startswith('[ INFO')]

    for step in (lambda: None, lambda: change(root), lambda: shutil.rmtree(root / 'zoo')):
        step()
        by_index = told()
        assert len(by_index) >= 2
        assert by_index == told(KIWI_STASH_CACHE='')


def test_base_is_not_mounted_where_there_is_an_index(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/new').write_text('new')
    words = ('stash', '--root', str(root), '--dry-run')
    with_index = storage.kiwi(*words, options=['--debug'])
    assert ' mount ' not in with_index.stdout + with_index.stderr
    storage.forget_indexes()
    without = storage.kiwi(*words, options=['--debug'])
    assert ' mount -t overlay ' in without.stdout + without.stderr


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'writable', 'empty'])
def test_damaged_index_is_passed_over(
    storage: Storage, root: Path, damage: str
) -> None:
    storage.kiwi('stash', '--root', str(root))
    path = indexes(storage)[0]
    data = path.read_bytes()
    if damage == 'writable':
        path.chmod(0o666)
    else:
        middle = len(data) // 2
        path.write_bytes({
            'cut': data[:middle], 'empty': b'',
            'flipped': data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1:]
        }[damage])
    (root / 'etc/new').write_text('new')
    storage.kiwi('stash', '--root', str(root))
    assert storage.stash('small')['layers'] == 2
    assert describe(storage.mount('localhost/small')) == describe(root, OURS)
    storage.unmount('localhost/small')


def test_index_serves_a_copy_and_an_import(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    """It is that of the image, whichever tree came from it."""
    storage.kiwi('stash', '--root', str(root))
    subprocess.run(['cp', '-a', root, tmp_path / 'copy'], check=True)
    for name in ('root', 'copy'):
        (tmp_path / name / 'etc/new').write_text(name)
        storage.kiwi(
            'stash', '--root', str(tmp_path / name), '--base', 'small',
            '--container-name', name
        )
        assert storage.stash(name)['layers'] == 2
        assert describe(storage.mount(f'localhost/{name}')) == describe(
            tmp_path / name, OURS
        )
        storage.unmount(f'localhost/{name}')


def test_dry_run_leaves_no_index(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root), '--dry-run')
    assert not Path(storage.environment['KIWI_STASH_CACHE']).exists()
