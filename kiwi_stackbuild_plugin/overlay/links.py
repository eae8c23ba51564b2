# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard links of a base: without index=on a change would part one from the others."""
from __future__ import annotations

import os
import stat
from contextlib import closing, contextmanager
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.image.cache import keep_links, read_links
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.directories import open_layers
from kiwi_stackbuild_plugin.tree.ahead import LinksAhead, scan_ahead
from kiwi_stackbuild_plugin.tree.opening import open_below, open_if_there, status_if_there


#: path and file: device and inode
_Name = Tuple[bytes, Tuple[int, int]]


class LinkSearch:
    """Looks for the hard links of an image, in a process of its own.

    Both names are in one layer: two files of two layers are not the same one. What
    was found in a layer is kept, for the next root on it.

    :param layers: the open directories of the image's layers, from the bottom up
    """

    def __init__(self, info: ImageInfo, layers: Sequence[int]) -> None:
        self._known = {diff_id: read_links(diff_id) for diff_id in info.layers}
        self._asked = [
            diff_id for diff_id, links in self._known.items() if links is None
        ] if layers else []
        fds = dict(zip(info.layers, layers))
        self._search = LinksAhead(
            [fds[diff_id] for diff_id in self._asked]
        ) if self._asked else None

    def names(self) -> Optional[List[bytes]]:
        """Wait for the names of all that may be linked; None if it cannot tell."""
        found = self._search.names() if self._search else []
        for diff_id, links in zip(self._asked, found or []):
            self._known[diff_id] = links
            keep_links(diff_id, links)
        names: List[bytes] = []
        for known in self._known.values():
            if known is None:
                return None
            names += (name for same in known for name in same)
        return names

    def close(self) -> None:
        """End it."""
        if self._search:
            self._search.close()


@contextmanager
def search_links(info: ImageInfo) -> Iterator[LinkSearch]:
    """Begin to look for the hard links of an image, and end it with a block."""
    with open_layers(info) as layers:
        search = LinkSearch(info, layers)
    with closing(search):
        yield search


def copy_up_links(base_fd: int, root_fd: int, search: Optional[LinkSearch] = None) -> int:
    """Bring the hard links of a base into the upper directory, all or none of a file.

    :param root_fd: the overlay mount
    :param search: in the layers of the base; without it all of the base is read
    :returns: how many files have been copied
    """
    found = search.names() if search else None
    groups: Dict[Tuple[int, int], List[bytes]] = {}
    for path, inode in sorted(
        _scanned(base_fd) if found is None else _looked_up(base_fd, found)
    ):
        groups.setdefault(inode, []).append(path)
    linked = [paths for paths in groups.values() if len(paths) > 1]
    for paths in linked:
        try:
            _link_again(root_fd, paths)
        except OSError as issue:
            # it names at most the last step
            raise OSError(issue.errno, issue.strerror, paths[0]) from issue
    return len(linked)


def _scanned(base_fd: int) -> Iterator[_Name]:
    for entry in scan_ahead(base_fd):
        if entry.stat.st_nlink > 1 and not entry.is_dir:
            yield entry.path, (entry.stat.st_dev, entry.stat.st_ino)


def _looked_up(base_fd: int, names: Iterable[bytes]) -> Iterator[_Name]:
    # two layers may both have a file there that is linked
    for path in set(names):
        status = _status(base_fd, path)
        if status is not None and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            yield path, (status.st_dev, status.st_ino)


def _status(base_fd: int, path: bytes) -> Optional[os.stat_result]:
    """Return the status of what has a name of a layer in the base, if anything has it."""
    parent, _, name = path.rpartition(b'/')
    fd = open_if_there(base_fd, parent)
    if fd is None:
        # a layer above has something else there
        return None
    try:
        return status_if_there(fd, name)
    finally:
        os.close(fd)


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
