# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash_list": what is stored, from podman's storage by label."""
from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin import labels, store
from kiwi_stackbuild_plugin.errors import printable
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


def list_stashes(name: Optional[str] = None) -> List[StashInfo]:
    """Return the stashes, sorted by name and tag.

    :param name: only those of this name, or name:tag
    """
    store.require_storage_tools()
    found = [
        _describe(info, *_split(full_name))
        for info in store.list_stashes() if _is_listed(info)
        for full_name in info.names
    ]
    wanted = [
        stash for stash in found
        if name in (None, stash.name, f'{stash.name}:{stash.tag}')
    ]
    return sorted(wanted, key=lambda stash: (stash.name, stash.tag))


def _is_listed(info: ImageInfo) -> bool:
    """Tell a stash from an image that merely inherited its labels."""
    return labels.SCHEMA not in info.labels or is_own_stash(info)


def _split(full_name: str) -> Tuple[str, str]:
    name, _, tag = full_name.rpartition(':')
    prefix = f'{store.LOCAL}/'
    return name[len(prefix):] if name.startswith(prefix) else name, tag


def _describe(info: ImageInfo, name: str, tag: str) -> StashInfo:
    told = info.labels
    own = labels.SCHEMA in told
    size = told.get(labels.LAYER_SIZE, '')
    base_name = told.get(labels.BASE_NAME, '')
    base = {'name': base_name, 'digest': told.get(labels.BASE_DIGEST, '')}
    return StashInfo(
        name=name, tag=tag, id=info.image_id, digest=info.digest,
        created=_utc(info.created), size=info.size,
        layer_size=int(size) if size.isdecimal() else store.top_layer_size(info),
        layers=len(info.layers), base=base if own and base_name else None,
        description=bool(told.get(labels.DESCRIPTION_DIGEST)) or not own,
        type=told.get(labels.TYPE) or None,
        profiles=[word for word in told.get(labels.PROFILES, '').split(',') if word],
        packagemanager=told.get(labels.PACKAGE_MANAGER) or None,
        author=told.get(labels.AUTHORS) or told.get(labels.MAINTAINER) or info.author
    )


def _utc(created: str) -> str:
    """Return podman's time, which has nanoseconds and a zone, in UTC seconds."""
    text = re.sub(r'\.\d+', '', created).replace('Z', '+00:00')
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return created
    return moment.astimezone(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def format_json(stashes: Sequence[StashInfo]) -> str:
    """Return the list as one JSON document."""
    document: Dict[str, Any] = {'stashes': [asdict(stash) for stash in stashes]}
    return json.dumps(document, indent=4)


def format_table(stashes: Sequence[StashInfo]) -> str:
    """Return the list as an aligned table, for people."""
    rows = [_COLUMNS] + [(
        stash.name, stash.tag, stash.id[:12], human_age(stash.created),
        human_size(stash.size),
        '-' if stash.layer_size is None else human_size(stash.layer_size),
        str(stash.layers), stash.type or '-',
        stash.base['name'] if stash.base else '-'
    ) for stash in stashes]
    shown = [[printable(cell).replace('\n', ' ') for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in shown
    )
