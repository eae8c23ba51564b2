# SPDX-License-Identifier: GPL-3.0-or-later
"""Give an imported tree what the storage did not keep of it, see extras."""
from __future__ import annotations

import logging
import os
import stat

from kiwi_stackbuild_plugin.command import run_command
from kiwi_stackbuild_plugin.extras import ROOT, Extra, Extras
from kiwi_stackbuild_plugin.tree import open_below, read_xattrs

log = logging.getLogger('kiwi')

_CAPABILITY = 'security.capability'


def restore_extras(root_fd: int, extras: Extras) -> None:
    """Restore times, extended attributes and holes; what is gone is passed over."""
    for path, extra in extras.items():
        if path == ROOT:
            continue
        parent, _, name = path.rpartition(b'/')
        try:
            parent_fd = open_below(root_fd, parent)
        except OSError:
            continue
        try:
            _restore(parent_fd, name, extra)
        except FileNotFoundError:
            continue
        except OSError as issue:
            log.warning('%s: not all of it restored: %s', os.fsdecode(path), issue.strerror)
        finally:
            os.close(parent_fd)


def restore_root(root_fd: int, mode: int, uid: int, gid: int, extra: Extra) -> None:
    """Give a root directory its own owner, mode, attributes and time."""
    os.fchown(root_fd, uid, gid)
    os.fchmod(root_fd, mode)
    for key, value in extra.xattrs:
        try:
            os.setxattr(root_fd, key, value)
        except OSError as issue:
            log.warning('the root directory: %s not restored: %s', key, issue.strerror)
    if extra.mtime is not None:
        os.utime(root_fd, ns=(extra.mtime, extra.mtime))


def _restore(parent_fd: int, name: bytes, extra: Extra) -> None:
    status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    if extra.sparse and stat.S_ISREG(status.st_mode):
        _dig_holes(parent_fd, name)
    for key, value in extra.xattrs:
        os.setxattr(
            b'/proc/self/fd/%d/%b' % (parent_fd, name), key, value,
            follow_symlinks=False
        )
    moment = status.st_mtime_ns if extra.mtime is None else extra.mtime
    os.utime(
        name, ns=(moment, moment), dir_fd=parent_fd, follow_symlinks=False
    )


def _dig_holes(parent_fd: int, name: bytes) -> None:
    """Turn the zeros of a file into holes, where its file system has them."""
    fd = os.open(
        name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
        dir_fd=parent_fd
    )
    try:
        before = read_xattrs(fd)
        result = run_command(
            ['fallocate', '--dig-holes', f'/proc/{os.getpid()}/fd/{fd}'], check=False
        )
        if result.returncode:
            log.debug('%s: no holes: %s', os.fsdecode(name), result.stderr.strip())
        # a file that is written to loses its capabilities
        for key, value in before:
            if key == _CAPABILITY:
                os.setxattr(fd, key, value)
    finally:
        os.close(fd)
