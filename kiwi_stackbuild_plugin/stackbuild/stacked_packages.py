# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of a stack of stashes: said, and entered into the data base of the root."""
from __future__ import annotations

import errno
import logging
import os
from typing import Dict, List, Optional, Sequence

from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.packages.union import (
    Layer, PackagePlan, Write, plan_packages, refused
)
from kiwi_stackbuild_plugin.stackbuild.conflicts import Found, StackState
from kiwi_stackbuild_plugin.stackbuild.stacking import Step
from kiwi_stackbuild_plugin.tree.apply import remove_entry, replace_entry
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

log = logging.getLogger('kiwi')


class StackedTree:
    """Looks up files in a stack, through no link; see packages.union.StackTree."""

    def __init__(self, state: StackState) -> None:
        self._state = state
        self._directories: Dict[bytes, Optional[bytes]] = {b'': b''}

    def open(self, path: bytes) -> Optional[int]:
        """Open a regular file, None without one.

        :raises OSError: where something else is in the way
        """
        reader, entry = self._found(path)
        if entry is None:
            return None
        if not entry.is_file:
            raise OSError(errno.ELOOP, 'no regular file', path)
        return open_below(reader.fd, entry.path, os.O_RDONLY | os.O_NONBLOCK)

    def names(self, path: bytes) -> List[bytes]:
        """Return the names in a directory, sorted; none where there is none.

        :raises OSError: where something else is in the way
        """
        _, entry = self._found(path)
        if entry is None:
            return []
        if not entry.is_dir:
            raise OSError(errno.ENOTDIR, 'no directory', path)
        return sorted(
            name for name in self._state.names(path)
            if self._state.look_up(path + b'/' + name)[1] is not None
        )

    def entry(self, path: bytes) -> Optional[Entry]:
        """Return what is at a path, None behind a link."""
        return self._state.look_up(path)[1]

    def place(self, path: bytes) -> Optional[bytes]:
        """Return a path behind the links on its way, None for a directory."""
        parent, _, name = path.rpartition(b'/')
        where = self.directory(parent)
        if where is None:
            return path
        place = where + b'/' + name if where else name
        entry = self.entry(place)
        if entry is not None and not entry.is_file and self.directory(place) is not None:
            return None
        return place

    def directory(self, path: bytes) -> Optional[bytes]:
        """Return the directory that a path leads to, None if to none."""
        if path not in self._directories:
            self._directories[path] = self._state.resolve(path)
        return self._directories[path]

    def _found(self, path: bytes) -> Found:
        names = path.split(b'/')
        for count in range(1, len(names)):
            above = b'/'.join(names[:count])
            reader, entry = self._state.look_up(above)
            if entry is None:
                return reader, None
            if not entry.is_dir:
                raise OSError(errno.ENOTDIR, 'no directory', above)
        return self._state.look_up(path)


def look_at_packages(space: Workspace, steps: Sequence[Step], merge: bool) -> PackagePlan:
    """Find what the data base of a stack does not know, see union.plan_packages.

    :param steps: of stacking.plan_stack
    :raises KiwiStashArgumentInvalid: if they are to be merged and cannot be
    """
    trees = [step.trees for step in steps if step.trees is not None]
    if len(trees) < 2:
        return PackagePlan()
    read = {
        reader.fd: LayeredTree([reader.fd]) for each in trees
        for reader in (each.source, each.ancestor) if reader is not None
    }
    layers = [
        Layer(
            step.image.display_name,
            read[each.ancestor.fd] if each.ancestor is not None else None,
            read[each.source.fd]
        ) for step, each in zip(steps, trees)
    ]
    return plan_packages(layers, StackedTree(trees[0].stack), space.path, merge)


def enter_packages(plan: PackagePlan, root: str) -> None:
    """Say what was found, and write what was merged into a root that was just made.

    :raises KiwiStashArgumentInvalid: if something is in the way
    """
    for line in plan.lines:
        log.log(logging.INFO if plan.merged else logging.WARNING, '%s', line)
    with opened_tree(root) as root_fd:
        for write in plan.writes:
            try:
                _write(root_fd, write)
            except OSError as issue:
                raise refused(
                    f'{printable_path(write.path)}: {issue.strerror or issue}'
                ) from issue


def _write(root_fd: int, write: Write) -> None:
    if write.entry is None:
        remove_entry(root_fd, write.path)
    elif write.open is None:
        replace_entry(root_fd, write.path, write.entry)
    else:
        with write.open() as content:
            replace_entry(root_fd, write.path, write.entry, content)
