# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan a root tree: a sorted stream of entries, read without following links.

Names are bytes, paths are relative to the root and have no leading slash; the
root directory itself is not an entry. The order is that of the path taken as
a list of names: a directory comes right before its contents, whatever the
file system, locale or time zone.
"""
from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import (
    AnyStr, Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Pattern,
    Tuple
)

from kiwi_stackbuild_plugin.host.errors import is_absent
from kiwi_stackbuild_plugin.tree.entry import Entry, Row, Status, Xattrs, named, status_row
from kiwi_stackbuild_plugin.tree.opening import (
    DIRECTORY_FLAGS, open_below, open_current, open_if_there, status_if_there
)

#: attributes of any other name are properties that a file system has or makes up:
#: btrfs.compression, system.nfs4_acl, ceph.dir.layout, ...; see xattr(7)
_NAMESPACES = ('user.', 'trusted.', 'security.', 'system.posix_acl_')
#: host labels (SELinux), and what overlayfs knows of this host's file handles
_FOREIGN_XATTRS = ('security.selinux', *(
    f'trusted.overlay.{name}' for name in (
        'origin', 'impure', 'nlink', 'upper', 'uuid', 'protattr'
    )
))
#: nothing is scanned below a longer path: no storage can unpack that one
_PATH_MAX = 4095
_CHUNK = 1024
_OPEN_LEVELS = 64
#: as many as Linux follows on one path
_MAX_LINKS = 40

#: a directory on the way down: file descriptor if it is open, what is left of it
_Level = Tuple[Optional[int], Iterator[Row]]


class Exclusion(NamedTuple):
    """What a scan leaves out.

    :param paths: left out with all below them
    :param contents: directories that stay, but whose contents are left out
    :param pattern: expression over whole paths, where that of a directory ends
        in a slash; left out with all below
    """

    paths: FrozenSet[bytes] = frozenset()
    contents: FrozenSet[bytes] = frozenset()
    pattern: Optional[Pattern[bytes]] = None


EVERYTHING = Exclusion()


def sort_key(path: bytes) -> bytes:
    """Return the key by which paths are ordered: names compared one by one."""
    return path.replace(b'/', b'\0')


def resolve_links(
    path: bytes, link_at: Callable[[bytes], Optional[bytes]]
) -> Optional[bytes]:
    """Return where a path leads inside of a tree, as in a chroot.

    :param link_at: gives the target of the link at a path, None if it is none
    :returns: None where links go round in circles
    """
    done: List[bytes] = []
    pending = path.split(b'/')[::-1]
    links = 0
    while pending:
        name = pending.pop()
        if name == b'..':
            done = done[:-1]
        elif name not in (b'', b'.'):
            target = link_at(b'/'.join([*done, name]))
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith(b'/'):
                done = []
            pending.extend(target.split(b'/')[::-1])
    return b'/'.join(done)


def scan(root_fd: int, exclusion: Exclusion = EVERYTHING) -> Iterator[Entry]:
    """Yield every entry below a directory, in order.

    :param root_fd: directory; it is neither an entry nor closed
    :raises OSError: if a directory cannot be read
    """
    return named(scan_rows(root_fd, exclusion))


def scan_rows(root_fd: int, exclusion: Exclusion = EVERYTHING) -> Iterator[Row]:
    """Yield what scan does, as plain rows."""
    pending: List[_Level] = []
    back = open_current()
    fd: Optional[int] = os.dup(root_fd)
    prefix = b''
    try:
        while True:
            if fd is not None:
                pending.append(_begin(fd, prefix, exclusion, back, len(pending)))
            elif not pending:
                return
            fd = None
            for row in pending[-1][1]:
                yield row
                path, status = row[:2]
                if stat.S_ISDIR(status[0]) \
                        and path not in exclusion.contents \
                        and len(path) <= _PATH_MAX:
                    fd = _open_child(root_fd, pending, path)
                    prefix = path + b'/'
                    if fd is not None:
                        break
            else:
                _close(pending.pop()[0])
    finally:
        os.close(back)
        for level, _ in pending:
            _close(level)


def _begin(
    fd: int, prefix: bytes, exclusion: Exclusion, back: int, depth: int
) -> _Level:
    """Begin with a directory; one deep down is read at once, not kept open."""
    rows = _read_directory(fd, prefix, exclusion, back)
    if depth < _OPEN_LEVELS:
        return fd, rows
    try:
        return None, iter(list(rows))
    finally:
        os.close(fd)


def _close(fd: Optional[int]) -> None:
    if fd is not None:
        os.close(fd)


def _open_child(
    root_fd: int, pending: List[_Level], path: bytes
) -> Optional[int]:
    """Open a directory that was just listed, None if it is gone or no more one."""
    parent = pending[-1][0]
    try:
        if parent is None:
            return open_below(root_fd, path)
        return os.open(path.rpartition(b'/')[2], DIRECTORY_FLAGS, dir_fd=parent)
    except OSError as issue:
        if is_absent(issue):
            return None
        raise


def _read_directory(
    fd: int, prefix: bytes, exclusion: Exclusion, back: int
) -> Iterator[Row]:
    """Yield the rows of one directory, read from inside of it.

    :param back: what is the current directory between two of them
    """
    names = sorted(map(os.fsencode, os.listdir(fd)))
    if exclusion.paths:
        names = [name for name in names if prefix + name not in exclusion.paths]
    for start in range(0, len(names), _CHUNK):
        os.fchdir(fd)
        try:
            chunk = _read_entries(names[start:start + _CHUNK], prefix)
        finally:
            os.fchdir(back)
        if exclusion.pattern is not None:
            chunk = [
                row for row in chunk
                if not _is_matched(row[0], row[1][0], exclusion.pattern)
            ]
        yield from chunk


def is_excluded(entry: Entry, exclusion: Exclusion) -> bool:
    """Tell whether a scan would leave an entry out that it found."""
    pattern = exclusion.pattern
    return entry.path in exclusion.paths or (
        pattern is not None and _is_matched(entry.path, entry.stat.st_mode, pattern)
    )


def without_excluded(entries: Iterable[Entry], exclusion: Exclusion) -> Iterator[Entry]:
    """Yield the entries that a scan would not leave out.

    :param entries: in order of path
    """
    below = None
    for entry in entries:
        if below and entry.path.startswith(below):
            continue
        left_out = is_excluded(entry, exclusion)
        if left_out or entry.path in exclusion.contents:
            below = entry.path + b'/'
        if not left_out:
            yield entry


def _is_matched(path: bytes, mode: int, pattern: Pattern[bytes]) -> bool:
    whole = path + b'/' if stat.S_ISDIR(mode) else path
    return pattern.match(whole) is not None


def _read_entries(names: List[bytes], prefix: bytes) -> List[Row]:
    """Read names in the current directory, but those that went meanwhile."""
    found = []
    for name in names:
        try:
            status = os.lstat(name)
            target = os.readlink(name) if stat.S_ISLNK(status[0]) else b''
            found.append(
                (prefix + name, status_row(status), read_xattrs(name), target)
            )
        except FileNotFoundError:
            continue
    return found


def read_xattrs(name: bytes | int) -> Xattrs:
    """Read the extended attributes of a name (not of what it links to) or fd."""
    follow = isinstance(name, int)
    try:
        keys = os.listxattr(name, follow_symlinks=follow)
    except OSError as issue:
        if issue.errno in (errno.ENOTSUP, errno.EOPNOTSUPP):
            return ()
        raise
    if not keys:
        return ()
    return tuple(
        (key, os.getxattr(name, key, follow_symlinks=follow))
        # by bytes: the locale decides what text they make
        for key in sorted(keys, key=os.fsencode)
        if is_content(key)
    )


def is_content(key: str) -> bool:
    """Tell whether an extended attribute belongs to a tree, not to its host."""
    return key.startswith(_NAMESPACES) and not key.startswith(_FOREIGN_XATTRS)


class TreeReader:
    """Reads single entries of a tree, those of one directory quickly."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._parent = b''
        self._parent_fd: Optional[int] = None

    def entry(self, path: bytes) -> Optional[Entry]:
        """Return the entry at a path, None if there is none, or behind a link.

        :raises OSError: if that cannot be told: what cannot be read is not gone
        """
        parent, _, name = path.rpartition(b'/')
        if self._parent_fd is None or parent != self._parent:
            self.close()
            self._parent_fd = open_if_there(self.fd, parent)
            self._parent = parent
        fd = self._parent_fd
        status = None if fd is None else status_if_there(fd, name)
        if fd is None or status is None:
            return None
        target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else b''
        where = b'/proc/self/fd/%d/%b' % (fd, name)
        return Entry(path, Status.of(status), read_xattrs(where), target)

    def names(self, path: bytes) -> List[bytes]:
        """Return the names in a directory, none if it is none, or behind a link.

        :raises OSError: if that cannot be told
        """
        fd = open_if_there(self.fd, path)
        if fd is None:
            return []
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close what is open; it is opened again when needed."""
        if self._parent_fd is not None:
            os.close(self._parent_fd)
            self._parent_fd = None


def walk_files(top: AnyStr) -> Iterator[os.DirEntry[AnyStr]]:
    """Yield the regular files below a directory, fast and rough, in any order.

    What cannot be read is passed over: the scan will meet it itself.
    """
    pending = [top]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry
        except OSError:
            continue


def linked_names(top: bytes) -> List[List[bytes]]:
    """Return the names of each file that has several below a directory.

    Whiteouts are no files: the kernel links those of an overlay to each other.

    :raises OSError: if something cannot be read
    """
    found: Dict[Tuple[int, int], List[bytes]] = {}
    pending = [top]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1 and not (
                    stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
                ):
                    key = (status.st_dev, status.st_ino)
                    found.setdefault(key, []).append(entry.path[len(top) + 1:])
    return [names for names in found.values() if len(names) > 1]


def tree_size(root: str) -> int:
    """Return the bytes of all regular files below a directory, fast and rough."""
    total = 0
    for entry in walk_files(root):
        with suppress(FileNotFoundError):
            total += entry.stat(follow_symlinks=False).st_size
    return total
