# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of layers of an image: when, who, how big, and what each changed."""
from __future__ import annotations

import heapq
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.packages.changes import (
    PackageChanges, compare_packages, describe_packages, packages_document
)
from kiwi_stackbuild_plugin.packages.database import PLACES, Packages, read_packages
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.host.text import align, human_age, human_size, utc
from kiwi_stackbuild_plugin.host.workspace import workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.labels import HISTORY_TITLE
from kiwi_stackbuild_plugin.storage.directories import open_layers
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.scan import walk_files

_COLUMNS = (
    'LAYER', 'CREATED', 'SIZE', 'PACKAGES', 'ADDED', 'CHANGED', 'REMOVED', 'AUTHOR'
)
#: packages and files named below a table for each layer
_NAMED, _LARGEST = 10, 3
#: files of a layer that are remembered
_SHOWN = 10
_COUNTS = re.compile(
    rf'{re.escape(HISTORY_TITLE)}: '
    r'([0-9]{1,18}) added, ([0-9]{1,18}) changed, ([0-9]{1,18}) removed'
)


@dataclass(frozen=True)
class LayerContent:
    """What a layer did to the packages, and its largest files: path and bytes."""

    packages: PackageChanges
    largest: Tuple[Tuple[str, int], ...]


@dataclass(frozen=True)
class ChainLink:
    """One layer; counts are of entries, None where another tool wrote it.

    layer is the diff ID, created RFC 3339 UTC, size the bytes of the layer as
    stored or, in a registry, as transferred; content None where not known.
    """

    layer: str
    created: str
    size: Optional[int]
    author: str
    added: Optional[int]
    changed: Optional[int]
    removed: Optional[int]
    comment: str
    content: Optional[LayerContent] = None


def read_chain(
    layers: Sequence[str], history: Sequence[Mapping[str, Any]],
    sizes: Sequence[int], contents: Sequence[Optional[LayerContent]] = ()
) -> List[ChainLink]:
    """Put together what config and manifest tell of each layer, bottom first.

    :param layers: diff IDs
    :param history: as in the config; one that does not fit is passed over
    :param sizes: bytes of the layers
    :param contents: what is in each layer
    """
    told = [
        entry for entry in history
        if isinstance(entry, Mapping) and not entry.get('empty_layer')
    ]
    if len(told) != len(layers):
        told = [{}] * len(layers)
    known = list(sizes) if len(sizes) == len(layers) else [None] * len(layers)
    return [
        _link(layer, entry, size, content)
        for layer, entry, size, content in zip(
            layers, told, known, contents or [None] * len(layers)
        )
    ]


def _link(
    layer: str, entry: Mapping[str, Any], size: Optional[int],
    content: Optional[LayerContent]
) -> ChainLink:
    comment = str(entry.get('comment') or '')
    added, changed, removed = _counts(comment)
    return ChainLink(
        layer, utc(str(entry.get('created') or '')), size,
        str(entry.get('author') or ''), added, changed, removed, comment, content
    )


def _counts(comment: str) -> Tuple[Optional[int], Optional[int], Optional[int]]:
    found = _COUNTS.match(comment)
    if found is None:
        return None, None, None
    return int(found[1]), int(found[2]), int(found[3])


def format_chain(chain: Sequence[ChainLink]) -> str:
    """Return a chain as a table, the lowest layer first."""
    table = align([_COLUMNS] + [(
        _short(link), human_age(link.created) or '-',
        _shown(None if link.size is None else human_size(link.size)),
        _package_counts(link.content), _shown(link.added), _shown(link.changed),
        _shown(link.removed), link.author or '-'
    ) for link in chain])
    # all that the lowest brings is no change
    return '\n'.join([table, *(
        '\n'.join(['', f'layer {_short(link)}:', *_describe(link.content)])
        for link in chain[1:] if link.content is not None
    )])


def _describe(content: LayerContent) -> List[str]:
    return [
        *describe_packages(content.packages, _NAMED),
        *(f'{human_size(size):>8}  {printable_path(os.fsencode(path))}'
          for path, size in content.largest[:_LARGEST])
    ]


def chain_document(chain: Sequence[ChainLink]) -> List[Dict[str, Any]]:
    """Return a chain for JSON."""
    rows = []
    for link in chain:
        row = dict(vars(link))
        content: Optional[LayerContent] = row.pop('content')
        row['packages'] = content and packages_document(content.packages)
        row['largest'] = content and [
            {'path': path, 'size': size} for path, size in content.largest
        ]
        rows.append(row)
    return rows


def _short(link: ChainLink) -> str:
    return link.layer.partition(':')[2][:12]


def _package_counts(content: Optional[LayerContent]) -> str:
    if content is None or content.packages.unread:
        return '-'
    changes = content.packages
    counts = zip('+-~', (changes.added, changes.removed, changes.updated))
    return ' '.join(f'{sign}{len(found)}' for sign, found in counts if found) or '0'


def _shown(value: object) -> str:
    return '-' if value is None else str(value)


@contextmanager
def _scratch() -> Iterator[str]:
    with workspace(Defaults.get_temp_location()) as space:
        yield space.path


class LayerReader:
    """Reads what is in layers; what two images share is read once.

    Nothing is mounted: that would take half a second for each layer.
    """

    def __init__(self) -> None:
        self._read_rpm = RpmDatabase(_scratch)
        self._known: Dict[Tuple[str, ...], Packages] = {}
        self._largest: Dict[str, Tuple[Tuple[str, int], ...]] = {}

    def contents(self, info: ImageInfo) -> List[Optional[LayerContent]]:
        """Return what is in each layer, from the bottom up; None if not known."""
        found: List[Optional[LayerContent]] = []
        before = Packages()
        with open_layers(info) as layers:
            for count in range(1, len(layers) + 1):
                after = self._packages(info.layers[:count], layers[:count], before)
                found.append(LayerContent(
                    compare_packages(before, after),
                    self._largest_files(info.directories[count - 1])
                ))
                before = after
        return found or [None] * len(info.layers)

    def _packages(
        self, chain: Tuple[str, ...], layers: List[int], below: Packages
    ) -> Packages:
        if chain not in self._known:
            top = LayeredTree(layers[-1:])
            touched = any(top.touches(place.rstrip(b'/')) for place in PLACES)
            self._known[chain] = read_packages(
                LayeredTree(layers[::-1]), self._read_rpm
            ) if touched else below
        return self._known[chain]

    def _largest_files(self, directory: str) -> Tuple[Tuple[str, int], ...]:
        if directory not in self._largest:
            self._largest[directory] = tuple(
                (path, -size) for size, path in heapq.nsmallest(_SHOWN, _sizes(directory))
            )
        return self._largest[directory]


def _sizes(directory: str) -> Iterator[Tuple[int, str]]:
    """Yield bytes, below zero so that the largest is the first, and path."""
    for entry in walk_files(directory):
        with suppress(FileNotFoundError):
            size = entry.stat(follow_symlinks=False).st_size
            yield -size, entry.path[len(directory) + 1:]
