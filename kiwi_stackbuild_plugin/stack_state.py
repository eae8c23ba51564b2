# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree that several stashes make, looked up and never made: for conflicts."""
from __future__ import annotations

import os
import stat
from typing import Dict, Iterator, List, Optional, Set, Tuple

from kiwi_stackbuild_plugin.content import ContentComparer
from kiwi_stackbuild_plugin.delta import PARENT, Delta
from kiwi_stackbuild_plugin.same import same_metadata
from kiwi_stackbuild_plugin.entry import Entry, Status
from kiwi_stackbuild_plugin.tree import open_below, read_xattrs, scan, working_directory

#: what each stash has of its own; which one is built is another matter
_OWN = (b'image', b'.profile', b'.kconfig')


class StackState:
    """The tree that the stashes so far make, looked up and never made."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.changed: Dict[bytes, Tuple[int, Entry]] = {}
        self.removed: Set[bytes] = set()

    def apply(self, fd: int, delta: Delta) -> None:
        """Put the change of one more stash on top."""
        gone = tuple(path + b'/' for path in delta.removed)
        for path in [*delta.removed, *(
            path for path in self.changed if gone and path.startswith(gone)
        )]:
            self.changed.pop(path, None)
        self.removed.update(delta.removed)
        for change in delta.changes:
            if change.kind != PARENT:
                self.changed[change.entry.path] = (fd, change.entry)

    def look_up(self, path: bytes) -> Tuple[int, Optional[Entry]]:
        """Return the entry at a path, and the tree that it comes from."""
        if path in self.changed:
            return self.changed[path]
        parts = path.split(b'/')
        for count in range(1, len(parts) + 1):
            if b'/'.join(parts[:count]) in self.removed:
                return self.fd, None
        return self.fd, _entry_at(self.fd, path)

    def conflicts(
        self, ancestor_fd: Optional[int], source_fd: int, delta: Delta
    ) -> Iterator[bytes]:
        """Yield what a delta changes that is here neither as it was nor as it will be."""
        for change in delta.changes:
            entry = change.entry
            if change.kind == PARENT or _is_own(entry.path):
                continue
            fd, here = self.look_up(entry.path)
            if entry.is_dir and here is not None and here.is_dir:
                continue
            if not _same(fd, here, source_fd, entry) and not _same(
                fd, here, ancestor_fd, _before(ancestor_fd, entry.path)
            ):
                yield entry.path
        for path in delta.removed:
            if not _is_own(path):
                yield from self._changed_below(ancestor_fd, path)

    def _changed_below(
        self, ancestor_fd: Optional[int], top: bytes
    ) -> Iterator[bytes]:
        """Yield what is not as it was in a part of the tree that is removed."""
        for path in self._paths_below(top):
            fd, here = self.look_up(path)
            if here is not None and not here.is_dir and not _same(
                fd, here, ancestor_fd, _before(ancestor_fd, path)
            ):
                yield path

    def _paths_below(self, top: bytes) -> List[bytes]:
        paths = {top, *(
            path for path in self.changed if path.startswith(top + b'/')
        )}
        try:
            fd = open_below(self.fd, top)
        except OSError:
            return sorted(paths)
        try:
            paths.update(top + b'/' + entry.path for entry in scan(fd))
        finally:
            os.close(fd)
        return sorted(paths)


def _is_own(path: bytes) -> bool:
    return path.partition(b'/')[0] in _OWN


def _before(ancestor_fd: Optional[int], path: bytes) -> Optional[Entry]:
    return None if ancestor_fd is None else _entry_at(ancestor_fd, path)


def _entry_at(root_fd: int, path: bytes) -> Optional[Entry]:
    parent, _, name = path.rpartition(b'/')
    try:
        fd = open_below(root_fd, parent)
    except OSError:
        return None
    try:
        with working_directory(fd):
            status = os.lstat(name)
            target = os.readlink(name) if stat.S_ISLNK(status.st_mode) else b''
            return Entry(path, Status.of(status), read_xattrs(name), target)
    except FileNotFoundError:
        return None
    finally:
        os.close(fd)


def _same(
    one_fd: int, one: Optional[Entry], two_fd: Optional[int], two: Optional[Entry]
) -> bool:
    if one is None or two is None or two_fd is None:
        return one is two
    if not same_metadata(one, two) or (
        not one.is_dir and one.stat.st_mtime_ns != two.stat.st_mtime_ns
    ):
        return False
    return not one.is_file or ContentComparer(one_fd, two_fd)(one.path)
