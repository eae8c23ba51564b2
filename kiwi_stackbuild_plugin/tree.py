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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import (
    FrozenSet, Iterator, List, Optional, Pattern, Tuple
)

from kiwi_stackbuild_plugin.entry import Entry, Status, Xattrs
from kiwi_stackbuild_plugin.errors import KiwiStashRootInvalid

#: host labels (SELinux) and the private marks of overlayfs are not content
_FOREIGN_XATTRS = ('security.selinux', 'trusted.overlay.')
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: nothing is scanned below a longer path: no storage can unpack that one
_PATH_MAX = 4095
_CHUNK = 1024
_OPEN_LEVELS = 64


@dataclass(frozen=True)
class Exclusion:
    """What a scan leaves out.

    :param paths: left out with all below them
    :param contents: directories that stay, but whose contents are left out
    :param pattern: expression over whole paths, left out with all below
    """

    paths: FrozenSet[bytes] = frozenset()
    contents: FrozenSet[bytes] = frozenset()
    pattern: Optional[Pattern[bytes]] = None


def sort_key(path: bytes) -> bytes:
    """Return the key by which paths are ordered: names compared one by one."""
    return path.replace(b'/', b'\0')


def open_tree(root: str) -> int:
    """Open a root directory.

    :returns: file descriptor, to be closed by the caller
    :raises KiwiStashRootInvalid: if it is missing or no directory
    """
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as issue:
        raise KiwiStashRootInvalid(
            f'root tree {root!r}: {issue.strerror}'
        ) from issue


def open_below(root_fd: int, path: bytes, flags: int = _DIRECTORY) -> int:
    """Open a path below a directory, following no link on the way.

    :param flags: flags of the last step; O_NOFOLLOW is always added
    :returns: file descriptor, to be closed by the caller
    :raises OSError: ELOOP or ENOTDIR where a link is in the way
    """
    names = path.split(b'/') if path else [b'.']
    fd = root_fd
    try:
        for name in names[:-1]:
            if name in (b'..', b''):
                raise OSError(errno.EINVAL, 'not a plain path', path)
            step = os.open(name, _DIRECTORY, dir_fd=fd)
            if fd != root_fd:
                os.close(fd)
            fd = step
        if names[-1] in (b'..', b''):
            raise OSError(errno.EINVAL, 'not a plain path', path)
        return os.open(
            names[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd
        )
    finally:
        if fd != root_fd:
            os.close(fd)


@contextmanager
def working_directory(fd: int) -> Iterator[None]:
    """Make a directory the current one for a block, then go back.

    There is no listxattrat(2) before Linux 6.13; names relative to the current
    directory are the fast way to read xattrs without following links.
    """
    try:
        back = os.open('.', os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        back = os.open('/', os.O_PATH | os.O_CLOEXEC)
    try:
        os.fchdir(fd)
        yield
    finally:
        os.fchdir(back)
        os.close(back)


def scan(root_fd: int, exclusion: Exclusion = Exclusion()) -> Iterator[Entry]:
    """Yield every entry below a directory, in order.

    :param root_fd: directory; it is neither an entry nor closed
    :raises OSError: if a directory cannot be read
    """
    pending: List[Tuple[Iterator[Entry], Optional[int]]] = []
    top = os.dup(root_fd)
    try:
        pending.append((_read_directory(top, b'', exclusion), top))
        while pending:
            entry = next(pending[-1][0], None)
            if entry is None:
                _close(pending.pop()[1])
                continue
            yield entry
            if entry.is_dir and entry.path not in exclusion.contents \
                    and len(entry.path) <= _PATH_MAX:
                fd = _open_child(root_fd, pending, entry.path)
                if fd is None:
                    continue
                reader = _read_directory(fd, entry.path + b'/', exclusion)
                pending.append((reader, fd))
    finally:
        for _, fd in pending:
            _close(fd)


def _close(fd: Optional[int]) -> None:
    if fd is not None:
        os.close(fd)


def _open_child(
    root_fd: int, pending: List[Tuple[Iterator[Entry], Optional[int]]],
    path: bytes
) -> Optional[int]:
    """Open a directory that was just listed, None if it is gone or no more one."""
    parent = pending[-1][1]
    try:
        if parent is not None and len(pending) < _OPEN_LEVELS:
            return os.open(path.rsplit(b'/', 1)[-1], _DIRECTORY, dir_fd=parent)
        return open_below(root_fd, path)
    except OSError as issue:
        if issue.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _read_directory(
    fd: int, prefix: bytes, exclusion: Exclusion
) -> Iterator[Entry]:
    names = sorted(os.fsencode(name) for name in os.listdir(fd))
    if exclusion.paths or exclusion.pattern:
        names = [name for name in names if not _left_out(prefix + name, exclusion)]
    for start in range(0, len(names), _CHUNK):
        with working_directory(fd):
            chunk = [
                entry for entry in (
                    _read_entry(name, prefix)
                    for name in names[start:start + _CHUNK]
                ) if entry is not None
            ]
        yield from chunk


def _left_out(path: bytes, exclusion: Exclusion) -> bool:
    return path in exclusion.paths or (
        exclusion.pattern is not None
        and exclusion.pattern.match(path) is not None
    )


def _read_entry(name: bytes, prefix: bytes) -> Optional[Entry]:
    try:
        status = os.lstat(name)
        target = os.readlink(name) if stat.S_ISLNK(status[0]) else b''
        return Entry(prefix + name, Status.of(status), read_xattrs(name), target)
    except FileNotFoundError:
        return None


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
        if not key.startswith(_FOREIGN_XATTRS)
    )
