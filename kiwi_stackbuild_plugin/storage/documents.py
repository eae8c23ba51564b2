# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored images as skopeo has them: manifest and config, and whole, in an archive."""
from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, closing, contextmanager
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from kiwi_stackbuild_plugin.host.command import (
    RunningCommand, reason_of, remove_tree, run_command
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.attached import pack_layout
from kiwi_stackbuild_plugin.image.cache import (
    WORTH, PackedLayer, find_packed, keep_packed, one_packer
)
from kiwi_stackbuild_plugin.image.image import Document, ImageInfo
from kiwi_stackbuild_plugin.image.layout import layers_of, make_layout, replace_layers
from kiwi_stackbuild_plugin.layer.blob import GZIP_TYPE
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


def _copy(source: str, target: str) -> None:
    """Copy an image to where there is no room for signatures."""
    run_command(['skopeo', 'copy', '--quiet', '--remove-signatures', source, target])


def write_archive(
    space: Workspace, image_id: str, path: str, reference: str,
    copy: Callable[[str, str], None] = _copy, shown: str = ''
) -> None:
    """Write a stored image to a new oci-archive.

    :param reference: its name there
    :param copy: skopeo copy, from the first reference to the second
    :param shown: the archive as the user knows it
    :raises KiwiStashToolFailed: with the reason
    """
    with packed_layout(space, image_id, reference, copy) as layout:
        try:
            pack_layout(layout, path)
        except OSError as issue:
            raise KiwiStashToolFailed(
                f'copying to {shown or path} failed: {issue.strerror}'
            ) from issue


@contextmanager
def packed_layout(
    space: Workspace, image_id: str, reference: str,
    copy: Callable[[str, str], None] = _copy
) -> Iterator[str]:
    """Give a stored image as an OCI layout with packed layers, for a block.

    The storage has them unpacked, and skopeo packs them all. It takes a layer
    that the layout seems to have already: those that were packed before.

    :param reference: its name in the layout, which may be none
    :returns: directory; its larger blobs may be links to files of the cache
    """
    with closing(ImageDocuments(image_id)) as documents:
        manifest, config = documents.read()
    large = {
        diff_id for layer, diff_id in zip(manifest['layers'], config['rootfs']['diff_ids'])
        if layer['size'] >= WORTH
    }
    layout = os.path.join(space.path, f'packed-{image_id[:12]}')
    blob_dir = make_layout(layout)
    try:
        with ExitStack() as held, ExitStack() as turn:
            found = _find_packed(held, large)
            if found.keys() != large:
                turn.enter_context(one_packer())
                found.update(_find_packed(held, large - found.keys()))
            for diff_id in found:
                with open(_blob(blob_dir, diff_id), 'wb'):
                    pass
            copy(
                f'containers-storage:@{image_id}',
                f'oci:{layout}{":" if reference else ""}{reference}'
            )
            _take_packed(layout, config['rootfs']['diff_ids'], found, large)
            turn.close()
            yield layout
    finally:
        remove_tree(layout)


def _find_packed(held: ExitStack, diff_ids: Iterable[str]) -> Dict[str, PackedLayer]:
    found = ((diff_id, held.enter_context(find_packed(diff_id))) for diff_id in diff_ids)
    return {diff_id: packed for diff_id, packed in found if packed}


def _take_packed(
    layout: str, diff_ids: Sequence[str], found: Mapping[str, PackedLayer], large: Set[str]
) -> None:
    """Put the packed layers into a layout that skopeo made, and keep those it packed."""
    blob_dir = os.path.join(layout, 'blobs', 'sha256')
    listed = {layer['digest'] for layer in layers_of(layout)}
    for diff_id, packed in found.items():
        os.unlink(_blob(blob_dir, diff_id))
        if diff_id in listed:
            os.symlink(f'/proc/{os.getpid()}/fd/{packed.fd}', _blob(blob_dir, packed.digest))
    if found:
        replace_layers(layout, {
            diff_id: {'mediaType': GZIP_TYPE, 'digest': packed.digest, 'size': packed.size}
            for diff_id, packed in found.items()
        })
    for diff_id, layer in zip(diff_ids, layers_of(layout)):
        if diff_id in large - found.keys() and layer['mediaType'] == GZIP_TYPE:
            keep_packed(diff_id, layer['digest'], _blob(blob_dir, layer['digest']))


def _blob(blob_dir: str, digest: str) -> str:
    return os.path.join(blob_dir, digest.partition(':')[2])


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
