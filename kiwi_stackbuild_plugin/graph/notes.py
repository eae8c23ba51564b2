# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes beside podman's layers: what is not known to be whole.

They are in the storage itself, <graph root>/kiwi-stackbuild, and not in a
temporary directory: so they are on the disk that the layers are on, and share
its fate. A note of an import is on the disk before the import begins, and goes
when all of it is there too. A mark is on a layer that must not be built on.
"""
from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Sequence, Tuple

from kiwi_stackbuild_plugin.graph.records import GraphRoot, LayerRecord, find_chain, read_layers
from kiwi_stackbuild_plugin.host.durable import replace, sync_directory
from kiwi_stackbuild_plugin.host.text import FULL_ID

_IMPORTS, _MARKS = 'unfinished', 'doubtful'
#: a note on its way to its name, and after so many seconds one that never gets it
_UNNAMED = re.compile(rf'\.{FULL_ID.pattern}\.[0-9]+')
_ABANDONED = 60
#: why a layer is marked
DAMAGED, UNFINISHED = 'damaged', 'unfinished'


@dataclass(frozen=True)
class ImportNote:
    """An image that is being brought in.

    layers: diff IDs of what is new in it
    is_pulled: podman gives it its name, before anything is synced
    """

    image_id: str
    layers: Tuple[str, ...]
    is_pulled: bool


def note_import(
    graph: GraphRoot, image_id: str, layers: Iterable[str], is_pulled: bool = False
) -> None:
    """Note on the disk that an image is about to be brought in.

    :param layers: diff IDs of those that may not be there
    """
    _write(_place(graph, _IMPORTS), image_id, json.dumps(
        {'layers': list(layers), 'pulled': is_pulled}
    ))


def forget_import(graph: GraphRoot, image_id: str) -> None:
    """Forget the note of an image that is on the disk, or is gone.

    Nothing is lost if the note comes back after a cut.
    """
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(_place(graph, _IMPORTS), image_id))


def read_imports(graph: GraphRoot) -> List[ImportNote]:
    """Return the notes that there are; one that is cut off has no layers."""
    return [
        ImportNote(name, *_parse(text))
        for name, text in _read(_place(graph, _IMPORTS))
    ]


def sweep_notes(graph: GraphRoot) -> None:
    """Remove what a killed run has written and not named; that takes milliseconds."""
    for kind in (_IMPORTS, _MARKS):
        with suppress(FileNotFoundError, NotADirectoryError), \
                os.scandir(_place(graph, kind)) as entries:
            for entry in entries:
                if _UNNAMED.fullmatch(entry.name) and entry.is_file(follow_symlinks=False) \
                        and entry.stat().st_mtime < time.time() - _ABANDONED:
                    os.unlink(entry.path)


def mark_layers(
    graph: GraphRoot, layers: Iterable[LayerRecord], why: str
) -> None:
    """Mark layers, so that nothing is built on them.

    :param why: DAMAGED or UNFINISHED
    """
    for layer in layers:
        _write(_place(graph, _MARKS), layer.layer_id, f'{layer.created}\n{why}')


def unmark_layers(graph: GraphRoot, layers: Iterable[LayerRecord]) -> None:
    """Take the marks from layers that were found whole."""
    for layer in layers:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(os.path.join(_place(graph, _MARKS), layer.layer_id))


def marked_layers(graph: GraphRoot, diff_ids: Sequence[str]) -> List[Tuple[LayerRecord, str]]:
    """Return the marked ones among the layers of an image, and why they are."""
    texts = dict(_read(_place(graph, _MARKS)))
    if not texts:
        return []
    found = []
    for layer in find_chain(read_layers(graph), diff_ids):
        created, _, why = texts.get(layer.layer_id, '').partition('\n')
        # not one that was removed and made anew
        if why and created == layer.created:
            found.append((layer, why))
    return found


def _parse(text: str) -> Tuple[Tuple[str, ...], bool]:
    try:
        values: Dict[str, object] = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return (), False
    layers = values.get('layers')
    return tuple(
        layer for layer in (layers if isinstance(layers, list) else ())
        if isinstance(layer, str)
    ), values.get('pulled') is True


def _place(graph: GraphRoot, kind: str) -> str:
    return os.path.join(graph.path, 'kiwi-stackbuild', kind)


def _read(directory: str) -> Iterator[Tuple[str, str]]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in filter(FULL_ID.fullmatch, names):
        with suppress(FileNotFoundError), open(
            os.path.join(directory, name), encoding='utf-8', errors='replace'
        ) as text:
            yield name, text.read()


def _write(directory: str, name: str, text: str) -> None:
    if not os.path.isdir(directory):
        ours = os.path.dirname(directory)
        for made in (ours, directory):
            with suppress(FileExistsError):
                os.mkdir(made, 0o700)
            sync_directory(os.path.dirname(made))
    # two runs may mark the same layer
    new = os.path.join(directory, f'.{name}.{os.getpid()}')
    try:
        with open(new, 'w', encoding='utf-8') as out:
            out.write(text)
        replace(new, os.path.join(directory, name))
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(new)
        raise
