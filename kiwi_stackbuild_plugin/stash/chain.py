# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of layers of an image: when, who, how big, and what each changed."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.host.text import align, human_age, human_size, utc
from kiwi_stackbuild_plugin.image.labels import HISTORY_TITLE

_COLUMNS = ('LAYER', 'CREATED', 'SIZE', 'ADDED', 'CHANGED', 'REMOVED', 'AUTHOR')
_COUNTS = re.compile(
    rf'{re.escape(HISTORY_TITLE)}: '
    r'([0-9]{1,18}) added, ([0-9]{1,18}) changed, ([0-9]{1,18}) removed'
)


@dataclass(frozen=True)
class ChainLink:
    """One layer; counts are of entries, None where another tool wrote it.

    layer is the diff ID, created RFC 3339 UTC, size the bytes of the layer as
    stored or, in a registry, as transferred.
    """

    layer: str
    created: str
    size: Optional[int]
    author: str
    added: Optional[int]
    changed: Optional[int]
    removed: Optional[int]
    comment: str


def read_chain(
    layers: Sequence[str], history: Sequence[Mapping[str, Any]],
    sizes: Sequence[int]
) -> List[ChainLink]:
    """Put together what config and manifest tell of each layer, bottom first.

    :param layers: diff IDs
    :param history: as in the config; one that does not fit is passed over
    :param sizes: bytes of the layers
    """
    told = [
        entry for entry in history
        if isinstance(entry, Mapping) and not entry.get('empty_layer')
    ]
    if len(told) != len(layers):
        told = [{}] * len(layers)
    known = list(sizes) if len(sizes) == len(layers) else [None] * len(layers)
    return [
        _link(layer, entry, size)
        for layer, entry, size in zip(layers, told, known)
    ]


def _link(
    layer: str, entry: Mapping[str, Any], size: Optional[int]
) -> ChainLink:
    comment = str(entry.get('comment') or '')
    added, changed, removed = _counts(comment)
    return ChainLink(
        layer, utc(str(entry.get('created') or '')), size,
        str(entry.get('author') or ''), added, changed, removed, comment
    )


def _counts(comment: str) -> Tuple[Optional[int], Optional[int], Optional[int]]:
    found = _COUNTS.match(comment)
    if found is None:
        return None, None, None
    return int(found[1]), int(found[2]), int(found[3])


def format_chain(chain: Sequence[ChainLink]) -> str:
    """Return a chain as a table, the lowest layer first."""
    return align([_COLUMNS] + [(
        link.layer.partition(':')[2][:12], human_age(link.created) or '-',
        _shown(None if link.size is None else human_size(link.size)),
        _shown(link.added), _shown(link.changed), _shown(link.removed),
        link.author or '-'
    ) for link in chain])


def _shown(value: object) -> str:
    return '-' if value is None else str(value)
