# SPDX-License-Identifier: GPL-3.0-or-later
"""Image references as users type them, and the rules for names and tags."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.host.text import FULL_ID, SHA256

#: transports of skopeo (containers-transports(5)) that we pass through
TRANSPORTS = (
    'docker://', 'docker-archive:', 'oci-archive:', 'oci:', 'dir:',
    'containers-storage:'
)
DEFAULT_TAG = 'latest'

# OCI distribution spec, "Pulling manifests": <name> and <reference>
_COMPONENT = r'[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*'
_NAME = re.compile(rf'{_COMPONENT}(?:/{_COMPONENT})*')
_TAG = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]{0,127}')
_IMAGE_ID = re.compile(f'{SHA256.pattern}|{FULL_ID.pattern}|[0-9a-f]{{12}}')
_HOST = re.compile(
    r'(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|\[[0-9a-fA-F:]+\]'
    r'|[A-Za-z0-9.-]+(?=:))(?::[0-9]{1,5})?'
)
#: 255 for podman, which counts 'localhost/' as well
#: a login in front of a host; not 'name@digest', not a path with an @ in it
_LOGIN = re.compile(
    r'(?!(?:oci|oci-archive|docker-archive|dir|containers-storage):)'
    r'(?:docker://|https?://)?(?:[^/@\s]*|[^/@\s]*:[^@\s]*)@(?!sha256:)[^/@\s]+/'
)
_NAME_LIMIT = 245
_NO_REFERENCE = 'is not an image reference: '


@dataclass(frozen=True)
class Reference:
    """One image reference, taken apart.

    kind is 'transport' (skopeo's words), 'id' (image ID), or 'name'; host is
    empty for a name without a registry, tag and digest where not given.
    """

    text: str
    kind: str
    host: str = ''
    name: str = ''
    tag: str = ''
    digest: str = ''

    @property
    def tagged(self) -> str:
        """host/name:tag, or host/name@digest where a digest was given."""
        prefix = f'{self.host}/' if self.host else ''
        if self.digest:
            return f'{prefix}{self.name}@{self.digest}'
        return f'{prefix}{self.name}:{self.tag or DEFAULT_TAG}'


def refuse_login(text: str, option: str) -> None:
    """Refuse a reference with a login in it, and do not repeat it.

    :raises KiwiStashArgumentInvalid: a login would show in /proc and in logs
    """
    if _LOGIN.match(text):
        raise KiwiStashArgumentInvalid(
            f'{option}: user and password do not belong into a reference',
            'podman login <host>, or give a file of logins with --authfile'
        )


def parse_reference(text: str, option: str = '--stash') -> Reference:
    """Take a reference apart.

    :param text: what the user typed
    :param option: the option it came from, for the message
    :raises KiwiStashArgumentInvalid: if it is no reference at all
    """
    refuse_login(text, option)
    for transport in TRANSPORTS:
        if text.startswith(transport):
            if len(text) == len(transport):
                raise KiwiStashArgumentInvalid(
                    f'{option} {text!r}: nothing behind the transport'
                )
            return Reference(text, 'transport')
    if _IMAGE_ID.fullmatch(text):
        return Reference(text, 'id')
    rest, at, digest = text.partition('@')
    if at and not SHA256.fullmatch(digest):
        raise KiwiStashArgumentInvalid(
            f'{option} {text!r}: {digest!r} is not a digest',
            'a digest is sha256: and 64 hexadecimal digits'
        )
    head, slash, tail = rest.partition('/')
    host = head if slash and _HOST.fullmatch(head) else ''
    rest = tail if host else rest
    name, colon, tag = rest.partition(':')
    problem = name_problem(name)
    if problem is None and (colon or tag):
        problem = tag_problem(tag)
    if problem:
        raise KiwiStashArgumentInvalid(
            f'{option} {text!r} {_NO_REFERENCE}{problem}',
            'name, name:tag, host/name:tag, an image ID, or transport:reference'
        )
    return Reference(text, 'name', host, name, tag, digest)


def name_problem(name: str) -> Optional[str]:
    """Say which rule of the OCI distribution spec a name breaks, or None."""
    if not name:
        return 'the name is empty'
    if len(name) > _NAME_LIMIT:
        return f'the name has {len(name)} characters, at most {_NAME_LIMIT} are allowed'
    bad = sorted(set(re.findall(r'[^a-z0-9._/-]', name)))
    if any(char.isupper() for char in bad):
        return 'the name has upper case letters'
    if bad:
        return 'the name has characters other than a-z 0-9 . _ - /: ' + repr(''.join(bad))
    if not _NAME.fullmatch(name):
        return (
            'each part of the name must begin and end with a letter or digit, '
            'with single separators (. _ __ or dashes) in between'
        )
    return None


def tag_problem(tag: str) -> Optional[str]:
    """Say which rule of the OCI distribution spec a tag breaks, or None."""
    if not tag:
        return 'the tag is empty'
    if len(tag) > 128:
        return f'the tag has {len(tag)} characters, at most 128 are allowed'
    if not _TAG.fullmatch(tag):
        return 'a tag has only A-Z a-z 0-9 _ . - and begins with none of . -'
    return None


def check_stash_name(name: str, tag: str, where: str) -> None:
    """Check name and tag of a stash to be written.

    :param where: where the name came from, for the message
    :raises KiwiStashArgumentInvalid: with the rule that is broken
    """
    problem = name_problem(name)
    if problem:
        raise KiwiStashArgumentInvalid(
            f'{where} {name!r} cannot name a stash: {problem}',
            'give a valid name with --container-name'
        )
    problem = tag_problem(tag)
    if problem:
        raise KiwiStashArgumentInvalid(f'--tag {tag!r} is not valid: {problem}')


def check_docker(text: str, option: str, tag: str = '') -> str:
    """Check a docker:// reference and return host/name:tag.

    :param tag: the tag where the reference has none, otherwise latest
    :raises KiwiStashArgumentInvalid: with the rule that is broken
    """
    refuse_login(text, option)
    try:
        target = parse_reference(text[len('docker://'):], option)
    except KiwiStashArgumentInvalid as issue:
        said = issue.summary
        reason = said.partition(_NO_REFERENCE)[2] or said.partition(': ')[2]
        raise KiwiStashArgumentInvalid(
            f'{option} {text!r}: {reason}', issue.hint
        ) from None
    if not target.host:
        raise KiwiStashArgumentInvalid(
            f'{option} {text!r}: docker:// needs a registry host',
            'docker://host/name:tag'
        )
    return target.tagged if target.tag or target.digest or not tag \
        else f'{target.tagged.rpartition(":")[0]}:{tag}'
