# SPDX-License-Identifier: GPL-3.0-or-later
"""One stash as it is listed, and the lists as JSON and as tables."""
from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence

from kiwi_stackbuild_plugin.chain import ChainLink, format_chain
from kiwi_stackbuild_plugin.host.errors import printable
from kiwi_stackbuild_plugin.host.text import align, human_age, human_size, utc
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash

_COLUMNS = (
    'NAME', 'TAG', 'IMAGE ID', 'CREATED', 'SIZE', 'LAYER', 'LAYERS', 'TYPE', 'BASE'
)
_SURROGATE = re.compile('[\ud800-\udfff]')


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
    return not info.told.own or is_own_stash(info)


def describe(
    info: ImageInfo, name: str, tag: str, sizes: Sequence[int],
    chain: Optional[List[ChainLink]] = None
) -> StashInfo:
    """Return what the list tells of an image.

    :param sizes: bytes of its layers, none where its labels tell the newest
    :param chain: its layers, where they are to be shown
    """
    told = info.told
    base = {'name': told.base_name, 'digest': told.base_digest or ''}
    return StashInfo(
        name=name, tag=tag, id=info.image_id, digest=info.digest,
        created=utc(info.created), size=info.size,
        layer_size=(sizes[-1] if sizes else None) if told.layer_size is None
        else told.layer_size,
        layers=len(info.layers), base=base if told.own and told.base_name else None,
        description=bool(told.description_digest) or not told.own,
        type=told.build_type or None, profiles=list(told.profiles or ()),
        packagemanager=told.package_manager, author=told.author or info.author,
        chain=chain
    )


def format_json(stashes: Sequence[StashInfo]) -> str:
    """Return the list as one JSON document.

    A byte that is no UTF-8 becomes the four characters of its escape: many
    parsers refuse a whole document for one lone surrogate in it.
    """
    rows: List[Dict[str, Any]] = [asdict(stash) for stash in stashes]
    for row in rows:
        if row['chain'] is None:
            del row['chain']
    return json.dumps({'stashes': _as_text(rows)}, indent=4)


def _as_text(value: Any) -> Any:
    """Return a value whose texts are all of characters."""
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    if isinstance(value, list):
        return list(map(_as_text, value))
    return _SURROGATE.sub(
        lambda found: printable(found[0]), value
    ) if isinstance(value, str) else value


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
