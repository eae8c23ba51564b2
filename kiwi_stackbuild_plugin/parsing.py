# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON that podman and skopeo print: made by strangers, checked before use."""
from __future__ import annotations

import json
import re
from typing import Any, Callable, List, Mapping

from kiwi_stackbuild_plugin.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.image import (
    Document, ImageInfo, info_from_inspect
)

_IMAGE_ID = re.compile('(?:sha256:)?[0-9a-f]{64}')


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
        'Author': _optional(_is_text), 'History': _optional(_are_objects)
    })):
        raise KiwiStashToolFailed('podman image inspect: what it says is not of images')
    return [info_from_inspect(data) for data in documents]


def parse_manifest(text: str, name: str) -> Document:
    """Read a manifest with layers, docker's schema 2 or OCI's.

    :raises KiwiStashToolFailed: if it is another kind
    """
    document = _load(text, 'skopeo inspect')
    if not _fits(document, {'layers': lambda layers: _is_list(layers, lambda one: _fits(
        one, {'mediaType': _is_text, 'digest': _is_text, 'size': _is_number}
    ))}):
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
    if not _fits(document, {
        'rootfs': lambda root: _fits(root, {'diff_ids': _are_texts}),
        'config': _optional(lambda config: _fits(config, {'Labels': _optional(_is_labels)})),
        'history': _optional(_are_objects)
    }):
        raise KiwiStashToolFailed(f'image {name}: its config is none')
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
    return type(value) is int


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_texts(value: Any) -> bool:
    return _is_list(value, _is_text)


def _are_objects(value: Any) -> bool:
    return _is_list(value, lambda one: isinstance(one, dict))
