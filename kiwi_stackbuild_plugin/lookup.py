# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that may be stored, elsewhere, or both: what is asked for, and when."""
from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Optional

from kiwi_stackbuild_plugin.access import DEFAULT_ACCESS, Access
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.host.text import age_in_words, age_of
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.registry import (
    Offer, copy_in, inspect_offer, pull_image, wanted_architecture
)
from kiwi_stackbuild_plugin.store import find_image, name_image

log = logging.getLogger('kiwi')


@dataclass(frozen=True)
class Lookup:
    """How references are looked up.

    registry: where plain names are pulled from, --from-registry
    pull: when a registry is asked, --pull, None where the user said nothing
    max_age: seconds since an image was made, --max-age
    """

    registry: Optional[str] = None
    pull: Optional[str] = None
    max_age: Optional[int] = None
    access: Access = DEFAULT_ACCESS


#: what is stored, else what the reference itself says
DEFAULT_LOOKUP = Lookup()


def fetch_named(name: str, lookup: Lookup, default: str = 'missing') -> ImageInfo:
    """Return the image of a name with a registry, asking there if need be.

    :param name: host/name:tag or host/name@digest
    :param default: the policy where --pull is not given
    :raises KiwiStashImageNotFound: if it is nowhere, or not to be had
    """
    policy = lookup.pull or default
    stored = find_image(name)
    if policy == 'never':
        if stored is None:
            raise KiwiStashImageNotFound(
                f'{name}: not stored, and --pull=never forbids to pull it'
            )
        return stored
    if stored and policy == 'missing' and _is_fresh(stored, lookup):
        return stored
    try:
        offer = inspect_offer(f'docker://{name}', lookup.access)
    except KiwiStashImageNotFound as issue:
        if stored is None or policy != 'newer':
            raise
        log.warning('%s; taking the stored one', issue.summary)
        return stored
    present = find_image(offer.image_id)
    if present is not None:
        log.info('%s is stored already', name)
        if '@' not in name:
            name_image(present.image_id, name)
        return present
    _check_offer(name, offer, lookup)
    log.info('Pulling %s', name)
    return _known(pull_image(f'docker://{name}', lookup.access), name)


def fetch_short(name: str, lookup: Lookup) -> ImageInfo:
    """Pull a name without a registry, as registries.conf of podman resolves it."""
    log.info('Pulling %s as podman resolves it', name)
    return _known(pull_image(name, lookup.access), name)


def fetch_copy(
    space: Workspace, reference: str, lookup: Lookup, any_platform: bool = False
) -> ImageInfo:
    """Bring an image out of an archive or layout into the storage.

    :param reference: skopeo's, of a transport that is no registry
    :param any_platform: take it whatever machine it is for
    """
    offer = inspect_offer(reference, lookup.access)
    if not any_platform:
        _check_offer(reference, offer, lookup)
    log.info('Reading %s', reference)
    return _known(copy_in(space, reference, offer, lookup.access), reference)


def check_age(info: ImageInfo, name: str, lookup: Lookup) -> None:
    """Hold --max-age against an image.

    :raises KiwiStashImageNotFound: if it is older
    """
    _check_created(info.created, name, lookup)


def _check_offer(name: str, offer: Offer, lookup: Lookup) -> None:
    """Refuse what is of no use before its layers are fetched."""
    wanted = wanted_architecture()
    if offer.architecture and offer.architecture != wanted:
        raise KiwiStashDescriptionInvalid(
            f'{name} is a root tree for {offer.architecture}, '
            f'the image is to be built for {wanted}',
            'build on a machine of that kind, or see --target-arch of kiwi-ng'
        )
    _check_created(offer.created, name, lookup)


def _check_created(created: str, name: str, lookup: Lookup) -> None:
    if lookup.max_age is None:
        return
    age = age_of(created)
    if age is None or age > lookup.max_age:
        told = 'of unknown age' if age is None else f'{age_in_words(age)} old'
        raise KiwiStashImageNotFound(
            f'{name} is {told}, --max-age allows {age_in_words(lookup.max_age)}',
            'build and export it anew, or allow more'
        )


def _is_fresh(info: ImageInfo, lookup: Lookup) -> bool:
    age = age_of(info.created)
    return lookup.max_age is None or (age is not None and age <= lookup.max_age)


def _known(image_id: str, name: str) -> ImageInfo:
    info = find_image(image_id)
    if info is None:
        raise KiwiStashImageNotFound(f'{name}: gone after it was fetched')
    return info
