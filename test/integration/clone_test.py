# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports that read the layers where the storage has them, and share their blocks."""
from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import List

import pytest
from disks import disk
from storages import Storage, image_root
from trees import describe, make_root
from zoo import write

MIB = 1 << 20
#: what kiwi itself writes or removes while it creates an image
BY_KIWI = ('image', 'etc/resolv.conf', 'etc/sysconfig', 'dev', 'var/cache')


@pytest.mark.parametrize('kind', ['xfs', 'btrfs'])
def test_root_tree_shares_blocks_with_the_storage(
    tmp_path: Path, fast: List[str], kind: str
) -> None:
    """Of two layers; what the second has removed or replaced is as it left it."""
    (tmp_path / 'temp').mkdir()
    root = make_root(tmp_path / 'root')
    write(root / 'usr/data', os.urandom(12 * MIB))
    write(root / 'usr/gone/deep/file', b'x')
    write(root / 'usr/anew/old', b'x')
    with disk(tmp_path, kind) as place:
        storage = Storage(place / 'storage', tmp_path / 'temp')
        storage.kiwi('stash', '--root', str(root))
        subprocess.run(['rm', '-r', root / 'usr/gone', root / 'usr/anew'], check=True)
        write(root / 'usr/anew/new', b'x')
        write(root / 'etc/hostname', b'other\n')
        storage.kiwi('stash', '--root', str(root))
        assert storage.stash('small')['layers'] == 2
        free = free_bytes(place)
        said = storage.kiwi(
            'stackbuild', '--stash', 'small', '--target-dir', str(place / 'out'), options=fast
        )
        made = image_root(place / 'out')
        assert 'shares blocks with the storage' in said.stdout + said.stderr
        assert describe(made, BY_KIWI) == describe(root, BY_KIWI)
        for path in (place / 'out').glob('small.*'):
            path.unlink()
        assert taken_bytes(place, free, 6 * MIB) < 6 * MIB
        assert storage.left_overs() == []


def taken_bytes(place: Path, before: int, limit: int) -> int:
    """Return what was taken since; xfs frees what is removed some time later."""
    end = time.monotonic() + 30
    while before - free_bytes(place) >= limit and time.monotonic() < end:
        time.sleep(0.2)
    return before - free_bytes(place)


def free_bytes(place: Path) -> int:
    subprocess.run(['sync', '--file-system', place], check=True)
    status = os.statvfs(place)
    return status.f_bfree * status.f_bsize
