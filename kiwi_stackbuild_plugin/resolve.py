# SPDX-License-Identifier: GPL-3.0-or-later
"""From references to images in the storage, and the base of a root tree."""
from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Optional

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.derived import imported_archive
from kiwi_stackbuild_plugin.description.origin import read_record, trusted_moment
from kiwi_stackbuild_plugin.host.text import parse_moment
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash, oci_architecture
from kiwi_stackbuild_plugin.storage.find import (
    DEFAULT_LOOKUP, Lookup, fetch_copy, resolve_image, warn_of_labels
)
from kiwi_stackbuild_plugin.storage.local import LOCAL, find_image, list_stashes

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
