# SPDX-License-Identifier: GPL-3.0-or-later
"""One name of a tree, as a scan finds it."""
from __future__ import annotations

import os
import stat
from typing import Iterable, Iterator, NamedTuple, Tuple

Inode = Tuple[int, int]
Xattrs = Tuple[Tuple[str, bytes], ...]
#: the fields of a Status and of an Entry, plain: quick to make and to send
StatusRow = Tuple[int, ...]
Row = Tuple[bytes, StatusRow, Xattrs, bytes]


class Status(NamedTuple):
    """What lstat(2) tells of an entry and we look at; quick to compare and send."""

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_rdev: int
    st_blocks: int

    @classmethod
    def of(cls, full: os.stat_result) -> Status:
        """Take what we look at."""
        return tuple.__new__(cls, status_row(full))


class Entry(NamedTuple):
    """One name of a tree: its path, status, xattrs, link target."""

    path: bytes
    stat: Status
    xattrs: Xattrs = ()
    target: bytes = b''

    @property
    def inode(self) -> Inode:
        """What hard links to the same file have in common."""
        return self.stat.st_dev, self.stat.st_ino

    @property
    def is_dir(self) -> bool:
        """Tell whether this is a directory."""
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_file(self) -> bool:
        """Tell whether this is a regular file."""
        return stat.S_ISREG(self.stat.st_mode)


def status_row(full: os.stat_result) -> StatusRow:
    """Return the fields of a Status."""
    # a slice is quicker than seven attributes; they are in this order
    return full[:7] + (
        full.st_mtime_ns, full.st_ctime_ns, full.st_rdev, full.st_blocks
    )


def named(rows: Iterable[Row]) -> Iterator[Entry]:
    """Yield rows as entries."""
    make = tuple.__new__
    for path, status, xattrs, target in rows:
        yield make(Entry, (path, make(Status, status), xattrs, target))
