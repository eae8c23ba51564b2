# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash_list --check": read stored stashes again, name what is damaged."""
from __future__ import annotations

import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.graph.check import Damage, LayerCheck, can_check, check_layer
from kiwi_stackbuild_plugin.graph.notes import DAMAGED, mark_layers, unmark_layers
from kiwi_stackbuild_plugin.graph.records import (
    GraphRoot, LayerRecord, find_chain, read_layers
)
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDamaged, KiwiStashImageNotFound, printable,
    printable_path
)
from kiwi_stackbuild_plugin.host.locks import in_use
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.text import align, human_size
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stash.stash_list import is_listed
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.cleanup import STORAGE_IN_USE
from kiwi_stackbuild_plugin.storage.directories import graph_root, storage_key
from kiwi_stackbuild_plugin.storage.documents import config_damage

log = logging.getLogger('kiwi')

_COLUMNS = ('NAME', 'TAG', 'IMAGE ID', 'LAYERS', 'READ', 'STATE')
_SHOWN = 20


@dataclass(frozen=True)
class Part:
    """A slice of all layers: the number of it, from 1, and how many there are."""

    number: int = 1
    count: int = 1

    def has(self, layer: LayerRecord) -> bool:
        """Tell whether a layer is in the slice: each is in one, and stays there."""
        return int(layer.layer_id, 16) % self.count == self.number - 1


@dataclass(frozen=True)
class CheckedStash:
    """A stash, how many of its layers were read, and the damage by layer.

    damage: diff ID, '' for what is not in a layer; and what is damaged in it
    unread: why layers could not be read, '' if they could
    """

    name: str
    tag: str
    image_id: str
    layers: int
    read: int
    damage: Tuple[Tuple[str, Damage], ...]
    unread: str = ''

    @property
    def title(self) -> str:
        """What people call it."""
        return f'{self.name}:{self.tag}' if self.tag else self.image_id[:12]


@dataclass(frozen=True)
class CheckReport:
    """All stashes that were looked at, and the bytes that were read for it."""

    stashes: Tuple[CheckedStash, ...]
    size: int

    def raise_damage(self) -> None:
        """Fail if something is damaged.

        :raises KiwiStashDamaged: naming the stashes
        """
        names = list(dict.fromkeys(one.title for one in self.stashes if one.damage))
        if names:
            raise KiwiStashDamaged(
                f'{len(names)} of {len(self.stashes)} stashes are damaged: {", ".join(names)}',
                'nothing is built on them: podman rmi them, and stash their root trees again'
            )


