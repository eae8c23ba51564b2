# SPDX-License-Identifier: GPL-3.0-or-later
"""From a reference to an image: in the storage, in a registry, or fetched."""
from __future__ import annotations

import difflib
import logging
import re
from dataclasses import dataclass
from typing import Optional

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.host.text import age_in_words, age_of
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.attached import complete_reference
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash
from kiwi_stackbuild_plugin.image.labels import EXTRAS
from kiwi_stackbuild_plugin.image.policy import accepts_anything
from kiwi_stackbuild_plugin.image.reference import (
    Reference, check_docker, parse_reference, refuse_login
)
from kiwi_stackbuild_plugin.layer.extras import is_sound
from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access
from kiwi_stackbuild_plugin.storage.local import (
    LOCAL, find_image, list_stashes, name_image, refuse_damage
)
from kiwi_stackbuild_plugin.storage.registry import (
    Offer, copy_in, inspect_offer, pull_image, wanted_architecture
)

log = logging.getLogger('kiwi')

_SECONDS = {'m': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
PULL_POLICIES = ('missing', 'always', 'never', 'newer')


@dataclass(frozen=True)
class Policy:
    """Where images may come from, and how old they may be: options, checked.

    registry: where plain names are pulled from, --from-registry
    pull: when a registry is asked, --pull, None where the user said nothing
    max_age: seconds since an image was made, --max-age
    """

    registry: Optional[str] = None
    pull: Optional[str] = None
    max_age: Optional[int] = None
    access: Access = DEFAULT_ACCESS


#: what is stored, else what the reference itself says
DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class Sources:
    """All that it takes to find an image: where to work, and the policy."""

    space: Workspace
    policy: Policy = DEFAULT_POLICY


def find(text: str, option: str, sources: Sources) -> ImageInfo:
    """Find the image of a reference; what names another place is fetched.

    There are two doors: the storage (local) and what is elsewhere (registry).

    :param text: what the user typed
    :param option: the option it came from, for messages
    :raises KiwiStashImageNotFound: if it is nowhere, or too old
    """
    reference = parse_reference(text, option)
    info = (
        _fetch(reference, option, sources) if reference.kind == 'transport'
        else _find_named(reference, option, sources.policy)
    )
    check_age(info, text, sources.policy)
    refuse_damage(info.layers, f'{option} {text}')
    warn_of_labels(info)
    if info.lossy_storage and len(info.layers) > 1 and not (
        info.stash_labels.all_xattrs and is_own_stash(info)
    ):
        log.warning(
            '%s: the storage driver %s has lost the extended attributes (ACLs, '
            'user.*, trusted.*) of all layers but the last', info.display_name, info.driver
        )
    return info


def warn_of_labels(info: ImageInfo) -> None:
    """Name the labels of an image that say nothing we could use."""
    wrong = list(info.stash_labels.wrong)
    extras = info.stash_labels.extras
    if extras and is_own_stash(info) and not is_sound(extras):
        wrong.append(f'{EXTRAS}={extras[:40]}')
    for text in wrong:
        log.warning('%s: a label that is passed over: %s', info.display_name, text)


def _find_named(reference: Reference, option: str, policy: Policy) -> ImageInfo:
    plain = reference.kind == 'name' and not reference.host
    if plain and policy.registry is not None:
        return fetch_named(_join(policy.registry, reference), policy, 'always')
    if reference.host not in ('', LOCAL):
        return fetch_named(reference.tagged, policy)
    found = _find_local(reference)
    if found is not None:
        return found
    if plain and policy.pull not in (None, 'never'):
        return fetch_short(reference.tagged, policy)
    raise _unknown(reference, option)


def _find_local(reference: Reference) -> Optional[ImageInfo]:
    if reference.kind == 'id':
        return find_image(reference.text.partition(':')[2] or reference.text)
    if reference.host:
        return find_image(reference.tagged)
    return find_image(f'{LOCAL}/{reference.tagged}') or find_image(reference.tagged)


def _fetch(reference: Reference, option: str, sources: Sources) -> ImageInfo:
    if reference.text.startswith('docker://'):
        return fetch_named(check_docker(reference.text, option), sources.policy)
    if reference.text.startswith('containers-storage:'):
        name = reference.text.partition(':')[2].lstrip('@')
        info = find_image(name)
        if info is None:
            raise KiwiStashImageNotFound(f'{option} {reference.text}: no such image')
        return info
    return fetch_copy(reference.text, sources)


def fetch_named(name: str, policy: Policy, default: str = 'missing') -> ImageInfo:
    """Return the image of a name with a registry, asking there if need be.

    :param name: host/name:tag or host/name@digest
    :param default: the policy where --pull is not given
    :raises KiwiStashImageNotFound: if it is nowhere, or not to be had
    """
    pull = policy.pull or default
    stored = find_image(name)
    if pull == 'never':
        if stored is None:
            raise KiwiStashImageNotFound(
                f'{name}: not stored, and --pull=never forbids to pull it'
            )
        return stored
    if stored and pull == 'missing' and _is_fresh(stored, policy):
        return stored
    try:
        offer = inspect_offer(f'docker://{name}', policy.access)
    except KiwiStashImageNotFound as issue:
        if stored is None or pull != 'newer':
            raise
        log.warning('%s; taking the stored one', issue.summary)
        return stored
    # what is stored may have come by another way: the signature is looked at
    present = find_image(offer.image_id) if accepts_anything(name) else None
    if present is not None:
        log.info('%s is stored already', name)
        if '@' not in name:
            name_image(present.image_id, name)
        return present
    _check_offer(name, offer, policy)
    log.info('Pulling %s', name)
    return _known(pull_image(f'docker://{name}', policy.access, offer), name)


def fetch_short(name: str, policy: Policy) -> ImageInfo:
    """Pull a name without a registry, as registries.conf of podman resolves it."""
    log.info('Pulling %s as podman resolves it', name)
    return _known(pull_image(name, policy.access), name)


def fetch_copy(
    reference: str, sources: Sources, any_platform: bool = False
) -> ImageInfo:
    """Bring an image out of an archive or layout into the storage.

    :param reference: skopeo's, of a transport that is no registry
    :param any_platform: take it whatever machine it is for
    """
    access = sources.policy.access
    reference = complete_reference(reference)
    offer = inspect_offer(reference, access)
    if not any_platform:
        _check_offer(reference, offer, sources.policy)
    log.info('Reading %s', reference)
    return _known(copy_in(sources.space, reference, offer, access), reference)


def check_age(info: ImageInfo, name: str, policy: Policy) -> None:
    """Hold --max-age against an image.

    :raises KiwiStashImageNotFound: if it is older
    """
    _check_created(info.created, name, policy)


def _check_offer(name: str, offer: Offer, policy: Policy) -> None:
    """Refuse what is of no use before its layers are fetched."""
    wanted = wanted_architecture()
    if offer.architecture and offer.architecture != wanted:
        raise KiwiStashDescriptionInvalid(
            f'{name} is a root tree for {offer.architecture}, '
            f'the image is to be built for {wanted}',
            'build on a machine of that kind, or see --target-arch of kiwi-ng'
        )
    _check_created(offer.created, name, policy)


def _check_created(created: str, name: str, policy: Policy) -> None:
    if policy.max_age is None:
        return
    age = age_of(created)
    if age is None or age > policy.max_age:
        told = 'of unknown age' if age is None else f'{age_in_words(age)} old'
        raise KiwiStashImageNotFound(
            f'{name} is {told}, --max-age allows {age_in_words(policy.max_age)}',
            'build and export it anew, or allow more'
        )


def _is_fresh(info: ImageInfo, policy: Policy) -> bool:
    age = age_of(info.created)
    return policy.max_age is None or (age is not None and age <= policy.max_age)


def _known(image_id: str, name: str) -> ImageInfo:
    info = find_image(image_id)
    if info is None:
        raise KiwiStashImageNotFound(f'{name}: gone after it was fetched')
    return info


def parse_age(text: Optional[str]) -> Optional[int]:
    """Return the seconds of --max-age: a number and m, h, d or w.

    :raises KiwiStashArgumentInvalid: for anything else
    """
    if text is None:
        return None
    found = re.fullmatch(r'([0-9]{1,6})([mhdw])', text)
    if found is None or int(found[1]) == 0:
        raise KiwiStashArgumentInvalid(
            f'--max-age {text!r} is not known',
            'it is a number above 0 and m, h, d or w: 12h, 7d'
        )
    return int(found[1]) * _SECONDS[found[2]]


def check_policy(text: Optional[str]) -> Optional[str]:
    """Check the value of --pull.

    :raises KiwiStashArgumentInvalid: if it is none of podman's
    """
    if text is not None and text not in PULL_POLICIES:
        raise KiwiStashArgumentInvalid(
            f'--pull {text!r} is not known', f'it is one of {", ".join(PULL_POLICIES)}'
        )
    return text


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
