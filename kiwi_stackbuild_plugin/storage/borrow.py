# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to look at only: what has to be fetched for that goes again."""
from __future__ import annotations

import logging

from kiwi_stackbuild_plugin.host.errors import KiwiStashImageNotFound
from kiwi_stackbuild_plugin.image.attached import complete_reference
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.reference import (
    Reference, check_docker, parse_reference
)
from kiwi_stackbuild_plugin.storage.find import Policy, Sources, check_registry, find
from kiwi_stackbuild_plugin.storage.local import LOCAL, find_image
from kiwi_stackbuild_plugin.storage.registry import copy_in, inspect_offer

log = logging.getLogger('kiwi')


def borrow_image(text: str, option: str, sources: Sources) -> ImageInfo:
    """Find the image of a reference; what is fetched goes with the workspace.

    It gets no name, so that another run that wants it as well gives it one,
    and it stays.

    :raises KiwiStashImageNotFound: if it is nowhere
    """
    policy = sources.policy
    reference = parse_reference(text, option)
    place = _place(reference, option, policy)
    if place.startswith('docker://') and not _is_sought_there(reference, policy):
        stored = find_image(place[len('docker://'):])
        if stored is not None:
            return stored
    if not place:
        return find(text, option, sources)
    offer = inspect_offer(place, policy.access)
    if find_image(offer.image_id) is None:
        log.info('Reading %s', place)
    image_id = copy_in(sources.space, place, offer, policy.access)
    info = find_image(image_id)
    if info is None:
        raise KiwiStashImageNotFound(f'{option} {text}: gone after it was fetched')
    return info


def _is_sought_there(reference: Reference, policy: Policy) -> bool:
    """Tell whether a registry is asked even if an image of the name is stored."""
    return reference.kind == 'name' and not reference.host and bool(policy.registry)


def _place(reference: Reference, option: str, policy: Policy) -> str:
    """Return skopeo's reference of an image elsewhere, '' for a stored one."""
    text = reference.text
    if reference.kind == 'transport':
        if text.startswith('docker://'):
            return f'docker://{check_docker(text, option)}'
        return '' if text.startswith('containers-storage:') else complete_reference(text)
    if reference.kind == 'id' or reference.host == LOCAL:
        return ''
    if reference.host:
        return f'docker://{reference.tagged}'
    if policy.registry is not None:
        return f'docker://{check_registry(policy.registry)}/{reference.tagged}'
    return ''
