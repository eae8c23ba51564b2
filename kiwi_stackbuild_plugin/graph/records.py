# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists that podman's storage keeps of its layers and images, read only.

Source: containers/storage, layers.go, images.go and containers.go: one JSON
list each, <graph root>/<driver>-<kind>/<kind>.json, replaced by a rename.
"""
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.text import FULL_ID



@dataclass(frozen=True)
class GraphRoot:
    """Where podman has its storage, and by which driver (overlay, vfs, ...)."""

    path: str
    driver: str

    def of(self, kind: str, *names: str) -> str:
        """Return a path below <driver>-<kind>: layers, images, containers."""
        return os.path.join(self.path, f'{self.driver}-{kind}', *names)


@dataclass(frozen=True)
class LayerRecord:
    """One layer of a storage.

    layer_id is that of the storage, the same for the same chain in any storage;
    parent is such an ID or ''; created tells a layer from an earlier one of the
    same ID.
    """

    layer_id: str
    parent: str
    diff_id: str
    created: str


def read_layers(graph: GraphRoot) -> Dict[str, LayerRecord]:
    """Return the layers of a storage by ID; what is no record is passed over.

    :raises KiwiStashToolFailed: if the list cannot be read
    """
    return {
        entry['id']: LayerRecord(
            entry['id'], _text(entry, 'parent'), _text(entry, 'diff-digest'),
            _text(entry, 'created')
        ) for entry in _read(graph, 'layers')
    }


def find_chain(
    layers: Mapping[str, LayerRecord], diff_ids: Sequence[str]
) -> Tuple[LayerRecord, ...]:
    """Return the layers of an image from the bottom up, as far as they are there."""
    known = {(layer.parent, layer.diff_id): layer for layer in layers.values()}
    found: List[LayerRecord] = []
    for diff_id in diff_ids:
        layer = known.get((found[-1].layer_id if found else '', diff_id))
        if layer is None:
            break
        found.append(layer)
    return tuple(found)


def chain_below(
    layers: Mapping[str, LayerRecord], layer: LayerRecord
) -> Tuple[LayerRecord, ...]:
    """Return a layer and all below it, from the bottom up."""
    found = [layer]
    while found[-1].parent in layers and len(found) <= len(layers):
        found.append(layers[found[-1].parent])
    return tuple(reversed(found))


def unused_layers(
    graph: GraphRoot, layers: Mapping[str, LayerRecord]
) -> Set[str]:
    """Return the IDs of layers that no image and no container has."""
    used: Set[str] = set()
    for kind in ('images', 'containers'):
        for entry in _read(graph, kind):
            # one image may have its layer several times, for user namespaces
            for top in (entry.get('layer'), *(entry.get('mapped-layers') or ())):
                if top in layers:
                    used.update(one.layer_id for one in chain_below(layers, layers[top]))
    return set(layers) - used


def _read(graph: GraphRoot, kind: str) -> Iterator[Mapping[str, Any]]:
    path = graph.of(kind, f'{kind}.json')
    try:
        with open(path, 'rb') as stream:
            document = json.loads(stream.read() or b'[]')
    except FileNotFoundError:
        return
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, (list, type(None))) or document is None:
        raise KiwiStashToolFailed(f'{path!r}: not a list of the storage of podman')
    for entry in document:
        if isinstance(entry, dict) and FULL_ID.fullmatch(_text(entry, 'id')):
            yield entry


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ''
