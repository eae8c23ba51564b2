# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a stored layer as the archive that it was: its files and a record of the rest.

The storage keeps for each layer what is not in its files: the headers, in
pieces, and a CRC of each file. Source: vbatts/tar-split, tar/storage: JSON, a
line for a piece, packed with gzip.
"""
from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Iterator, Optional

#: bits in reverse order, by byte: the CRC takes the lowest bit first
_REVERSED = bytes(int(f'{byte:08b}'[::-1], 2) for byte in range(256))
_ALL = (1 << 64) - 1
_FILE, _SEGMENT = 1, 2


class RecordDamaged(Exception):
    """A record ends too early, or is none."""


@dataclass(frozen=True)
class Piece:
    """A part of the archive: bytes of it, or the content of a file.

    name is None for bytes; crc is that of the content, None where the record
    has none; size in bytes.
    """

    data: bytes
    name: Optional[bytes] = None
    size: int = 0
    crc: Optional[int] = None


def read_record(path: str) -> Iterator[Piece]:
    """Yield the pieces of a layer in the order of its archive.

    :raises RecordDamaged: with the reason
    """
    try:
        with gzip.open(path, 'rb') as lines:
            for line in lines:
                yield _piece(json.loads(line))
    except (
        OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError,
        AttributeError
    ) as issue:
        raise RecordDamaged(str(issue)) from issue


def _piece(entry: dict[str, str]) -> Piece:
    kind: object = entry['type']
    payload = base64.b64decode(entry.get('payload') or '', validate=True)
    if kind == _SEGMENT:
        return Piece(payload)
    if kind != _FILE:
        raise ValueError(f'a piece of a kind that is not known: {kind!r}')
    raw = entry.get('name_raw')
    name = base64.b64decode(raw) if raw else entry.get('name', '').encode()
    size = int(entry.get('size') or 0)
    if size < 0:
        raise binascii.Error('a size below 0')
    return Piece(b'', name, size, int.from_bytes(payload, 'big') if payload else None)


class Crc64:
    """CRC-64-ISO as Go has it (hash/crc64), over data in parts.

    Of whole blocks at a time: x^64 = x^4 + x^3 + x + 1 in its field, and so
    x^(64 n) = x^(4 n) + x^(3 n) + x^n + 1 for each power of two n: a number is
    folded at its middle until 64 bits are left.
    """

    def __init__(self) -> None:
        self._rest = _ALL

    def update(self, data: bytes) -> None:
        """Take more of the data."""
        value = int.from_bytes(data.translate(_REVERSED), 'big')
        # what came before is added to the first 64 bits, as if they followed it
        value = (value << 64) ^ (self._rest << (8 * len(data)))
        while value.bit_length() > 64:
            step = 1 << max((value.bit_length() - 1).bit_length() - 7, 0)
            high, low = value >> (64 * step), value & ((1 << (64 * step)) - 1)
            value = low ^ (high << (4 * step)) ^ (high << (3 * step)) ^ (high << step) ^ high
        self._rest = value

    def value(self) -> int:
        """Return the CRC of all data so far."""
        return int(f'{self._rest ^ _ALL:064b}'[::-1], 2)
