# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of a root tree: the image that its stash is a layer on."""
from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Dict, Iterator, Optional

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.description.origin import read_origin, trusted_moment
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid, is_absent
from kiwi_stackbuild_plugin.host.text import parse_moment
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import (
    ImageInfo, container_layers, is_rounded, oci_architecture
)
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.documents import read_archive_config
from kiwi_stackbuild_plugin.storage.find import (
    Sources, fetch_copy, find, warn_of_labels
)
from kiwi_stackbuild_plugin.storage.local import LOCAL, find_image, list_stashes
from kiwi_stackbuild_plugin.storage.lower_layers import put_together
from kiwi_stackbuild_plugin.tree.opening import open_below

log = logging.getLogger('kiwi')

_NEVER = datetime.min.replace(tzinfo=timezone.utc)
_IMPORTED_ROOT = b'image/imported_root'

#: a config is a few kB; what is longer would make that of the stash too long
_CONFIG_LIMIT = 1 << 18

#: how many layers an image may have for us to put one more on it; podman 4
#: mounts 129, and builds on 128
MOST_LAYERS = 120


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
        return is_rounded(self.info)


def resolve_base(
    sources: Sources, root_fd: int, name: str, explicit: Optional[str],
    no_base: bool, now: Optional[int]
) -> Optional[Base]:
    """Return the base of a root tree: the first rule of the design that applies.

    :param sources: how --base is found
    :param name: name:tag of the stash to be written
    :param explicit: what --base says
    :param now: the present moment, see origin.take_moment
    """
    if no_base:
        return None
    if explicit is not None:
        info = find(explicit, '--base', sources)
        moment = _recorded_moment(root_fd, info, now)
        return Base(info, 'as asked for', moment)
    base = (
        _unless_damaged(_base_of_origin(root_fd, now))
        or _unless_damaged(_base_of_import(sources.space, root_fd))
        or _unless_damaged(_base_of_name(name))
    )
    if base is not None:
        warn_of_labels(base.info)
    return base


def _unless_damaged(base: Optional[Base]) -> Optional[Base]:
    damage = local.damage_of(base.info.layers) if base else ''
    if base and damage:
        log.warning('%s is no base: %s', base.info.display_name, damage)
        return None
    return base


def _recorded_moment(
    root_fd: int, info: ImageInfo, now: Optional[int]
) -> Optional[int]:
    origin = read_origin(root_fd)
    if origin is None or origin.image != info.image_id:
        return None
    return trusted_moment(origin, root_fd, now)


def _base_of_origin(root_fd: int, now: Optional[int]) -> Optional[Base]:
    origin = read_origin(root_fd)
    if origin is None:
        return None
    info = find_image(origin.image)
    if info is None:
        log.warning(
            'the image this root tree came from (%s, %s) is no longer stored',
            origin.name or 'unnamed', origin.image[:12]
        )
        return None
    return Base(
        info, 'the root tree came from it',
        trusted_moment(origin, root_fd, now)
    )


def _base_of_import(space: Workspace, root_fd: int) -> Optional[Base]:
    """Bring the archive that kiwi keeps for derived images into the storage."""
    with imported_archive(root_fd) as path:
        if path is None:
            return None
        log.info('Reading the image this root tree was derived from')
        info = fetch_copy(f'oci-archive:{path}', Sources(space), any_platform=True)
    return Base(info, 'the root tree was derived from it')


def _base_of_name(name: str) -> Optional[Base]:
    """Return the stash of a name:tag, else the newest one of the name.

    Not one for another kind of machine: its layers are no start, and the new
    image would be told to be for that machine.
    """
    info = find_image(f'{LOCAL}/{name}')
    if info is not None and info.stash_labels.is_stash:
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


@contextmanager
def imported_archive(root_fd: int) -> Iterator[Optional[str]]:
    """Give a path to the archive in a root tree for a block, None if there is none."""
    try:
        fd = open_below(root_fd, _IMPORTED_ROOT, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as issue:
        # a device is none
        if not is_absent(issue) and issue.errno != errno.ENXIO:
            raise
        yield None
        return
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        yield f'/proc/{os.getpid()}/fd/{fd}' if regular else None
    finally:
        os.close(fd)


def imported_label(root_fd: int) -> Dict[str, str]:
    """Return the label for the container that a root tree was derived from."""
    with imported_archive(root_fd) as path:
        if path is None:
            return {}
        config = read_archive_config(path)
    return {labels.IMPORTED_ROOT: config} if len(config) < _CONFIG_LIMIT else {}


def container_below(space: Workspace, info: ImageInfo, config: str) -> Optional[Base]:
    """Return the container at the bottom of an image as a base of its own.

    A tree that is derived from one cannot be built again without its layers,
    so a chain that starts over begins above them.

    :param config: of the container that the tree is derived from, or empty
    :returns: None if there is none, or no room for a layer on it
    """
    layers = container_layers(config)
    if not layers or info.layers[:len(layers)] != layers:
        return None
    if len(layers) >= MOST_LAYERS:
        log.warning(
            'The container below %s has %d layers itself', info.display_name,
            len(layers)
        )
        return None
    if layers != info.layers:
        image_id = put_together(
            space, info, config.encode('utf-8', 'surrogateescape')
        )
        info = local.find_image(image_id) or info
    return Base(info, 'the container that the tree is derived from stays below')


def chain_limit() -> int:
    """Return how many layers may be stacked.

    Environment variable KIWI_STASH_MAX_LAYERS, 60 by default: overlayfs and
    the storage drivers have limits not far above 100.

    :raises KiwiStashArgumentInvalid: if it is not from 1 to 120
    """
    text = os.environ.get('KIWI_STASH_MAX_LAYERS', '60')
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MOST_LAYERS:
        raise KiwiStashArgumentInvalid(
            f'KIWI_STASH_MAX_LAYERS {text!r}: not a number from 1 to {MOST_LAYERS}'
        )
    return int(text)


def chain_is_full(info: ImageInfo) -> bool:
    """Tell whether one more layer on an image would be too many, and say so."""
    limit = chain_limit()
    if len(info.layers) < limit:
        return False
    log.info(
        '%s has %d layers, at most %d are stacked: starting a new single layer',
        info.display_name, len(info.layers), limit
    )
    return True


def chain_is_beyond_use(info: ImageInfo) -> bool:
    """Tell whether an image has so many layers that it need not be mounted."""
    return len(info.layers) > MOST_LAYERS and chain_is_full(info)
