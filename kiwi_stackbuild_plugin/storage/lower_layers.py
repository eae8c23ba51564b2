# SPDX-License-Identifier: GPL-3.0-or-later
"""Images made of the layers of a stored one, or on them."""
from __future__ import annotations

import hashlib
import os
from typing import List, Mapping, Optional, Sequence, Tuple, Union

from kiwi_stackbuild_plugin.host.command import RunningCommand, run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.host.workspace import IMAGE, Workspace
from kiwi_stackbuild_plugin.image.image import (
    Document, ImageInfo, container_layers, fit_history, stored_layers
)
from kiwi_stackbuild_plugin.image.layout import REFERENCE, make_layout, write_layout
from kiwi_stackbuild_plugin.layer.blob import TAR_TYPE, Layer
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.documents import read_config, read_manifest
from kiwi_stackbuild_plugin.storage.removal import remove_image


def store_chain(space: Workspace, image: ImageInfo, count: int) -> str:
    """Bring the lowest layers of a stored image into the storage as an image.

    :param count: how many layers, at least one
    :returns: image ID; the image has no name and goes with the workspace
    """
    if count == len(image.layers):
        return image.image_id
    config = read_config(image.image_id)
    layers = stored_layers(read_manifest(image.image_id)['layers'], config)[:count]
    diff_ids = config['rootfs']['diff_ids']
    history = fit_history(config.get('history') or [], len(diff_ids))
    config['rootfs']['diff_ids'] = diff_ids[:count]
    config['history'] = _history_of(history, count)
    # an image of its own: another run takes its own away when it ends
    config['author'] = f'kiwi-stackbuild {os.path.basename(space.path)}'
    return _store(space, f'chain-{image.image_id[:12]}-{count}', config, layers)


def hold_copy(space: Workspace, image: ImageInfo, name: str, author: str) -> None:
    """Bring an image with the layers of another one, and no more of it, into the storage.

    :param name: that it gets, with its tag
    :param author: makes it an image of its own
    """
    config: Document = {
        'created': image.created, 'architecture': image.architecture, 'os': 'linux',
        'author': author, 'config': {'Cmd': ['/bin/true']},
        'rootfs': {'type': 'layers', 'diff_ids': list(image.layers)}
    }
    image_id = _store(
        space, f'copy-{image.image_id[:12]}', config, _as_stored(image.layers), name
    )
    local.keep_import(space, image_id)


def begin_container(name: str, image: str) -> RunningCommand:
    """Begin a container that is never run; as long as it is there no prune takes its image.

    :returns: what makes it
    """
    # no network: podman would ask each of its plug-ins what it can do
    return RunningCommand([
        'podman', 'create', f'--name={name}', '--pull=never', '--network=none', image
    ])


def put_together(space: Workspace, info: ImageInfo, config: bytes) -> str:
    """Make the container that a stash is derived from, of its lowest layers.

    :param config: of the container
    :returns: image ID; the image has no name and goes with the workspace
    :raises KiwiStashDescriptionInvalid: if these are not its layers
    """
    wanted = container_layers(config)
    image_id = hashlib.sha256(config).hexdigest()
    if not wanted or info.layers[:len(wanted)] != wanted:
        raise KiwiStashDescriptionInvalid(
            f'{info.display_name} was derived from a container '
            f'({image_id[:12]}) that is not stored, and has not its layers',
            'build it again with the description and its derived_from'
        )
    layers = stored_layers(
        read_manifest(info.image_id)['layers'], {'rootfs': {'diff_ids': wanted}}
    )
    return _store(space, f'imported-{image_id[:12]}', config, layers)


def _store(
    space: Workspace, place: str, config: Union[Document, bytes], layers: List[Document],
    name: str = ''
) -> str:
    """Bring an image of layers that the storage has into it.

    :param place: name of the layout in the workspace
    :param name: that a new image gets, with its tag; it may be there already without
    :returns: image ID
    """
    layout = os.path.join(space.path, place)
    make_layout(layout)
    image_id = write_layout(layout, config, layers, None, {})
    local.import_image(
        space, f'oci:{layout}:{REFERENCE}', image_id, is_new=bool(name), name=name
    )
    return image_id


def store_on_layers(
    space: Workspace, layout: str, config: Document, base_layers: List[Document],
    layer: Optional[Layer], annotations: Mapping[str, str]
) -> Tuple[str, str]:
    """Bring an image of stored layers and a new one into the storage, without a name.

    :param layout: directory with the layer's blob
    :param base_layers: descriptors, see image.stored_layers
    :returns: its ID and its manifest's digest
    """
    image_id = write_layout(layout, config, base_layers, layer, annotations)
    local.refuse_damage(config['rootfs']['diff_ids'], 'what the storage has of the stash')
    reference = f'oci:{layout}:{REFERENCE}'
    digest = local.import_image(
        space, reference, image_id, blob=layer.path if layer else None,
        # made at this moment, unless a moment is given
        is_new=not os.environ.get('SOURCE_DATE_EPOCH'),
        layers=[layer.diff_id] if layer else ()
    )
    if layer and layer.is_packed:
        # again with another manifest: the storage has all layers
        write_layout(layout, config, base_layers, layer, annotations, unpacked=True)
        digest = local.import_image(
            space, reference, image_id, is_new=True, layers=[layer.diff_id]
        )
    return image_id, digest


def remove_chain(space: Workspace, diff_ids: Sequence[str]) -> None:
    """Remove a layer that no image has, with those below it that none has.

    The tools remove images only: an image is made of them, and removed.

    :param diff_ids: from the bottom up
    :raises KiwiStashToolFailed: if they stay
    """
    config: Document = {
        'created': '1970-01-01T00:00:00Z', 'architecture': 'amd64', 'os': 'linux',
        'author': f'kiwi-stackbuild {os.path.basename(space.path)} {diff_ids[-1]}',
        'rootfs': {'type': 'layers', 'diff_ids': list(diff_ids)}
    }
    layout = os.path.join(space.path, f'unused-{diff_ids[-1][7:19]}')
    make_layout(layout)
    image_id = write_layout(layout, config, _as_stored(diff_ids), None, {})
    space.note(IMAGE, image_id)
    run_command([
        'skopeo', 'copy', f'oci:{layout}:{REFERENCE}', f'containers-storage:@{image_id}'
    ])
    remove_image(image_id)
    space.forget(IMAGE, image_id)


def _as_stored(diff_ids: Sequence[str]) -> List[Document]:
    """Return descriptors of layers that the storage has: it looks at their digests only."""
    return [{'mediaType': TAR_TYPE, 'digest': diff_id, 'size': 0} for diff_id in diff_ids]


def _history_of(history: List[Document], count: int) -> List[Document]:
    """Return the entries that belong to the lowest layers."""
    kept: List[Document] = []
    for entry in history:
        count -= not entry.get('empty_layer')
        if count < 0:
            break
        kept.append(entry)
    return kept
