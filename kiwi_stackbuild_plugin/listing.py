# SPDX-License-Identifier: GPL-3.0-or-later
"""One stash as it is listed, and the lists as JSON and as tables."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence

from kiwi_stackbuild_plugin import labels
from kiwi_stackbuild_plugin.chain import ChainLink, align, format_chain, utc
from kiwi_stackbuild_plugin.image import ImageInfo
from kiwi_stackbuild_plugin.report import human_age, human_size
from kiwi_stackbuild_plugin.resolve import is_own_stash

_COLUMNS = (
    'NAME', 'TAG', 'IMAGE ID', 'CREATED', 'SIZE', 'LAYER', 'LAYERS', 'TYPE', 'BASE'
)


@dataclass(frozen=True)
class StashInfo:
    """One stash; sizes in bytes, created in RFC 3339 UTC, fields as in JSON."""

    name: str
    tag: str
    id: str
    digest: str
    created: str
    size: int
    layer_size: Optional[int]
    layers: int
    base: Optional[Dict[str, str]]
    description: bool
    type: Optional[str]
    profiles: List[str]
    packagemanager: Optional[str]
    author: str
    chain: Optional[List[ChainLink]] = None


def is_listed(info: ImageInfo) -> bool:
    """Tell a stash from an image that merely inherited its labels."""
    return labels.SCHEMA not in info.labels or is_own_stash(info)


def describe(
    info: ImageInfo, name: str, tag: str, sizes: Sequence[int],
    chain: Optional[List[ChainLink]] = None
) -> StashInfo:
    """Return what the list tells of an image.

    :param sizes: bytes of its layers, none where its labels tell the newest
    :param chain: its layers, where they are to be shown
    """
    told = info.labels
    own = labels.SCHEMA in told
    size = told.get(labels.LAYER_SIZE, '')
    base_name = told.get(labels.BASE_NAME, '')
    base = {'name': base_name, 'digest': told.get(labels.BASE_DIGEST, '')}
    return StashInfo(
        name=name, tag=tag, id=info.image_id, digest=info.digest,
        created=utc(info.created), size=info.size,
        layer_size=int(size) if size.isdecimal() and len(size) < 20 else (
            sizes[-1] if sizes else None
        ),
        layers=len(info.layers), base=base if own and base_name else None,
        description=bool(told.get(labels.DESCRIPTION_DIGEST)) or not own,
        type=told.get(labels.TYPE) or None,
        profiles=[word for word in told.get(labels.PROFILES, '').split(',') if word],
        packagemanager=told.get(labels.PACKAGE_MANAGER) or None,
        author=told.get(labels.AUTHORS) or told.get(labels.MAINTAINER) or info.author,
        chain=chain
    )


def format_json(stashes: Sequence[StashInfo]) -> str:
    """Return the list as one JSON document."""
    rows: List[Dict[str, Any]] = [asdict(stash) for stash in stashes]
    for row in rows:
        if row['chain'] is None:
            del row['chain']
    return json.dumps({'stashes': rows}, indent=4)


def format_table(stashes: Sequence[StashInfo]) -> str:
    """Return the list as an aligned table, for people, and chains below."""
    rows = [_COLUMNS] + [(
        stash.name, stash.tag, stash.id[:12], human_age(stash.created),
        human_size(stash.size),
        '-' if stash.layer_size is None else human_size(stash.layer_size),
        str(stash.layers), stash.type or '-',
        stash.base['name'] if stash.base else '-'
    ) for stash in stashes]
    return '\n'.join([align(rows), *(
        f'\n{stash.name}:{stash.tag}, from the bottom up:\n{format_chain(stash.chain)}'
        for stash in stashes if stash.chain
    )])
