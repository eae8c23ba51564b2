# SPDX-License-Identifier: GPL-3.0-or-later
"""Give an imported tree what the storage did not keep of it, see extras."""
from __future__ import annotations

import errno
import logging
import os
import stat
import struct
import tempfile
from typing import List, Tuple

from kiwi_stackbuild_plugin.host.errors import is_absent, printable, printable_path
from kiwi_stackbuild_plugin.host.holes import dig_holes
from kiwi_stackbuild_plugin.layer.extras import ROOT, Extra, Extras
from kiwi_stackbuild_plugin.tree.opening import open_below, set_xattrs
from kiwi_stackbuild_plugin.tree.scan import read_xattrs, scan

log = logging.getLogger('kiwi')

_CAPABILITY = 'security.capability'
#: for each namespace an attribute that any file system which has it takes; the
#: capability is none, the ACL is the mode 0600
_PROBES: Tuple[Tuple[str, str, bytes], ...] = (
    ('user.', 'user.kiwi-stash', b'x'), ('trusted.', 'trusted.kiwi-stash', b'x'),
    ('security.', _CAPABILITY, struct.pack('<IIIII', 0x02000000, 0, 0, 0, 0)),
    ('system.posix_acl_', 'system.posix_acl_access', struct.pack(
        '<IHHIHHIHHI', 2, 1, 6, 0xFFFFFFFF, 4, 0, 0xFFFFFFFF, 0x20, 0, 0xFFFFFFFF
    ))
)


def restore_extras(root_fd: int, extras: Extras) -> None:
    """Restore times, extended attributes and holes; what is gone is passed over."""
    for path, extra in extras.items():
        if path == ROOT:
            continue
        parent, _, name = path.rpartition(b'/')
        try:
            parent_fd = open_below(root_fd, parent)
            try:
                _restore(parent_fd, name, path, extra)
            finally:
                os.close(parent_fd)
        except OSError as issue:
            if not is_absent(issue):
                log.warning(
                    '%s: not all of it restored: %s', printable_path(path), issue.strerror
                )


def restore_root(root_fd: int, mode: int, uid: int, gid: int, extra: Extra) -> None:
    """Give a root directory its own owner, mode, attributes and time."""
    os.fchown(root_fd, uid, gid)
    os.fchmod(root_fd, mode)
    set_xattrs(b'/proc/self/fd/%d/.' % root_fd, b'/', extra.xattrs)
    if extra.mtime is not None:
        os.utime(root_fd, ns=(extra.mtime, extra.mtime))


def report_lost(source_fd: int, target: str) -> None:
    """Name the extended attributes of a tree that a file system does not take.

    cp(1) says nothing of them. The tree is read only if there is such a file
    system below the target.

    :param target: directory that the tree was copied to
    """
    missing = tuple(_missing_namespaces(target))
    for entry in scan(source_fd) if missing else ():
        lost = [key for key, _ in entry.xattrs if key.startswith(missing)]
        if lost:
            log.warning(
                '%s: the file system of the target does not take %s',
                printable_path(entry.path), printable(', '.join(lost))
            )


def _missing_namespaces(directory: str) -> List[str]:
    """Try an attribute of each namespace on a file that is removed again."""
    missing = []
    with tempfile.NamedTemporaryFile(dir=directory) as probe:
        for namespace, key, value in _PROBES:
            try:
                os.setxattr(probe.fileno(), key, value)
            except OSError as issue:
                if issue.errno in (errno.ENOTSUP, errno.EOPNOTSUPP):
                    missing.append(namespace)
    return missing


def _restore(parent_fd: int, name: bytes, path: bytes, extra: Extra) -> None:
    status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    if extra.sparse and stat.S_ISREG(status.st_mode):
        _dig_holes(parent_fd, name)
    set_xattrs(b'/proc/self/fd/%d/%b' % (parent_fd, name), path, extra.xattrs)
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
        try:
            dig_holes(fd)
        except OSError as issue:
            log.debug('%s: no holes: %s', os.fsdecode(name), issue.strerror)
        # a file that is written to loses its capabilities
        for key, value in before:
            if key == _CAPABILITY:
                os.setxattr(fd, key, value)
    finally:
        os.close(fd)
