# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of layers of an image: when, who, how big, and what each changed."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.packages.changes import describe_packages, packages_document
from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.host.text import align, human_age, human_size, utc
from kiwi_stackbuild_plugin.image.labels import HISTORY_TITLE
from kiwi_stackbuild_plugin.stash.layers import LayerContent

_COLUMNS = (
    'LAYER', 'CREATED', 'SIZE', 'PACKAGES', 'ADDED', 'CHANGED', 'REMOVED', 'AUTHOR'
)
#: packages and files named below a table for each layer
_NAMED, _LARGEST = 10, 3
_COUNTS = re.compile(
    rf'{re.escape(HISTORY_TITLE)}: '
    r'([0-9]{1,18}) added, ([0-9]{1,18}) changed, ([0-9]{1,18}) removed'
)


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
