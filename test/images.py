# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI layouts made by hand: images as other tools write them, or as none does."""
from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Dict, Optional

CONFIG = 'application/vnd.oci.image.config.v1+json'
MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
LAYER = 'application/vnd.oci.image.layer.v1.tar'


def write_image(
    where: Path, layers: int = 1, labels: Optional[Dict[str, Any]] = None, **more: Any
) -> str:
    """Write a layout with a file 'f<number>' in each layer; return its reference.

    :param more: other fields of the config
    """
    blobs = where / 'blobs/sha256'
    blobs.mkdir(parents=True)

    def add(data: bytes, kind: str) -> Dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {'mediaType': kind, 'digest': f'sha256:{digest}', 'size': len(data)}

    stored = [add(_tar(f'f{number}'), LAYER) for number in range(layers)]
    config = {
        'architecture': 'amd64', 'os': 'linux', 'config': {'Labels': labels or {}},
        'rootfs': {'type': 'layers', 'diff_ids': [layer['digest'] for layer in stored]}, **more
    }
    manifest = add(json.dumps({
        'schemaVersion': 2, 'config': add(json.dumps(config).encode(), CONFIG), 'layers': stored
    }).encode(), MANIFEST)
    manifest['annotations'] = {'org.opencontainers.image.ref.name': 'x'}
    (where / 'index.json').write_text(json.dumps({'schemaVersion': 2, 'manifests': [manifest]}))
    (where / 'oci-layout').write_text('{"imageLayoutVersion":"1.0.0"}')
    return f'oci:{where}:x'


def _tar(name: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode='w') as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b'x'))
    return made.getvalue()
