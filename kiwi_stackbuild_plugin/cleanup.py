# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo what a run did to the storage on its way, at its end or after a kill."""
from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Iterable, Iterator

from kiwi_stackbuild_plugin.command import tool_files
from kiwi_stackbuild_plugin.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.store import (
    remove_unnamed, storage_key, unmount_unused
)
from kiwi_stackbuild_plugin.workspace import (
    IMAGE, MOUNT, STORAGE, Workspace, find_abandoned, remove, workspace
)

log = logging.getLogger('kiwi')


@contextmanager
def open_space(parent: str) -> Iterator[Workspace]:
    """Give a workspace for a block; what it notes is undone at the end.

    The tools that run in the block make their temporary files there.
    """
    with workspace(parent) as space, tool_files(space.path):
        space.note(STORAGE, storage_key())
        try:
            yield space
        finally:
            _undo(space)


def sweep(parents: Iterable[str]) -> None:
    """Undo and remove what killed runs left in directories.

    What belongs to another storage is left to the runs on that one.
    """
    for parent in parents:
        for space in find_abandoned(parent):
            strange = any(
                kind == STORAGE and value != storage_key()
                for kind, value in space.open_notes()
            )
            if not strange and _undo(space):
                remove(space.path)


def _undo(space: Workspace) -> bool:
    """Undo the notes of a workspace; tell whether nothing is left to undo."""
    done = True
    for kind, value in space.open_notes():
        try:
            if kind == MOUNT:
                done = unmount_unused(value) and done
            elif kind == IMAGE:
                remove_unnamed(value)
        except KiwiStashToolFailed as issue:
            log.warning('not cleaned up: %s', issue.summary)
            done = False
    return done
