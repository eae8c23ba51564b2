# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON that podman and skopeo print: made by strangers, checked before use.

And what they print of registries: nobody else reads JSON of others.
"""
from __future__ import annotations

import json
import re
from typing import Any, Callable, List, Mapping

from kiwi_stackbuild_plugin.host.errors import KiwiStashImageNotFound, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.text import FULL_ID, SHA256
from kiwi_stackbuild_plugin.image.image import Document, ImageInfo, info_from_inspect

_IMAGE_ID = re.compile(f'{SHA256.pattern}|{FULL_ID.pattern}')
#: OCI image spec, descriptor.md, "Digests"
_DIGEST = re.compile('[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]{32,256}')
#: OCI distribution spec, "Pulling manifests"
_TAG = re.compile('[A-Za-z0-9_][A-Za-z0-9._-]{0,127}')


def parse_infos(text: str) -> List[ImageInfo]:
    """Read what "podman image inspect" prints.

    :raises KiwiStashToolFailed: if it is something else
    """
    documents = _load(text, 'podman image inspect')
    if not _is_list(documents, lambda one: _fits(one, {
        'Id': _is_id, 'RepoTags': _optional(_are_texts), 'Digest': _optional(_is_text),
        'Created': _optional(_is_text), 'Size': _optional(_is_number),
        'Labels': _optional(_is_labels), 'Architecture': _optional(_is_text),
        'RootFS': _optional(lambda root: _fits(root, {'Layers': _optional(_are_texts)})),
        'Author': _optional(_is_text), 'History': _optional(_are_objects),
        'GraphDriver': _optional(lambda one: _fits(one, {
            'Name': _optional(_is_text), 'Data': _optional(_is_object)
        }))
    })):
        raise KiwiStashToolFailed('podman image inspect: what it says is not of images')
    return [info_from_inspect(data) for data in documents]


def parse_manifest(text: str, name: str) -> Document:
    """Read a manifest with layers, docker's schema 2 or OCI's.

    :raises KiwiStashToolFailed: if it is another kind
    """
    document = _load(text, 'skopeo inspect')
    if not _fits(document, _MANIFEST):
        raise KiwiStashToolFailed(
            f'image {name}: its manifest is of a kind that is not read',
            'pull it again; manifests of docker schema 1 have to be converted'
        )
    return dict(document)


def parse_config(text: str, name: str) -> Document:
    """Read the config of an image.

    :raises KiwiStashToolFailed: if it is something else
    """
    document = _load(text, 'skopeo inspect')
    if not _fits(document, _CONFIG):
        raise KiwiStashToolFailed(f'image {name}: its config is none')
    return dict(document)


def parse_remote_config(text: str, reference: str) -> Document:
    """Read the config of an image elsewhere.

    :raises KiwiStashImageNotFound: if it is something else
    """
    return _remote(text, reference, _CONFIG, 'image')


def parse_remote_manifest(text: str, reference: str) -> Document:
    """Read a manifest with layers, or a list of manifests, elsewhere.

    :raises KiwiStashImageNotFound: if it is something else
    """
    return _remote(text, reference, _MANIFEST_OR_LIST, 'image')


def parse_referrers(text: str, repository: str) -> List[Document]:
    """Read an index of what goes with an image; entries that are none are passed over.

    :raises KiwiStashImageNotFound: if it is something else
    """
    document = _remote(text, repository, {'manifests': _are_objects}, 'index of referrers')
    return [dict(one) for one in document['manifests'] if _fits(one, _REFERRER)]


def parse_tags(text: str, repository: str) -> List[str]:
    """Read what "skopeo list-tags" prints; what is no tag is passed over.

    :raises KiwiStashImageNotFound: if it is something else
    """
    document = _remote(text, repository, {'Tags': _optional(_are_texts)}, 'list of tags')
    return sorted(filter(_TAG.fullmatch, set(document.get('Tags') or ())))


def _remote(
    text: str, reference: str, fields: Mapping[str, Callable[[Any], bool]], kind: str
) -> Document:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not _fits(document, fields):
        raise KiwiStashImageNotFound(f'{reference}: what is there is no {kind}')
    return dict(document)


def _load(text: str, tool: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise KiwiStashToolFailed(f'{tool}: what it says is not JSON') from None


def _fits(value: Any, fields: Mapping[str, Callable[[Any], bool]]) -> bool:
    return isinstance(value, dict) and all(
        fits(value.get(name)) for name, fits in fields.items()
    )


def _optional(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(_IMAGE_ID.fullmatch(value))


def _is_number(value: Any) -> bool:
    """Tell a number of bytes, as Go has them: 64 bits."""
    return type(value) is int and -1 <= value < 2**63


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_texts(value: Any) -> bool:
    return _is_list(value, _is_text)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_objects(value: Any) -> bool:
    return _is_list(value, lambda one: isinstance(one, dict))


_CONFIG = {
    'rootfs': lambda root: _fits(root, {'diff_ids': _are_texts}),
    'config': _optional(lambda config: _fits(config, {'Labels': _optional(_is_labels)})),
    'history': _optional(_are_objects), 'created': _optional(_is_text),
    'architecture': _optional(_is_text), 'author': _optional(_is_text)
}
_LAYERS = {'mediaType': _is_text, 'digest': _is_digest, 'size': _is_number}
_MANIFEST = {
    'layers': lambda layers: _is_list(layers, lambda one: _fits(one, _LAYERS))
}
_LISTED = {
    'digest': _is_digest,
    'platform': _optional(lambda one: _fits(one, {'architecture': _optional(_is_text)}))
}
_REFERRER = {
    'digest': _is_digest, 'size': _is_number, 'mediaType': _is_text,
    'artifactType': _optional(_is_text), 'annotations': _optional(_is_labels)
}
_MANIFEST_OR_LIST = {
    'mediaType': _optional(_is_text), 'layers': _optional(_MANIFEST['layers']),
    'manifests': _optional(lambda every: _is_list(every, lambda one: _fits(one, _LISTED)))
}
