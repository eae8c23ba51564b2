# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree given by its layers' directories, read as overlayfs shows it, not mounted.

Source: Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
directories".
"""
from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from typing import (
    Dict, Iterator, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Set, Tuple
)

from kiwi_stackbuild_plugin.tree.opening import DIRECTORY_FLAGS

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = 'trusted.overlay.opaque'
_REDIRECT = 'trusted.overlay.redirect'
#: what the kernel passes over in a mount of root's, and fuse-overlayfs heeds
_NOT_FOR_ROOT = ('user.overlay.', 'user.fuseoverlayfs.')


class Unreadable(Exception):
    """A layer has marks that only the kernel's overlayfs understands."""


class Found(NamedTuple):
    """What overlayfs shows of a name.

    :param layers: keys of the layer that has it; of a directory of all that make
        it up, the topmost first, whose state it has
    """

    status: os.stat_result
    layers: Tuple[int, ...]


def merge(directories: Mapping[int, int]) -> Iterator[Tuple[bytes, Found]]:
    """Yield what is in a directory that several layers make up, in any order.

    :param directories: keys of the layers, the topmost first, to open directories
    :raises Unreadable: for marks of overlayfs that are not known here
    """
    found: Dict[bytes, Found] = {}
    closed: Set[bytes] = set()
    for layer, directory in directories.items():
        for name in map(os.fsencode, os.listdir(directory)):
            if name in closed:
                continue
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            above = found.get(name)
            if stat.S_ISDIR(status.st_mode):
                if above is None:
                    found[name] = Found(status, (layer,))
                else:
                    found[name] = Found(above.status, (*above.layers, layer))
                if _ends_here(directory, name):
                    closed.add(name)
                continue
            closed.add(name)
            if above is None and not _is_whiteout(status):
                found[name] = Found(status, (layer,))
    yield from found.items()


class TreeFiles(Protocol):
    """Looks up files and names in a tree, through no link; see LayeredTree."""

    def open(self, path: bytes) -> Optional[int]:
        """Open a regular file, None if there is none."""

    def names(self, path: bytes) -> List[bytes]:
        """Return the names in a directory, sorted."""


class LayeredTree:
    """Looks up paths in layers, through no link.

    :param layers: open directories, the topmost first; a plain tree is its
        only layer
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)

    def open(self, path: bytes) -> Optional[int]:
        """Open a regular file.

        :returns: file descriptor, to be closed by the caller; None without one
        :raises OSError: where something else is in the way
        """
        parent, _, name = path.rpartition(b'/')
        with ExitStack() as stack:
            for directory in self._directories(parent, stack):
                status = _status(directory, name)
                if status is None:
                    continue
                if _is_whiteout(status):
                    return None
                if not stat.S_ISREG(status.st_mode):
                    raise OSError(errno.ELOOP, 'no regular file', path)
                return os.open(name, _READ, dir_fd=directory)
        return None

    def names(self, path: bytes) -> List[bytes]:
        """Return the names in a directory, sorted; none where there is none.

        :raises OSError: where something else is in the way
        """
        found: Set[bytes] = set()
        gone: Set[bytes] = set()
        with ExitStack() as stack:
            for directory in self._directories(path, stack):
                here = set(map(os.fsencode, os.listdir(directory)))
                whiteouts = {
                    name for name in here - found - gone
                    if _is_gone(directory, name)
                }
                found |= here - gone - whiteouts
                gone |= whiteouts
        return sorted(found)

    def touches(self, path: bytes) -> bool:
        """Tell whether a layer could change what is below a directory."""
        parts = path.split(b'/')
        try:
            return any(
                self._has_mark(b'/'.join(parts[:count]))
                for count in range(1, len(parts) + 1)
            ) or self._has_content(path)
        except OSError:
            return True

    def _has_content(self, path: bytes) -> bool:
        with ExitStack() as stack:
            return any(map(os.listdir, self._directories(path, stack)))

    def _has_mark(self, path: bytes) -> bool:
        """Tell whether something hides what lower layers have at a path."""
        parent, _, name = path.rpartition(b'/')
        with ExitStack() as stack:
            for directory in self._directories(parent, stack):
                status = _status(directory, name)
                if status is not None and not stat.S_ISDIR(status.st_mode):
                    return True
            return any(map(_is_opaque, self._directories(path, stack)))

    def _directories(self, path: bytes, stack: ExitStack) -> List[int]:
        """Open all that make up a directory, the topmost first."""
        here = list(self.layers)
        names = path.split(b'/') if path else []
        for number, name in enumerate(names, 1):
            below: List[int] = []
            for directory in here:
                status = _status(directory, name)
                if status is None:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    if not below and not _is_whiteout(status):
                        raise OSError(
                            errno.ENOTDIR, 'no directory', b'/'.join(names[:number])
                        )
                    break
                below.append(os.open(name, DIRECTORY_FLAGS, dir_fd=directory))
                stack.callback(os.close, below[-1])
                if _is_opaque(below[-1]):
                    break
            here = below
        return here


def _status(directory: int, name: bytes) -> Optional[os.stat_result]:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_gone(directory: int, name: bytes) -> bool:
    status = _status(directory, name)
    return status is None or _is_whiteout(status)


def _ends_here(directory: int, name: bytes) -> bool:
    """Tell whether a directory hides what lower layers have of it.

    :raises Unreadable: for marks that are not known here
    """
    fd = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    try:
        marks = [mark for mark in os.listxattr(fd) if _hides(mark)]
        for mark in marks:
            if mark != _OPAQUE or os.getxattr(fd, mark) != b'y':
                raise Unreadable(f'{os.fsdecode(name)!r}: {mark}')
        return bool(marks)
    finally:
        os.close(fd)


def _hides(mark: str) -> bool:
    return mark in (_OPAQUE, _REDIRECT) or mark.startswith(_NOT_FOR_ROOT)


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b'y'
    except OSError as issue:
        if issue.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
