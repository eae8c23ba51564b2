# SPDX-License-Identifier: GPL-3.0-or-later
"""Open directories and files of a tree, following no link."""
from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import ContextManager, Iterator, Optional

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashRootInvalid, is_absent, printable, printable_path
)
from kiwi_stackbuild_plugin.tree.entry import Xattrs

log = logging.getLogger('kiwi')

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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


@contextmanager
def opened_tree(root: str) -> Iterator[int]:
    """Open a root directory for a block.

    :raises KiwiStashRootInvalid: if it is missing or no directory
    """
    fd = open_tree(root)
    try:
        yield fd
    finally:
        os.close(fd)


def open_shown(stack: ExitStack, tree: ContextManager[str]) -> int:
    """Have a tree shown, mounted say, and open it; a stack ends both."""
    return stack.enter_context(opened_tree(stack.enter_context(tree)))


def open_below(root_fd: int, path: bytes, flags: int = DIRECTORY_FLAGS) -> int:
    """Open a path below a directory, following no link on the way.

    :param flags: flags of the last step; O_NOFOLLOW is always added
    :returns: file descriptor, to be closed by the caller
    :raises OSError: ELOOP or ENOTDIR where a link is in the way, ENXIO for a device
    """
    names = path.split(b'/') if path else [b'.']
    fd = root_fd
    try:
        for name in names[:-1]:
            if name in (b'..', b''):
                raise OSError(errno.EINVAL, 'not a plain path', path)
            step = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
            if fd != root_fd:
                os.close(fd)
            fd = step
        if names[-1] in (b'..', b''):
            raise OSError(errno.EINVAL, 'not a plain path', path)
        if not flags & (os.O_DIRECTORY | os.O_PATH):
            _refuse_device(fd, names[-1], path)
        return os.open(
            names[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd
        )
    finally:
        if fd != root_fd:
            os.close(fd)


def open_if_there(root_fd: int, path: bytes) -> Optional[int]:
    """Open a directory below another one, following no link; None if there is none.

    :returns: file descriptor, to be closed by the caller
    :raises OSError: if that cannot be told
    """
    try:
        return open_below(root_fd, path)
    except OSError as issue:
        if is_absent(issue):
            return None
        raise


def status_if_there(fd: int, name: bytes) -> Optional[os.stat_result]:
    """Return the status of a name in a directory, None if there is none.

    :raises OSError: if that cannot be told
    """
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError as issue:
        if is_absent(issue):
            return None
        raise


def _refuse_device(fd: int, name: bytes, path: bytes) -> None:
    """Open no device: that alone rewinds a tape, or starts a watchdog.

    :raises OSError: ENXIO for one
    """
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        # may be made by who opens it
        return
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.ENXIO, 'a device', path)


def open_current() -> int:
    """Open the current directory, or the root where that was removed.

    :returns: file descriptor to come back by, to be closed by the caller
    """
    try:
        return os.open('.', os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open('/', os.O_PATH | os.O_CLOEXEC)


def set_xattrs(where: bytes, path: bytes, xattrs: Xattrs) -> None:
    """Set attributes of a name, not of what it links to; say which do not go.

    :param path: the name, for the messages
    """
    for key, value in xattrs:
        try:
            os.setxattr(where, key, value, follow_symlinks=False)
        except OSError as issue:
            log.warning(
                '%s: not all of it restored: %s: %s', printable_path(path),
                printable(key), issue.strerror
            )
