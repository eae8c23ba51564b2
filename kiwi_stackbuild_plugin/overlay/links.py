# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard links of a base: without index=on a change would part one from the others."""
from __future__ import annotations

import os
from typing import Dict, List, Tuple

from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.opening import open_below


def copy_up_links(base_fd: int, root_fd: int) -> int:
    """Bring the hard links of a base into the upper directory, all or none of a file.

    :param root_fd: the overlay mount
    :returns: how many files have been copied
    """
    groups: Dict[Tuple[int, int], List[bytes]] = {}
    for entry in scan_ahead(base_fd):
        if entry.stat.st_nlink > 1 and not entry.is_dir:
            key = (entry.stat.st_dev, entry.stat.st_ino)
            groups.setdefault(key, []).append(entry.path)
    linked = [paths for paths in groups.values() if len(paths) > 1]
    for paths in linked:
        try:
            _link_again(root_fd, paths)
        except OSError as issue:
            # it names at most the last step
            raise OSError(issue.errno, issue.strerror, paths[0]) from issue
    return len(linked)


def _link_again(root_fd: int, paths: List[bytes]) -> None:
    """Copy the first name up, make the others links to the copy."""
    first, _, first_name = paths[0].rpartition(b'/')
    first_fd = open_below(root_fd, first)
    try:
        status = os.stat(first_name, dir_fd=first_fd, follow_symlinks=False)
        os.utime(
            first_name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=first_fd,
            follow_symlinks=False
        )
        for path in paths[1:]:
            _link(root_fd, path, first_fd, first_name)
    finally:
        os.close(first_fd)


def _link(root_fd: int, path: bytes, first_fd: int, first_name: bytes) -> None:
    parent, _, name = path.rpartition(b'/')
    fd = open_below(root_fd, parent)
    try:
        before = os.fstat(fd)
        os.unlink(name, dir_fd=fd)
        os.link(
            first_name, name, src_dir_fd=first_fd, dst_dir_fd=fd, follow_symlinks=False
        )
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)