def parse_part(text: str) -> Part:
    """Read the value of --check: n/m, slice n of m.

    :raises KiwiStashArgumentInvalid: if it is none
    """
    found = re.fullmatch(r'([0-9]{1,6})/([0-9]{1,6})', text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise KiwiStashArgumentInvalid(
            f'--check={text!r} is no slice', 'n/m with n from 1 to m, such as 1/7'
        )
    return Part(int(found[1]), int(found[2]))


@clean_exit()
def check_stashes(name: Optional[str], part: Part) -> CheckReport:
    """Read the layers of stored stashes again, each once, and compare.

    Damaged layers are marked, and what is whole loses its mark.

    :param name: only those of this name, or name:tag
    :raises KiwiStashImageNotFound: if there is no such stash
    """
    local.require_storage_tools()
    with in_use(*STORAGE_IN_USE, storage_key()):
        infos = [info for info in local.list_stashes() if is_listed(info)]
        chosen = [
            (info, *title) for info in infos for title in _titles(info)
            if name is None or name in (title[0], ':'.join(title))
        ]
        if name is not None and not chosen:
            raise KiwiStashImageNotFound(
                f'--check {name!r}: no such stash',
                'those there are: kiwi-ng system stash_list'
            )
        reader = _LayerReader(part)
        found = [reader.check(*one) for one in chosen]
    return CheckReport(
        tuple(sorted(found, key=lambda one: (one.name, one.tag, one.image_id))), reader.size
    )


def _titles(info: ImageInfo) -> Iterator[Tuple[str, str]]:
    """Yield name and tag; an image whose name went to a newer one has no tag."""
    for full_name in info.names:
        yield local.split_name(full_name)
    if not info.names:
        yield info.stash_labels.title or '<none>', ''


class _LayerReader:
    """Reads each layer once, whatever number of stashes has it."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._graph = graph_root()
        self._layers: Dict[str, Dict[str, LayerRecord]] = {}
        self._checked: Dict[Tuple[str, str], LayerCheck] = {}
        self._configs: Dict[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes that were read."""
        return sum(found.size for found in self._checked.values())

    def check(self, info: ImageInfo, name: str, tag: str) -> CheckedStash:
        """Check one stash."""
        graph, chain = self._chain(info)
        damage: List[Tuple[str, Damage]] = []
        if info.image_id not in self._configs:
            self._configs[info.image_id] = config_damage(info.image_id)
        if self._configs[info.image_id]:
            damage.append(('', Damage(b'', f'its config: {self._configs[info.image_id]}')))
        unread, read = '', 0
        if not can_check(graph):
            unread = f'layers of the driver {graph.driver} cannot be read'
        else:
            damage += [
                (diff_id, Damage(b'', 'the storage has it no more'))
                for diff_id in info.layers[len(chain):]
            ]
            for layer in filter(self._part.has, chain):
                found = self._read(graph, layer)
                unread = unread or found.unread
                read += not found.unread
                damage += [(layer.diff_id, one) for one in found.damage]
        return CheckedStash(
            name, tag, info.image_id, len(info.layers), read, tuple(damage), unread
        )

    def _chain(self, info: ImageInfo) -> Tuple[GraphRoot, Tuple[LayerRecord, ...]]:
        """Return the layers of an image, and the store they are in: ours or a read-only one."""
        places = [self._graph.path] + [
            path.rpartition('/overlay/')[0] for path in info.directories
        ]
        best: Tuple[GraphRoot, Tuple[LayerRecord, ...]] = (self._graph, ())
        for place in dict.fromkeys(places):
            graph = GraphRoot(place, self._graph.driver)
            if place not in self._layers:
                self._layers[place] = read_layers(graph)
            chain = find_chain(self._layers[place], info.layers)
            if len(chain) > len(best[1]):
                best = graph, chain
        return best

    def _read(self, graph: GraphRoot, layer: LayerRecord) -> LayerCheck:
        key = (graph.path, layer.layer_id)
        if key not in self._checked:
            log.info('Reading layer %s', layer.diff_id.partition(':')[2][:12])
            found = self._checked[key] = check_layer(graph, layer)
            # a store that is read-only has no marks
            with suppress(OSError):
                if found.damage:
                    mark_layers(graph, [layer], DAMAGED)
                elif not found.unread:
                    unmark_layers(graph, [layer])
        return self._checked[key]


def format_check(report: CheckReport) -> str:
    """Return what was found as a table, with the damage below."""
    table = align([_COLUMNS] + [(
        one.name, one.tag or '-', one.image_id[:12], str(one.layers), str(one.read), _state(one)
    ) for one in report.stashes])
    lines = [table, '', f'{human_size(report.size)} read']
    for one in report.stashes:
        if one.damage:
            lines += ['', f'{printable(one.title)}:', *(
                f'  {_described(*damage)}' for damage in one.damage[:_SHOWN]
            )]
        if len(one.damage) > _SHOWN:
            lines.append(f'  and {len(one.damage) - _SHOWN} more, see --format=json')
    return '\n'.join(lines)


def _state(one: CheckedStash) -> str:
    if one.damage:
        return 'damaged'
    return one.unread or ('whole' if one.read == one.layers else 'whole as far as read')


def _described(layer: str, damage: Damage) -> str:
    where = [f'layer {layer.partition(":")[2][:12]}'] if layer else []
    if damage.path:
        where.append(printable_path(damage.path))
    return ': '.join([*where, damage.why])


def check_document(report: CheckReport) -> str:
    """Return what was found as one JSON document."""
    rows: List[Dict[str, Any]] = [{
        'name': one.name, 'tag': one.tag, 'id': one.image_id, 'layers': one.layers,
        'read': one.read, 'state': _state(one), 'damage': _damage_rows(one.damage)
    } for one in report.stashes]
    return json.dumps({'stashes': rows, 'size': report.size}, indent=4)


def _damage_rows(damage: Sequence[Tuple[str, Damage]]) -> List[Dict[str, str]]:
    return [{
        'layer': layer, 'path': printable(os.fsdecode(one.path)), 'why': one.why
    } for layer, one in damage]
