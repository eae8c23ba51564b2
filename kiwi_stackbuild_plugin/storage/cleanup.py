# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo what a run did to the storage on its way, at its end or after a kill."""
from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Callable, Dict, Iterable, Iterator

from kiwi_stackbuild_plugin.host.command import tool_files
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.locks import in_use
from kiwi_stackbuild_plugin.host.workspace import (
    IMAGE, MOUNT, STORAGE, Workspace, find_abandoned, remove, workspace
)
from kiwi_stackbuild_plugin.storage.local import remove_unnamed, storage_key, unmount_unused

log = logging.getLogger('kiwi')

#: the lock that all share who work with images, and that removing them needs alone
STORAGE_IN_USE = ('the images of a storage', '')


@contextmanager
def open_space(parent: str) -> Iterator[Workspace]:
    """Give a workspace for a block; what it notes is undone at the end.

    The tools that run in the block make their temporary files there. Where
    something cannot be undone its journal stays, for the sweep of a later run.
    """
    with in_use(*STORAGE_IN_USE, storage_key()), \
            workspace(parent) as space, tool_files(space.path):
        space.note(STORAGE, storage_key())
        try:
            with space.held:
                yield space
        finally:
            _undo(space)


def sweep(parents: Iterable[str]) -> None:
    """Undo and remove what killed runs left in directories.

    What belongs to another storage is left to the runs on that one.
    """
    for parent in parents:
        for space in find_abandoned(parent):
            if space.is_of_storage(storage_key()):
                _undo(space)
                remove(space)


def _undo(space: Workspace) -> None:
    """Undo the notes of a workspace, and forget what is undone."""
    for kind, value in space.open_notes():
        try:
            if kind not in _UNDO or not _UNDO[kind](value):
                continue
            space.forget(kind, value)
        except KiwiStashToolFailed as issue:
            log.warning('not cleaned up, the next run tries again: %s', issue.summary)


#: tells whether that is done; if not, another run sees to it
_UNDO: Dict[str, Callable[[str], bool]] = {
    MOUNT: unmount_unused, IMAGE: remove_unnamed
}
