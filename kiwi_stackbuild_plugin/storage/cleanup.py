# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo what a run did to the storage on its way: at its end, after a kill or a power cut."""
from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Sequence

from kiwi_stackbuild_plugin.graph.notes import (
    UNFINISHED, ImportNote, forget_import, mark_layers, read_imports, sweep_notes
)
from kiwi_stackbuild_plugin.graph.records import chain_below, read_layers, unused_layers
from kiwi_stackbuild_plugin.host.command import tool_files
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.locks import in_use, unless_in_use
from kiwi_stackbuild_plugin.host.unmounting import take_back_mounts
from kiwi_stackbuild_plugin.host.workspace import (
    IMAGE, MOUNT, STORAGE, Workspace, find_abandoned, remove, workspace
)
from kiwi_stackbuild_plugin.storage.directories import graph_root, storage_key
from kiwi_stackbuild_plugin.storage.local import (
    find_image, remove_unnamed, unmount_unused
)
from kiwi_stackbuild_plugin.storage.lower_layers import remove_chain
from kiwi_stackbuild_plugin.storage.removal import remove_image

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


def sweep(parents: Sequence[str]) -> None:
    """Undo and remove what killed runs left in directories, and a cut in the storage.

    What belongs to another storage is left to the runs on that one.

    :param parents: the first is where temporary files are made
    """
    for parent in parents:
        for space in find_abandoned(parent):
            if space.is_of_storage(storage_key()):
                take_back_mounts(space.path)
                _undo(space)
                remove(space)
    sweep_notes(graph_root())
    if read_imports(graph_root()):
        # whoever comes now waits for us to end before he uses an image
        with unless_in_use(*STORAGE_IN_USE, storage_key()) as free:
            if free:
                with workspace(parents[0]) as space, tool_files(space.path):
                    _take_back_imports(space)


def _take_back_imports(space: Workspace) -> None:
    """Take back all imports that no run vouches for; none runs now.

    A name of ours says that all of an image was on the disk when it got it.
    """
    for note in read_imports(graph_root()):
        try:
            if not note.is_pulled:
                remove_unnamed(note.image_id)
            elif find_image(note.image_id) is not None:
                remove_image(note.image_id)
            _settle(space, note.image_id)
        except KiwiStashToolFailed as issue:
            log.warning('not cleaned up, the next run tries again: %s', issue.summary)
            _mark(note)


def _mark(note: ImportNote) -> None:
    graph = graph_root()
    mark_layers(graph, [
        layer for layer in read_layers(graph).values() if layer.diff_id in note.layers
    ], UNFINISHED)


def _settle(space: Workspace, image_id: str) -> None:
    """Forget an import whose image is gone, or named; layers it left go too."""
    graph = graph_root()
    notes = {note.image_id: note for note in read_imports(graph)}
    if image_id not in notes:
        return
    # another run may have stored a layer, and not yet its image
    wanted = set(notes.pop(image_id).layers).difference(
        *(other.layers for other in notes.values())
    )
    layers = read_layers(graph)
    unused = unused_layers(graph, layers) if wanted else set()
    parents = {layers[layer_id].parent for layer_id in unused}
    for layer_id in unused - parents:
        chain = chain_below(layers, layers[layer_id])
        if wanted & {layer.diff_id for layer in chain if layer.layer_id in unused}:
            remove_chain(space, [layer.diff_id for layer in chain])
    forget_import(graph, image_id)


def _undo(space: Workspace) -> None:
    """Undo the notes of a workspace, and forget what is undone."""
    for kind, value in space.open_notes():
        try:
            if kind not in _UNDO or not _UNDO[kind](value):
                continue
            if kind == IMAGE:
                _settle(space, value)
            space.forget(kind, value)
        except KiwiStashToolFailed as issue:
            log.warning('not cleaned up, the next run tries again: %s', issue.summary)


#: tells whether that is done; if not, another run sees to it
_UNDO: Dict[str, Callable[[str], bool]] = {
    MOUNT: unmount_unused, IMAGE: remove_unnamed
}
