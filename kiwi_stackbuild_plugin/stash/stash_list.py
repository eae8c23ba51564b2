# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash_list": what is stored here, or offered by a registry."""
from __future__ import annotations

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Dict, List, Optional, Sequence

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashImageNotFound, KiwiStashToolFailed, printable
)
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.text import align, human_age, human_size, utc
from kiwi_stackbuild_plugin.image.artifacts import (
    TYPES, is_attached_tag, kind_of, referrers_tag
)
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash
from kiwi_stackbuild_plugin.image.reference import parse_reference
from kiwi_stackbuild_plugin.stash.chain import (
    ChainLink, LayerReader, chain_document, format_chain, read_chain
)
from kiwi_stackbuild_plugin.stash.sbom import kept_documents
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.access import Access
from kiwi_stackbuild_plugin.storage.documents import layer_sizes
from kiwi_stackbuild_plugin.storage.find import check_registry
from kiwi_stackbuild_plugin.storage.referrers import read_referrers
from kiwi_stackbuild_plugin.storage.registry import (
    list_repositories, list_tags, read_remote
)

log = logging.getLogger('kiwi')

__all__ = ['StashInfo', 'format_json', 'format_table', 'list_remote', 'list_stashes']

#: a registry is asked so many questions at a time
_PARALLEL = 8
_COLUMNS = (
    'NAME', 'TAG', 'IMAGE ID', 'CREATED', 'SIZE', 'LAYER', 'LAYERS', 'TYPE', 'BASE'
)
#: what cosign keeps under a tag of the image's digest, by its suffix
_COSIGN = {'sig': 'signature', 'att': 'attestation', 'sbom': 'sbom'}
_SURROGATE = re.compile('[\ud800-\udfff]')


@clean_exit()
def list_stashes(name: Optional[str] = None) -> List[StashInfo]:
    """Return the stashes that are stored, sorted by name and tag.

    :param name: only those of this name, or name:tag, with their chains
    """
    local.require_storage_tools()
    reader = None if name is None else LayerReader()
    found = [
        _local(info, full_name, reader)
        for info in local.list_stashes() if is_listed(info)
        for full_name in info.names if name is None or _is_called(full_name, name)
    ]
    return sorted(found, key=lambda stash: (stash.name, stash.tag))


def _local(
    info: ImageInfo, full_name: str, reader: Optional[LayerReader]
) -> StashInfo:
    known = info.stash_labels.layer_size is not None
    sizes: Sequence[int] = ()
    if reader is not None or not known:
        try:
            sizes = layer_sizes(info)
        except KiwiStashToolFailed as issue:
            log.warning('%s: the sizes of its layers are not known', issue.summary)
    if reader is None:
        return describe(info, *local.split_name(full_name), sizes)
    return replace(describe(
        info, *local.split_name(full_name), sizes, read_chain(
            info.layers, info.history, sizes, reader.contents(info)
        )
    ), artifacts=[_Shown(
        one.kind, one.media_type, one.digest, one.path
    ) for one in kept_documents(info.image_id)])


def _is_called(full_name: str, wanted: str) -> bool:
    name, tag = local.split_name(full_name)
    return wanted in (name, f'{name}:{tag}')


@clean_exit()
def list_remote(
    place: str, name: Optional[str], access: Access
) -> List[StashInfo]:
    """Return the stashes that a registry offers, sorted by name and tag.

    :param place: host or host/prefix
    :param name: only those of this name, or name:tag; then the registry needs
        no catalog, which many do not have, and the chain is shown
    :raises KiwiStashImageNotFound: if the registry does not tell
    """
    local.require_storage_tools()
    host, _, prefix = check_registry(place, '--remote').partition('/')
    if name is not None:
        target = parse_reference(
            '/'.join(part for part in (host, prefix, name) if part), '<name>'
        )
        tags: Optional[List[str]] = list_tags(f'{host}/{target.name}', access)
        names = _full_names(f'{host}/{target.name}', tags or [], target.tag)
    else:
        tags = None
        names = _all_names(host, prefix, access)
    pool = ThreadPoolExecutor(_PARALLEL)
    try:
        found = list(pool.map(lambda full: _remote(full, access, tags), names))
    finally:
        # who interrupts us does not wait for a registry
        pool.shutdown(wait=False, cancel_futures=True)
    return [stash for stash in found if stash is not None]


