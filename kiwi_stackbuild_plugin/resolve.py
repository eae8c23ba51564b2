# SPDX-License-Identifier: GPL-3.0-or-later
"""From references to images in the storage, and the base of a root tree."""
from __future__ import annotations

import difflib
import logging
import os
import stat
from dataclasses import dataclass
from typing import Optional

from kiwi_stackbuild_plugin import labels
from kiwi_stackbuild_plugin.destination import check_docker
from kiwi_stackbuild_plugin.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.extras import Extras, decode
from kiwi_stackbuild_plugin.image import ImageInfo
from kiwi_stackbuild_plugin.record import read_record, trusted_moment
from kiwi_stackbuild_plugin.reference import Reference, parse_reference
from kiwi_stackbuild_plugin.store import (
    LOCAL, copy_in, find_image, list_stashes, pull_image
)
from kiwi_stackbuild_plugin.tree import open_below
from kiwi_stackbuild_plugin.workspace import Workspace

log = logging.getLogger('kiwi')

IMPORTED_ROOT = b'image/imported_root'


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
        return not (
            is_own_stash(self.info)
            and self.info.labels.get(labels.MTIME) == 'ns'
        )


def is_own_stash(info: ImageInfo) -> bool:
    """Tell whether this plugin wrote the newest layer, not a descendant's tool.

    Labels are inherited by what others build on a stash.
    """
    top = info.layers[-1] if info.layers else ''
    return bool(top) and info.labels.get(labels.TOP_LAYER) == top


def extras_of(info: ImageInfo) -> Extras:
    """Return what was kept of the tree of a stash aside from its layers."""
    return decode(info.labels.get(labels.EXTRAS, '')) if is_own_stash(info) else {}


def resolve_image(
    space: Workspace, text: str, option: str, registry: Optional[str] = None
) -> ImageInfo:
    """Find the image of a reference; what names another place is fetched.

    :param registry: where plain names are pulled from, --from-registry
    :raises KiwiStashImageNotFound: if it is nowhere
    """
    reference = parse_reference(text, option)
    if reference.kind == 'transport':
        image_id = _fetch(space, reference, option)
    elif registry is not None and reference.kind == 'name' and not reference.host:
        image_id = pull_image(_join(registry, reference))
    else:
        found = _find_local(reference)
        if found is not None:
            return found
        if not reference.host:
            raise _unknown(reference, option)
        log.info('Pulling %s', reference.tagged)
        image_id = pull_image(reference.tagged)
    info = find_image(image_id)
    if info is None:
        raise KiwiStashImageNotFound(f'{option} {text!r}: gone after it was fetched')
    return info


def _find_local(reference: Reference) -> Optional[ImageInfo]:
    if reference.kind == 'id' or reference.host:
        name = (
            reference.text.partition(':')[2] or reference.text
            if reference.kind == 'id' else reference.tagged
        )
        return find_image(name)
    return find_image(f'{LOCAL}/{reference.tagged}') or find_image(reference.tagged)


def _fetch(space: Workspace, reference: Reference, option: str) -> str:
    if reference.text.startswith('docker://'):
        target = check_docker(reference.text, option)
        log.info('Pulling %s', target)
        return pull_image(target)
    if reference.text.startswith('containers-storage:'):
        name = reference.text.partition(':')[2].lstrip('@')
        info = find_image(name)
        if info is None:
            raise KiwiStashImageNotFound(f'{option} {reference.text}: no such image')
        return info.image_id
    log.info('Reading %s', reference.text)
    return copy_in(space, reference.text)


def check_registry(registry: str) -> str:
    """Check what --from-registry says; return host, port and prefix.

    :raises KiwiStashArgumentInvalid: if it cannot be a registry
    """
    place = registry[len('docker://'):] if registry.startswith('docker://') else registry
    place = place.rstrip('/')
    try:
        valid = bool(parse_reference(f'{place}/name').host)
    except KiwiStashArgumentInvalid:
        valid = False
    if not valid:
        raise KiwiStashArgumentInvalid(
            f'--from-registry {registry!r}: not a registry',
            'HOST, HOST:PORT or HOST/PREFIX'
        )
    return place


def _join(registry: str, reference: Reference) -> str:
    name = f'{check_registry(registry)}/{reference.tagged}'
    log.info('Pulling %s', name)
    return name


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
    no_base: bool, now: Optional[int]
) -> Optional[Base]:
    """Return the base of a root tree: the first rule of the design that applies.

    :param name: name:tag of the stash to be written
    :param explicit: what --base says
    :param now: the present moment, see record.take_moment
    """
    if no_base:
        return None
    if explicit is not None:
        info = resolve_image(space, explicit, '--base')
        moment = _recorded_moment(root_fd, info, now)
        return Base(info, 'as asked for', moment)
    return (
        _base_of_record(root_fd, now)
        or _base_of_import(space, root_fd)
        or _base_of_name(name)
    )


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
    try:
        fd = open_below(root_fd, IMPORTED_ROOT, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        log.info('Reading the image this root tree was derived from')
        image_id = copy_in(space, f'oci-archive:/proc/{os.getpid()}/fd/{fd}')
    finally:
        os.close(fd)
    info = find_image(image_id)
    return Base(info, 'the root tree was derived from it') if info else None


def _base_of_name(name: str) -> Optional[Base]:
    info = find_image(f'{LOCAL}/{name}')
    if info is None or not labels.is_stash(info.labels):
        return None
    return Base(info, 'the stash of the same name')
