# SPDX-License-Identifier: GPL-3.0-or-later
"""From references to images in the storage, and the base of a root tree."""
from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Optional

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.derived import imported_archive
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.host.text import parse_moment
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash, oci_architecture
from kiwi_stackbuild_plugin.image.labels import EXTRAS
from kiwi_stackbuild_plugin.image.reference import (
    Reference, check_docker, parse_reference, refuse_login
)
from kiwi_stackbuild_plugin.layer.extras import is_sound
from kiwi_stackbuild_plugin.lookup import (
    DEFAULT_LOOKUP, Lookup, check_age, fetch_copy, fetch_named, fetch_short
)
from kiwi_stackbuild_plugin.record import read_record, trusted_moment
from kiwi_stackbuild_plugin.store import LOCAL, find_image, list_stashes

log = logging.getLogger('kiwi')

_NEVER = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Base:
    """The image that a stash is a layer on.

    touched_since: see delta.Trust
    """

    info: ImageInfo
    why: str
    touched_since: Optional[int] = None

    @property
    def rounded(self) -> bool:
        """Tell whether its mtimes may have lost their nanoseconds."""
        return not (is_own_stash(self.info) and self.info.told.exact_times)


def resolve_image(
    space: Workspace, text: str, option: str, lookup: Lookup = DEFAULT_LOOKUP
) -> ImageInfo:
    """Find the image of a reference; what names another place is fetched.

    :raises KiwiStashImageNotFound: if it is nowhere, or too old
    """
    reference = parse_reference(text, option)
    info = (
        _fetch(space, reference, option, lookup)
        if reference.kind == 'transport' else _find(reference, option, lookup)
    )
    check_age(info, text, lookup)
    warn_of_labels(info)
    if info.lossy_storage and len(info.layers) > 1 and not (
        info.told.all_xattrs and is_own_stash(info)
    ):
        log.warning(
            '%s: the storage driver %s has lost the extended attributes (ACLs, '
            'user.*, trusted.*) of all layers but the last', info.display_name, info.driver
        )
    return info


def warn_of_labels(info: ImageInfo) -> None:
    """Name the labels of an image that say nothing we could use."""
    wrong = list(info.told.wrong)
    extras = info.told.extras
    if extras and is_own_stash(info) and not is_sound(extras):
        wrong.append(f'{EXTRAS}={extras[:40]}')
    for text in wrong:
        log.warning('%s: a label that is passed over: %s', info.display_name, text)


def _find(reference: Reference, option: str, lookup: Lookup) -> ImageInfo:
    plain = reference.kind == 'name' and not reference.host
    if plain and lookup.registry is not None:
        return fetch_named(_join(lookup.registry, reference), lookup, 'always')
    if reference.host not in ('', LOCAL):
        return fetch_named(reference.tagged, lookup)
    found = _find_local(reference)
    if found is not None:
        return found
    if plain and lookup.pull not in (None, 'never'):
        return fetch_short(reference.tagged, lookup)
    raise _unknown(reference, option)


def _find_local(reference: Reference) -> Optional[ImageInfo]:
    if reference.kind == 'id':
        return find_image(reference.text.partition(':')[2] or reference.text)
    if reference.host:
        return find_image(reference.tagged)
    return find_image(f'{LOCAL}/{reference.tagged}') or find_image(reference.tagged)


def _fetch(
    space: Workspace, reference: Reference, option: str, lookup: Lookup
) -> ImageInfo:
    if reference.text.startswith('docker://'):
        return fetch_named(check_docker(reference.text, option), lookup)
    if reference.text.startswith('containers-storage:'):
        name = reference.text.partition(':')[2].lstrip('@')
        info = find_image(name)
        if info is None:
            raise KiwiStashImageNotFound(f'{option} {reference.text}: no such image')
        return info
    return fetch_copy(space, reference.text, lookup)


