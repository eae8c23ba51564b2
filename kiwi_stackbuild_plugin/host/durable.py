# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there after a power cut: the one place where something takes its name.

A rename is on the disk before the data is, unless that was synced.
"""
from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress
from typing import Optional

_LIBC = ctypes.CDLL(None, use_errno=True)


def replace(
    source: str, target: str, *, source_fd: Optional[int] = None,
    target_fd: Optional[int] = None
) -> None:
    """Give a finished file or tree its name: after a cut it is the earlier or this one.

    :param source: on the file system of the target
    :param source_fd: directory that the source is named from, as in os.rename
    :param target_fd: the same for the target
    :raises OSError: if it cannot be renamed, or the disk does not take it
    """
    fd = os.open(
        source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source_fd
    )
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            _sync_filesystem(fd, source)
        else:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    sync_directory(os.path.dirname(target) or '.', target_fd)


def open_new(path: str) -> int:
    """Make a file anew, to be written: what had its name goes, a link itself.

    :returns: file descriptor, to be closed by the caller
    :raises OSError: if it cannot be made, or a directory has the name
    """
    with suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
    )


def sync_directory(path: str, dir_fd: Optional[int] = None) -> None:
    """Bring the names in a directory to the disk.

    :raises OSError: if the disk does not take them
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_filesystem(path: str) -> None:
    """Bring all that was written to the file system of a path to the disk: syncfs(2).

    :raises OSError: if the disk did not take something, whoever wrote it
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _sync_filesystem(fd, path)
    finally:
        os.close(fd)


def _sync_filesystem(fd: int, path: str) -> None:
    if _LIBC.syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
