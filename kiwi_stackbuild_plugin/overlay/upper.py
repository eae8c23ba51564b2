# SPDX-License-Identifier: GPL-3.0-or-later
"""What an overlay mount changed, found in its upper directory alone.

Source: Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
directories". The upper directory only tells where to look: what is there is read
through the mount, what was there through the base, so that both are what a scan of
the whole would see. A file that was copied up and not changed is no change.
"""
from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import Callable, Iterator, List, Tuple

from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.opening import open_below
from kiwi_stackbuild_plugin.tree.scan import EVERYTHING, Exclusion, TreeReader

DISTRUST = Trust()
_OPAQUE = 'trusted.overlay.opaque'
#: marks of an upper directory that mean nothing for what is in the tree
_HARMLESS = tuple(
    f'trusted.overlay.{name}' for name in ('origin', 'impure', 'uuid', 'upper')
)


def upper_delta(
    base_fd: int, root_fd: int, upper_fd: int,
    same_content: Callable[[bytes], bool], trust: Trust = DISTRUST,
    exclusion: Exclusion = EVERYTHING
) -> Delta:
    """Return what compare() finds in the whole of a base and an overlay mount on it.

    :param root_fd: the mount; nothing else may be mounted below it
    :param upper_fd: its upper directory
    :raises Unreadable: where the upper directory alone cannot tell
    """
    with closing(TreeReader(base_fd)) as base, closing(TreeReader(root_fd)) as tree:
        touched = _Touched(base, tree, upper_fd, exclusion)
        pairs = list(touched.walk(b'', True))
        return compare(
            (entry for old, _ in pairs for entry in old),
            (entry for _, new in pairs for entry in new), same_content, trust
        )


#: entries of the base, entries of the tree: of one name or of all below one
_Pair = Tuple[List[Entry], List[Entry]]


class _Touched:
    """Walks an upper directory and reads both sides of what is in it."""

    def __init__(
        self, base: TreeReader, tree: TreeReader, upper_fd: int, exclusion: Exclusion
    ) -> None:
        self.base = base
        self.tree = tree
        self.upper_fd = upper_fd
        self.exclusion = exclusion

    def walk(self, path: bytes, is_merged: bool) -> Iterator[_Pair]:
        """Yield what is touched below a directory, in the order of a scan.

        :param is_merged: it shows what the base has there, too
        """
        fd = open_below(self.upper_fd, path)
        try:
            _check_marks(fd, path)
            names = set(map(os.fsencode, os.listdir(fd)))
        finally:
            os.close(fd)
        if not is_merged:
            names.update(self._names_of_base(path))
        for name in sorted(names):
            yield from self._name(path + b'/' + name if path else name)

    def _name(self, path: bytes) -> Iterator[_Pair]:
        old, new = self.base.entry(path), self.tree.entry(path)
        if path in self.exclusion.paths or self._is_matched(path, old, new):
            return
        for entry in (old, new):
            if entry is not None and entry.stat.st_nlink > 1 and not entry.is_dir:
                raise Unreadable(f'{os.fsdecode(path)!r}: a hard link')
        yield [old] if old else [], [new] if new else []
        if path in self.exclusion.contents or new is None or not new.is_dir:
            return
        if old is None or not old.is_dir:
            yield from self.walk(path, True)
        elif not self._is_in_upper(path):
            raise Unreadable(f'{os.fsdecode(path)!r}: not in the upper directory')
        else:
            yield from self.walk(path, not self._is_opaque(path))

    def _is_matched(self, path: bytes, *entries: object) -> bool:
        pattern = self.exclusion.pattern
        return pattern is not None and any(
            isinstance(entry, Entry)
            and pattern.match(path + b'/' if entry.is_dir else path) is not None
            for entry in entries
        )

    def _names_of_base(self, path: bytes) -> List[bytes]:
        fd = open_below(self.base.fd, path)
        try:
            return list(map(os.fsencode, os.listdir(fd)))
        finally:
            os.close(fd)

    def _is_in_upper(self, path: bytes) -> bool:
        try:
            os.close(open_below(self.upper_fd, path))
        except OSError:
            return False
        return True

    def _is_opaque(self, path: bytes) -> bool:
        fd = open_below(self.upper_fd, path)
        try:
            return _OPAQUE in os.listxattr(fd)
        finally:
            os.close(fd)


def _check_marks(fd: int, path: bytes) -> None:
    """Look for marks that are not known here, of a directory and what is in it.

    :raises Unreadable: if there is one
    """
    _check_keys(os.listxattr(fd), path, fd)
    for name in map(os.fsencode, os.listdir(fd)):
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            keys = os.listxattr(b'/proc/self/fd/%d/%b' % (fd, name), follow_symlinks=False)
            _check_keys(keys, path + b'/' + name, -1)


def _check_keys(keys: List[str], path: bytes, directory: int) -> None:
    for key in keys:
        if not key.startswith(('trusted.overlay.', 'user.overlay.')):
            continue
        if key == _OPAQUE and directory >= 0 and os.getxattr(directory, key) == b'y':
            continue
        if not key.startswith(_HARMLESS):
            raise Unreadable(f'{os.fsdecode(path)!r}: {key}')