def _repositories(host: str, prefix: str, access: Access) -> List[str]:
    """Return the repositories below a prefix, or the one that it is itself."""
    place = f'{host}/{prefix}'.rstrip('/')
    try:
        return [
            name for name in list_repositories(host, access)
            if f'{name}/'.startswith(f'{place}/')
        ]
    except KiwiStashImageNotFound:
        if not prefix:
            raise
        log.info('%s has no catalog, asking for %s itself', host, place)
        return [place]


def _all_names(host: str, prefix: str, access: Access) -> List[str]:
    """Return host/name:tag of all there is; what cannot be read is named.

    :raises KiwiStashImageNotFound: if no repository can be read
    """
    repositories = _repositories(host, prefix, access)
    issues: List[KiwiStashImageNotFound] = []

    def read(repository: str) -> List[str]:
        try:
            return _full_names(repository, list_tags(repository, access))
        except KiwiStashImageNotFound as issue:
            issues.append(issue)
            return []

    with ThreadPoolExecutor(_PARALLEL) as pool:
        names = [full for some in pool.map(read, repositories) for full in some]
    if issues and len(issues) == len(repositories):
        raise issues[0]
    for issue in issues:
        log.warning('%s', issue.summary)
    return names


def _full_names(repository: str, tags: Sequence[str], tag: str = '') -> List[str]:
    return [
        f'{repository}:{found}' for found in tags
        if tag in ('', found) and not is_attached_tag(found)
    ]


def _remote(
    full_name: str, access: Access, tags: Optional[Sequence[str]]
) -> Optional[StashInfo]:
    """Return a stash in a registry, None if it is another kind of image.

    :param tags: of the repository, where the chain and what goes with it is shown
    """
    try:
        info, sizes = read_remote(full_name, access)
    except KiwiStashImageNotFound as issue:
        log.warning('%s', issue.summary)
        return None
    if not info.stash_labels.is_stash or not is_listed(info):
        return None
    name, _, tag = full_name.rpartition(':')
    if tags is None:
        return describe(info, name, tag, sizes)
    return replace(describe(
        info, name, tag, sizes, read_chain(info.layers, info.history, sizes)
    ), artifacts=_attached(name, info.digest, access, tags))


def _attached(
    repository: str, digest: str, access: Access, tags: Sequence[str]
) -> List[_Shown]:
    """Return what goes with an image in a registry; tags are cosign's."""
    try:
        entries = read_referrers(repository, digest, access, tags)
    except KiwiStashImageNotFound as issue:
        log.warning('%s', issue.summary)
        entries = []
    begin = f'{referrers_tag(digest)}.'
    return [_Shown(
        kind_of(one) or 'other', one.get('artifactType') or TYPES.get(kind_of(one), ''),
        one['digest'], f'{repository}@{one["digest"]}'
    ) for one in entries] + [_Shown(
        _COSIGN.get(tag[len(begin):], 'other'), '', '', f'{repository}:{tag}'
    ) for tag in tags if tag.startswith(begin)]


@dataclass(frozen=True)
class _Shown:
    """What goes with a stash; type is a media type, place a file or a reference."""

    kind: str
    type: str
    digest: str
    place: str


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
    artifacts: Optional[List[_Shown]] = None


def is_listed(info: ImageInfo) -> bool:
    """Tell a stash from an image that merely inherited its labels."""
    return not info.stash_labels.own or is_own_stash(info)


def describe(
    info: ImageInfo, name: str, tag: str, sizes: Sequence[int],
    chain: Optional[List[ChainLink]] = None
) -> StashInfo:
    """Return what the list tells of an image.

    :param sizes: bytes of its layers, none where its labels tell the newest
    :param chain: its layers, where they are to be shown
    """
    told = info.stash_labels
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
    for row, stash in zip(rows, stashes):
        del row['chain']
        if stash.chain is not None:
            row['chain'] = chain_document(stash.chain)
        if stash.artifacts is None:
            del row['artifacts']
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
        f'{_format_artifacts(stash.artifacts)}' for stash in stashes if stash.chain
    )])


def _format_artifacts(artifacts: Optional[Sequence[_Shown]]) -> str:
    rows = [(one.kind, one.type or '-', one.place) for one in artifacts or ()]
    return f'\n\nwhat goes with it:\n{align(rows)}' if rows else ''
