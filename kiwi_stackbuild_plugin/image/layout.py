# SPDX-License-Identifier: GPL-3.0-or-later
"""Write an OCI image layout that holds one image's config and newest layer.

The layers of its base are only named: the storage has them already. Source:
OCI image spec v1.0, image-layout.md.
"""
from __future__ import annotations

import hashlib
import json
import os
from typing import Any, List, Mapping, Optional, Union

from kiwi_stackbuild_plugin.image.image import (
    CONFIG_TYPE, MANIFEST_TYPE, Document, encode, make_manifest
)
from kiwi_stackbuild_plugin.layer.blob import TAR_TYPE, Layer

#: name of the one image in a layout
REFERENCE = 'stash'


def make_layout(directory: str) -> str:
    """Create an empty layout and return its directory for blobs."""
    blob_dir = os.path.join(directory, 'blobs', 'sha256')
    os.makedirs(blob_dir)
    _write(os.path.join(directory, 'oci-layout'), b'{"imageLayoutVersion":"1.0.0"}')
    return blob_dir


def write_layout(
    directory: str, config: Union[Document, bytes], base_layers: List[Document],
    layer: Optional[Layer], annotations: Mapping[str, str],
    unpacked: bool = False
) -> str:
    """Add config, manifest and index for an image.

    :param config: image config, or its very bytes
    :param base_layers: descriptors of the layers below
    :param layer: the new layer, whose blob is in the layout already
    :param unpacked: list the plain archive, which the storage has by now
    :returns: the image ID: the digest of the config, without 'sha256:'
    """
    settings = _add_blob(
        directory, CONFIG_TYPE,
        config if isinstance(config, bytes) else encode(config)
    )
    top = _describe(layer, unpacked) if layer else None
    manifest = make_manifest(base_layers, top, settings, annotations)
    entry: Mapping[str, Any] = {
        **_add_blob(directory, MANIFEST_TYPE, encode(manifest)),
        'annotations': {'org.opencontainers.image.ref.name': REFERENCE}
    }
    index = {'schemaVersion': 2, 'manifests': [entry]}
    _write(os.path.join(directory, 'index.json'), encode(index))
    return str(settings['digest']).partition(':')[2]


def replace_layers(directory: str, layers: Mapping[str, Document]) -> None:
    """Have the one image of a layout list other blobs for some of its layers.

    Its manifest is then what skopeo would have written: it sorts no keys.

    :param layers: descriptors, by the digests that are listed now
    """
    index = _read(directory, 'index.json')
    entry = index['manifests'][0]
    manifest = _read(directory, _blob(entry['digest']))
    os.unlink(os.path.join(directory, _blob(entry['digest'])))
    manifest['layers'] = [
        layers.get(layer['digest'], layer) for layer in manifest['layers']
    ]
    entry.update(_add_blob(directory, entry['mediaType'], _encode_as_go(manifest)))
    _write(os.path.join(directory, 'index.json'), _encode_as_go(index))


def layers_of(directory: str) -> List[Document]:
    """Return the descriptors of the layers of the one image in a layout."""
    entry = _read(directory, 'index.json')['manifests'][0]
    layers: List[Document] = _read(directory, _blob(entry['digest']))['layers']
    return layers


def _blob(digest: str) -> str:
    return os.path.join('blobs', 'sha256', digest.partition(':')[2])


def _read(directory: str, name: str) -> Document:
    with open(os.path.join(directory, name), 'rb') as text:
        document: Document = json.loads(text.read())
    return document


def _encode_as_go(document: Document) -> bytes:
    """Return JSON as Go's encoding/json writes it, which escapes for HTML."""
    text = json.dumps(document, separators=(',', ':'), ensure_ascii=False)
    for character in '<>&\u2028\u2029':
        text = text.replace(character, f'\\u{ord(character):04x}')
    return text.encode('utf-8', 'surrogateescape')


def _describe(layer: Layer, unpacked: bool) -> Document:
    if unpacked:
        return {
            'mediaType': TAR_TYPE, 'digest': layer.diff_id, 'size': layer.tar_size
        }
    return {
        'mediaType': layer.media_type, 'digest': layer.digest, 'size': layer.size
    }


def _add_blob(directory: str, media_type: str, data: bytes) -> Document:
    digest = hashlib.sha256(data).hexdigest()
    _write(os.path.join(directory, 'blobs', 'sha256', digest), data)
    return {
        'mediaType': media_type, 'digest': f'sha256:{digest}', 'size': len(data)
    }


def _write(path: str, data: bytes) -> None:
    with open(path, 'wb') as out:
        out.write(data)
