# SPDX-License-Identifier: GPL-3.0-or-later
"""Which zeros could be holes, and real holes made of them."""
from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import pytest

from kiwi_stackbuild_plugin.host.holes import dig_holes, punch_hole, zero_runs
from zoo import make_sparse, write

B = 4096
X = b'x'


@pytest.mark.parametrize('data, runs', [
    (b'', []),
    (X * B, []),
    (bytes(B), [(0, B)]),
    (bytes(3 * B), [(0, 3 * B)]),
    (bytes(B - 1), [(0, B - 1)]),
    (bytes(B) + X * B + bytes(2 * B), [(0, B), (2 * B, 4 * B)]),
    (X * B + bytes(B + 5), [(B, 2 * B + 5)]),
    # a last byte that is zero makes no block of zeros
    (X + bytes(B - 1) + bytes(B), [(B, 2 * B)]),
    (bytes(B - 1) + X + bytes(B - 1) + X, []),
    (X * B + X + bytes(9), []),
    # nor do zeros that fill no block
    (X * 5 + bytes(B) + X * (B - 5), []),
])
def test_runs_of_zeros(data: bytes, runs: List[Tuple[int, int]]) -> None:
    assert list(zero_runs(data)) == runs


@pytest.mark.parametrize('data, kept', [
    (bytes(B * 300), 0),
    (X * B + bytes(B * 400) + X * 10, 2),
    (X * (B * 3), 3),
    # a part of a block is freed or not, as the file system likes
    (bytes(B * 4 + 1), 1),
    (b'', 0),
])
def test_zeros_become_holes(tmp_path: Path, data: bytes, kept: int) -> None:
    path = write(tmp_path / 'file', data)
    with open(path, 'r+b') as file:
        dig_holes(file.fileno())
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 <= kept * B


def test_what_is_a_hole_is_not_read(tmp_path: Path) -> None:
    """1 TiB of it takes no time."""
    make_sparse(tmp_path / 'file', 1 << 40, {1 << 39: bytes(1 << 20) + X})
    with open(tmp_path / 'file', 'r+b') as file:
        dig_holes(file.fileno())
        file.seek((1 << 39) + (1 << 20))
        assert file.read(1) == X
    assert (tmp_path / 'file').stat().st_blocks * 512 <= 2 * B


def test_who_refuses_is_asked_once(tmp_path: Path) -> None:
    write(tmp_path / 'file', bytes(B))
    fd = os.open(tmp_path / 'file', os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            punch_hole(fd, 0, B)
    finally:
        os.close(fd)