def check_registry(registry: str, option: str = '--from-registry') -> str:
    """Check what names a registry; return host, port and prefix.

    :raises KiwiStashArgumentInvalid: if it cannot be a registry
    """
    refuse_login(f'{registry}/', option)
    place = registry[len('docker://'):] if registry.startswith('docker://') else registry
    place = place.rstrip('/')
    try:
        valid = bool(parse_reference(f'{place}/name').host)
    except KiwiStashArgumentInvalid:
        valid = False
    if not valid:
        raise KiwiStashArgumentInvalid(
            f'{option} {registry!r}: not a registry',
            'HOST, HOST:PORT or HOST/PREFIX'
        )
    return place


def _join(registry: str, reference: Reference) -> str:
    return f'{check_registry(registry)}/{reference.tagged}'


def _unknown(reference: Reference, option: str) -> KiwiStashImageNotFound:
    names = sorted({
        name[len(LOCAL) + 1:] for info in list_stashes()
        for name in info.names if name.startswith(f'{LOCAL}/')
    })
    near = difflib.get_close_matches(reference.text, names, 3, 0.5)
    hint = f'did you mean {" or ".join(near)}?' if near else (
        f'stored are: {", ".join(names[:5])}' if names else 'no stash is stored here'
    )
    return KiwiStashImageNotFound(
        f'{option} {reference.text!r}: no such stash or image', hint
    )


def resolve_base(
    space: Workspace, root_fd: int, name: str, explicit: Optional[str],
    no_base: bool, now: Optional[int], lookup: Lookup = DEFAULT_LOOKUP
) -> Optional[Base]:
    """Return the base of a root tree: the first rule of the design that applies.

    :param name: name:tag of the stash to be written
    :param explicit: what --base says
    :param now: the present moment, see record.take_moment
    :param lookup: how --base is looked up
    """
    if no_base:
        return None
    if explicit is not None:
        info = resolve_image(space, explicit, '--base', lookup)
        moment = _recorded_moment(root_fd, info, now)
        return Base(info, 'as asked for', moment)
    base = (
        _base_of_record(root_fd, now)
        or _base_of_import(space, root_fd)
        or _base_of_name(name)
    )
    if base is not None:
        warn_of_labels(base.info)
    return base


def _recorded_moment(
    root_fd: int, info: ImageInfo, now: Optional[int]
) -> Optional[int]:
    record = read_record(root_fd)
    if record is None or record.image != info.image_id:
        return None
    return trusted_moment(record, root_fd, now)


def _base_of_record(root_fd: int, now: Optional[int]) -> Optional[Base]:
    record = read_record(root_fd)
    if record is None:
        return None
    info = find_image(record.image)
    if info is None:
        log.warning(
            'the image this root tree came from (%s, %s) is no longer stored',
            record.name or 'unnamed', record.image[:12]
        )
        return None
    return Base(
        info, 'the root tree came from it',
        trusted_moment(record, root_fd, now)
    )


def _base_of_import(space: Workspace, root_fd: int) -> Optional[Base]:
    """Bring the archive that kiwi keeps for derived images into the storage."""
    with imported_archive(root_fd) as path:
        if path is None:
            return None
        log.info('Reading the image this root tree was derived from')
        info = fetch_copy(
            space, f'oci-archive:{path}', DEFAULT_LOOKUP, any_platform=True
        )
    return Base(info, 'the root tree was derived from it')


def _base_of_name(name: str) -> Optional[Base]:
    """Return the stash of a name:tag, else the newest one of the name.

    Not one for another kind of machine: its layers are no start, and the new
    image would be told to be for that machine.
    """
    info = find_image(f'{LOCAL}/{name}')
    if info is not None and info.told.is_stash:
        return Base(info, 'the stash of the same name')
    repository = f'{LOCAL}/{name.rpartition(":")[0]}'
    machine = oci_architecture(Defaults.get_platform_name())
    found = [
        info for info in list_stashes(repository)
        if info.architecture in ('', machine)
    ]
    if not found:
        return None
    newest = max(found, key=lambda info: (
        parse_moment(info.created) or _NEVER, len(info.layers)
    ))
    shown = next(
        (one for one in newest.names if one.rpartition(':')[0] == repository),
        newest.display_name
    )
    return Base(
        replace(newest, names=(shown, *newest.names)),
        f'the newest stash of the same name, there is none of {name}'
    )
