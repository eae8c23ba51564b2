# SPDX-License-Identifier: GPL-3.0-or-later
"""Times that a stash stores instead of those of its tree, and whose time matters."""
from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Tuple

from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import open_below

_SECOND = 10**9
_CACHE = b'__pycache__'


@dataclass(frozen=True)
class Times:
    """What becomes of the mtimes (nanoseconds) of a tree.

    :param limit: later ones become this one
    :param kept: for paths: that of the base
    :param emptied: files that are stored without their content
    """

    limit: Optional[int] = None
    kept: Mapping[bytes, int] = field(default_factory=dict)
    emptied: FrozenSet[bytes] = frozenset()

    @property
    def are_those_of_the_tree(self) -> bool:
        """Tell whether none is changed."""
        return self.limit is None and not self.kept and not self.emptied

    def of(self, path: bytes, mtime: int) -> int:
        """Return the time that is stored of a path."""
        kept = self.kept.get(path)
        if kept is not None:
            return kept
        return mtime if self.limit is None else min(mtime, self.limit)

    def apply(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Pass on entries with the times that are stored."""
        for entry in empty(entries, self.emptied):
            mtime = self.of(entry.path, entry.stat.st_mtime_ns)
            yield entry if mtime == entry.stat.st_mtime_ns else with_time(entry, mtime)


TREE_TIMES = Times()


def empty(entries: Iterable[Entry], paths: FrozenSet[bytes]) -> Iterator[Entry]:
    """Pass on entries, some files as empty ones."""
    for entry in entries:
        emptied = entry.path in paths and entry.is_file
        yield entry._replace(stat=entry.stat._replace(st_size=0)) if emptied else entry


def clamp(
    entries: Iterable[Entry], limit: int, code: ByteCode, exempt: Dict[bytes, int]
) -> Iterator[Entry]:
    """Pass on entries with no time later than a limit.

    :param limit: nanoseconds
    :param code: a source whose time it names keeps that, or it would be no more valid
    :param exempt: gets the times of such sources
    """
    exempt.clear()
    for entry in entries:
        if entry.stat.st_mtime_ns <= limit:
            yield entry
        elif code.names_time_of(entry):
            exempt[entry.path] = entry.stat.st_mtime_ns
            yield entry
        else:
            yield with_time(entry, limit)


def with_time(entry: Entry, mtime: int) -> Entry:
    """Return an entry with another mtime (nanoseconds)."""
    return entry._replace(stat=entry.stat._replace(st_mtime_ns=mtime))


class ByteCode:
    """Tells whose time Python has written down: a source with byte code in the tree.

    Byte code is valid only together with the mtime of its source, in seconds.
    Source: PEP 552, "Specification".

    :param root_fd: directory of the tree
    """

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._listed: Tuple[bytes, List[bytes]] = b'', []

    def names_time_of(self, entry: Entry) -> bool:
        """Tell whether there is byte code that is valid with the time of a source."""
        if not entry.path.endswith(b'.py'):
            return False
        directory, _, name = entry.path.rpartition(b'/')
        stem = name[:-len(b'py')]
        moment = entry.stat.st_mtime_ns // _SECOND & 0xFFFFFFFF
        cache = os.path.join(directory, _CACHE)
        found = [os.path.join(directory, name + b'c'), *(
            os.path.join(cache, one) for one in self._names(cache)
            if one.startswith(stem) and one.endswith(b'.pyc')
        )]
        return any(self._time_in(path) == moment for path in found)

    def _names(self, directory: bytes) -> List[bytes]:
        """List a directory; sources of one directory come one after the other."""
        if self._listed[0] != directory:
            names: List[bytes] = []
            try:
                fd = open_below(self._root_fd, directory)
            except OSError:
                fd = None
            if fd is not None:
                try:
                    names = list(map(os.fsencode, os.listdir(fd)))
                finally:
                    os.close(fd)
            self._listed = directory, names
        return self._listed[1]

    def _time_in(self, path: bytes) -> Optional[int]:
        """Return the time that byte code names, None if it names none."""
        try:
            fd = open_below(self._root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            head = os.read(fd, 16) if stat.S_ISREG(os.fstat(fd).st_mode) else b''
        finally:
            os.close(fd)
        return time_of_source(head)


def time_of_source(head: bytes) -> Optional[int]:
    """Return the seconds (modulo 2**32) that the head of byte code names.

    :param head: the first 16 bytes: magic, flags, time, size
    """
    # magic numbers end in CR LF; other flags mean a hash instead of the time
    if len(head) < 16 or head[2:8] != b'\r\n\0\0\0\0':
        return None
    return int.from_bytes(head[8:12], 'little')
