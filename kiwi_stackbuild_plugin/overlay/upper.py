# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between an overlay mount and a base, found in their uppermost layers.

Source: Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
directories". The layers that both have agree; those above them only tell where to
look: what is there is read through both mounts, as a scan of the whole would read
it. A file that was copied up and not changed is no change.
"""
from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from contextlib import closing
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from kiwi_stackbuild_plugin.overlay.mount import MARKS
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.opening import open_below
from kiwi_stackbuild_plugin.tree.scan import Exclusion, TreeReader, is_excluded

_OPAQUE = 'trusted.overlay.opaque'
#: marks that mean nothing for what is in the tree
_HARMLESS = {f'trusted.overlay.{name}' for name in ('origin', 'impure', 'uuid', 'upper')}
#: what is deeper down is left to the scan
_DEEPEST = 64

#: entries of the base, entries of the tree, in order of path
Both = Tuple[List[Entry], List[Entry]]


def touched(
    base_fd: int, root_fd: int, layers: Sequence[int], exclusion: Exclusion,
    named: Iterable[bytes] = ()
) -> Both:
    """Return the entries of two mounts that may differ, with all that differ.

    Hard links of what both have must have been copied up, see links.

    :param root_fd: the mount that was written to
    :param layers: directories of the layers that only one of the two has
    :param exclusion: what is left out, of both
    :param named: paths that may differ besides
    :raises Unreadable: where these layers alone cannot tell
    """
    old: List[Entry] = []
    new: List[Entry] = []
    with closing(TreeReader(base_fd)) as base, closing(TreeReader(root_fd)) as tree:
        walk = _Walk(base, tree, layers, exclusion, _by_directory(named))
        for one, two in walk.below(b'', False):
            old += [one] if one else []
            new += [two] if two else []
    _check_links(new)
    return old, new


def _by_directory(paths: Iterable[bytes]) -> Dict[bytes, Set[bytes]]:
    found: Dict[bytes, Set[bytes]] = {}
    for path in paths:
        above = path
        while above:
            above, _, name = above.rpartition(b'/')
            found.setdefault(above, set()).add(name)
    return found


def _check_links(entries: Iterable[Entry]) -> None:
    """Look whether all names of each file are among what was touched.

    :raises Unreadable: if not
    """
    linked = [one for one in entries if one.stat.st_nlink > 1 and not one.is_dir]
    names = Counter(one.inode for one in linked)
    for one in linked:
        if names[one.inode] != one.stat.st_nlink:
            raise Unreadable(f'{os.fsdecode(one.path)!r}: a hard link of something else')


class _Walk:
    """Walks the layers and reads both sides of what is in them."""

    def __init__(
        self, base: TreeReader, tree: TreeReader, layers: Sequence[int],
        exclusion: Exclusion, named: Dict[bytes, Set[bytes]]
    ) -> None:
        self.base = base
        self.tree = tree
        self.layers = layers
        self.exclusion = exclusion
        self.named = named

    def below(
        self, path: bytes, whole: bool
    ) -> Iterator[Tuple[Optional[Entry], Optional[Entry]]]:
        """Yield what may differ in a directory, in the order of a scan.

        :param whole: all that is in it may
        """
        names = None if whole else self._names(path)
        whole = names is None
        if names is None:
            names = {*self.base.names(path), *self.tree.names(path)}
        for name in sorted(names):
            place = path + b'/' + name if path else name
            old, new = self._seen(self.base, place), self._seen(self.tree, place)
            yield old, new
            if new is None or not new.is_dir or place in self.exclusion.contents:
                continue
            if place.count(b'/') > _DEEPEST:
                raise Unreadable(f'{os.fsdecode(place)!r}: too deep')
            yield from self.below(place, whole or old is None or not old.is_dir)

    def _seen(self, tree: TreeReader, path: bytes) -> Optional[Entry]:
        entry = tree.entry(path)
        return None if entry is None or is_excluded(entry, self.exclusion) else entry

    def _names(self, path: bytes) -> Optional[Set[bytes]]:
        """Return what the layers have in a directory, None if one hides those below it."""
        found = set(self.named.get(path, ()))
        for layer in self.layers:
            try:
                fd = open_below(layer, path)
            except OSError as issue:
                if issue.errno == errno.ENOENT:
                    continue
                if issue.errno in (errno.ENOTDIR, errno.ELOOP):
                    return None
                raise
            try:
                names = set(map(os.fsencode, os.listdir(fd)))
                if _is_opaque(fd, path):
                    return None
                _check_files(fd, path, names)
            finally:
                os.close(fd)
            found |= names
        return found


def _is_opaque(fd: int, path: bytes) -> bool:
    keys = set(os.listxattr(fd))
    if _OPAQUE in keys and os.getxattr(fd, _OPAQUE) == b'y':
        return True
    _check_keys(keys, path)
    return False


def _check_files(fd: int, path: bytes, names: Iterable[bytes]) -> None:
    """Look for marks that are not known here on what is in a directory of a layer."""
    for name in names:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            where = b'/proc/self/fd/%d/%b' % (fd, name)
            _check_keys(set(os.listxattr(where, follow_symlinks=False)), path + b'/' + name)


def _check_keys(keys: Set[str], path: bytes) -> None:
    for key in sorted(keys - _HARMLESS):
        if key.startswith(MARKS):
            raise Unreadable(f'{os.fsdecode(path)!r}: {key}')
