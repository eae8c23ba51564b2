# SPDX-License-Identifier: GPL-3.0-or-later
"""Holes of files: which zeros would be some, and how they are made."""
from __future__ import annotations

import ctypes
import errno
import os
from typing import Iterator, Tuple

_LIBC = ctypes.CDLL(None, use_errno=True)
#: off_t has 64 bits in it everywhere; musl has only the other name
_FALLOCATE = getattr(_LIBC, 'fallocate64', None) or getattr(_LIBC, 'fallocate', None)
#: fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_PUNCH_HOLE = 0x3
#: the block of most file systems; in one with larger ones less is freed
_BLOCK = 4096
_ZEROS = bytes(_BLOCK)
#: bytes looked at at once
_CHUNK = 1 << 20


def zero_runs(data: bytes) -> Iterator[Tuple[int, int]]:
    """Yield start and end of what is zeros, in whole blocks of 4096 bytes.

    :param data: begins at a block; its last block may be a part of one
    """
    # the last byte of each block tells most that are none
    ends = data[_BLOCK - 1::_BLOCK]
    if len(data) % _BLOCK:
        ends += data[-1:]
    start = end = -1
    at = ends.find(b'\0')
    while at >= 0:
        block = data[at * _BLOCK:(at + 1) * _BLOCK]
        if block == _ZEROS[:len(block)]:
            if at * _BLOCK != end:
                if end > start:
                    yield start, end
                start = at * _BLOCK
            end = at * _BLOCK + len(block)
        at = ends.find(b'\0', at + 1)
    if end > start:
        yield start, end


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Free a part of a file; it reads as zeros then.

    :raises OSError: where the file system has no holes
    """
    if _FALLOCATE is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if _FALLOCATE(
        fd, _PUNCH_HOLE, ctypes.c_int64(offset), ctypes.c_int64(length)
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def dig_holes(fd: int) -> None:
    """Turn the zeros of a file into holes; what is a hole is not read.

    :raises OSError: where the file system has no holes
    """
    offset = 0
    while True:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA) // _BLOCK * _BLOCK
        except OSError as issue:
            if issue.errno == errno.ENXIO:
                return
            raise
        data = os.pread(fd, _CHUNK, offset)
        for start, end in zero_runs(data):
            punch_hole(fd, offset + start, end - start)
        offset += len(data)
        if not data:
            return
