# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a layer's headers, and its CRC."""
from __future__ import annotations

import gzip
from pathlib import Path
from typing import List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_stackbuild_plugin.graph.tar_split import Crc64, Piece, RecordDamaged, read_record

POLYNOMIAL = 0xD800000000000000


def crc(data: bytes) -> int:
    """Return the CRC, bit by bit."""
    value = (1 << 64) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value ^ (1 << 64) - 1


def test_check_value_of_the_standard() -> None:
    """The catalogue of CRCs, CRC-64/GO-ISO."""
    made = Crc64()
    made.update(b'123456789')
    assert made.value() == 0xb90956c775a41001 == crc(b'123456789')


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=4))
def test_crc_in_parts(parts: List[bytes]) -> None:
    made = Crc64()
    for part in parts:
        made.update(part)
    assert made.value() == crc(b''.join(parts))


def record(path: Path, *lines: str) -> str:
    """Write a record."""
    path.write_bytes(gzip.compress(''.join(f'{line}\n' for line in lines).encode()))
    return str(path)


def test_pieces(tmp_path: Path) -> None:
    path = record(
        tmp_path / 'r', '{"type":2,"payload":"YWJj","position":0}',
        '{"type":1,"name":"usr/a","size":3,"payload":"AAAAAAAAAAE=","position":1}',
        '{"type":1,"name_raw":"/2E=","payload":null,"position":2}'
    )
    assert list(read_record(path)) == [
        Piece(b'abc'), Piece(b'', b'usr/a', 3, 1), Piece(b'', b'\xffa', 0, None)
    ]


@pytest.mark.parametrize('line', [
    '', '{', '[]', '1', '{"type":3}', '{"type":"2"}', '{"type":2,"payload":"!"}',
    '{"type":1,"name":"a","size":-1}', '{"type":1,"name":"a","size":"x"}', '[' * 100_000
])
def test_records_that_are_none(tmp_path: Path, line: str) -> None:
    with pytest.raises(RecordDamaged):
        list(read_record(record(tmp_path / 'r', line)))


def test_record_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / 'r'
    record(path, '{"type":2,"payload":"YWJj"}')
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordDamaged):
        list(read_record(str(path)))
    with pytest.raises(RecordDamaged, match='No such file'):
        list(read_record(str(tmp_path / 'gone')))
