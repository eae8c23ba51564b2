# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image came from, as an in-toto statement with SLSA's provenance.

Nothing is in it but what the image itself says: no names of hosts, no paths, no
arguments. Sources: in-toto/attestation, spec/v1/statement.md; SLSA v1.0,
provenance.md.
"""
from __future__ import annotations

import json
from typing import Any, Dict, List

from kiwi_stackbuild_plugin.host.text import parse_moment, utc
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash
from kiwi_stackbuild_plugin.image.labels import is_digest

STATEMENT = 'https://in-toto.io/Statement/v1'
PREDICATE = 'https://slsa.dev/provenance/v1'
#: names, in the form of addresses: what makes the images, and how
BUILDER = 'https://github.com/OSInside/kiwi-stackbuild-plugin'
BUILD_TYPE = f'{BUILDER}/stash/v1'


def make_provenance(info: ImageInfo, name: str, digest: str) -> bytes:
    """Return the statement about an image.

    :param name: name:tag
    :param digest: of the manifest as it is where the statement goes
    """
    # what others built on a stash has its labels, but not from it
    own = is_own_stash(info)
    created = utc(info.created)
    document: Dict[str, Any] = {
        '_type': STATEMENT, 'predicateType': PREDICATE,
        'subject': [{'name': name, 'digest': _digest(digest)}],
        'predicate': {
            'buildDefinition': {
                'buildType': BUILD_TYPE,
                'externalParameters': _parameters(info, name) if own else {'name': name},
                'internalParameters': {'architecture': info.architecture},
                'resolvedDependencies': _dependencies(info) if own else []
            },
            'runDetails': {
                'builder': {'id': BUILDER, **({'version': _versions(info)} if own else {})},
                **({'metadata': {'finishedOn': created}} if parse_moment(created) else {}),
                'byproducts': [
                    {'name': 'image ID', 'digest': {'sha256': info.image_id}},
                    *({'name': 'layer', 'digest': _digest(one)} for one in info.layers[-1:])
                ]
            }
        }
    }
    return json.dumps(document, indent=1, sort_keys=True).encode('ascii') + b'\n'


def _digest(text: str) -> Dict[str, str]:
    kind, _, value = text.partition(':')
    return {kind: value}


def _parameters(info: ImageInfo, name: str) -> Dict[str, Any]:
    told = info.stash_labels
    return {
        'name': name, 'type': told.build_type or '', 'profiles': list(told.profiles or ()),
        'packagemanager': told.package_manager or ''
    }


def _dependencies(info: ImageInfo) -> List[Dict[str, Any]]:
    """Return what the image was made of, as far as digests are known."""
    told = info.stash_labels
    found = [
        (told.base_name or 'base', 'base image', told.base_digest),
        ('image/', 'image description', told.description_digest)
    ]
    return [
        {'name': name, 'digest': _digest(digest), 'annotations': {'role': role}}
        for name, role, digest in found
        if digest and is_digest(digest)
    ]


def _versions(info: ImageInfo) -> Dict[str, str]:
    return {
        name: version for name, version in (
            ('kiwi', info.stash_labels.kiwi_version),
            ('kiwi_stackbuild_plugin', info.stash_labels.plugin_version)
        ) if version
    }
