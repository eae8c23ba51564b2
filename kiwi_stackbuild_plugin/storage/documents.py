# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifest and config of stored images, as skopeo prints them."""
from __future__ import annotations

import hashlib
import os
from typing import List, Sequence, Tuple

from kiwi_stackbuild_plugin.host.command import RunningCommand, reason_of, run_command
from kiwi_stackbuild_plugin.image.image import Document, ImageInfo
from kiwi_stackbuild_plugin.storage.parsing import parse_config, parse_manifest
from kiwi_stackbuild_plugin.tree.opening import opened_tree

#: what skopeo inspect is asked for
_RAW, _CONFIG = ('--raw',), ('--config', '--raw')


def read_manifest(image_id: str) -> Document:
    """Return the manifest of a stored image."""
    text = run_command(_inspection(_RAW, image_id)).stdout
    return parse_manifest(text, image_id[:12])


class ImageDocuments:
    """Manifest and config of a stored image, read while we do something else."""

    def __init__(self, image_id: str) -> None:
        self._image_id = image_id
        self._manifest = RunningCommand(_inspection(_RAW, image_id))
        self._config = RunningCommand(_inspection(_CONFIG, image_id))

    def read(self) -> Tuple[Document, Document]:
        """Return the manifest and the config; to be called once."""
        name = self._image_id[:12]
        return (
            parse_manifest(self._manifest.finish().stdout, name),
            parse_config(self._config.finish().stdout, name)
        )

    def close(self) -> None:
        """End what nobody asked for."""
        self._manifest.close()
        self._config.close()


def layer_sizes(info: ImageInfo) -> List[int]:
    """Return the bytes of an image's layers as its manifest has them."""
    layers = read_manifest(info.image_id).get('layers') or []
    return [int(layer['size']) for layer in layers]


def read_config(image_id: str) -> Document:
    """Return the config of a stored image."""
    text = run_command(_inspection(_CONFIG, image_id)).stdout
    return parse_config(text, image_id[:12])


def config_damage(image_id: str) -> str:
    """Return what is wrong with the config of a stored image, '' for nothing.

    The image ID is its digest.
    """
    result = run_command(_inspection(_CONFIG, image_id), check=False)
    if result.returncode:
        return reason_of(result)
    text = result.stdout.encode('utf-8', 'surrogateescape')
    return '' if hashlib.sha256(text).hexdigest() == image_id else 'not what its digest says'


def _inspection(options: Sequence[str], image_id: str) -> List[str]:
    return ['skopeo', 'inspect', *options, f'containers-storage:@{image_id}']


def read_archive_config(path: str, kind: str = 'oci-archive') -> str:
    """Return the config of the one image in an archive, byte for byte.

    :param kind: oci-archive, or docker-archive
    """
    return run_command([
        'skopeo', 'inspect', '--config', '--raw', f'{kind}:{path}'
    ]).stdout


def write_archive(image_id: str, path: str, tag: str) -> None:
    """Write a stored image to a new archive, which has no room for signatures."""
    run_command([
        'skopeo', 'copy', '--remove-signatures', f'containers-storage:@{image_id}',
        f'oci-archive:{path}:{tag}'
    ])


def export_container(
    image_id: str, transport: str, path: str, name: str, more: Sequence[str] = ()
) -> None:
    """Write a stored image to a new archive under one or more names.

    :param transport: docker-archive or oci-archive
    :param more: further names, which only a docker-archive takes
    """
    folder, file = os.path.split(os.path.abspath(path))
    with opened_tree(folder) as fd:
        # skopeo takes what follows a colon for a name
        place = f'/proc/{os.getpid()}/fd/{fd}' if ':' in folder else folder
        run_command([
            'skopeo', 'copy', '--quiet', *(f'--additional-tag={each}' for each in more),
            f'containers-storage:@{image_id}', f'{transport}:{place}/{file}:{name}'
        ])
