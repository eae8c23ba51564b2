# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an image of a base and a layer, in the storage and without a name."""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.description.description import RootDescription
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import (
    Document, ImageInfo, container_layers, is_own_stash, make_config, stored_layers,
    timestamp
)
from kiwi_stackbuild_plugin.image.layout import REFERENCE, add_image, make_layout
from kiwi_stackbuild_plugin.layer.blob import Layer
from kiwi_stackbuild_plugin.resolve import Base
from kiwi_stackbuild_plugin.stash_labels import (
    MOST_LAYERS, annotations_of, layer_labels, make_history, make_labels
)
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.documents import ImageDocuments
from kiwi_stackbuild_plugin.storage.lower_layers import put_together

log = logging.getLogger('kiwi')

#: what a base says of the root directory and its making; if one of these has
#: changed, an image of its own says so even where no entry has
_TELLING = (labels.ROOT_MODE, labels.ROOT_OWNER, labels.PROFILES, labels.TYPE)


@dataclass(frozen=True)
class NewImage:
    """A stash to be: name:tag, how the tree was built, base, layer, labels.

    documents: those of the base
    """

    name: str
    description: RootDescription
    root_status: os.stat_result
    base: Optional[Base]
    layer: Optional[Layer]
    extra_labels: Dict[str, str]
    documents: Optional[ImageDocuments] = None


def store_image(
    new: NewImage, space: Workspace, layout: str
) -> Tuple[str, str]:
    """Bring an image into the storage; return its ID and its manifest's digest.

    Where nothing changed since the base, and the base says all that the stash
    would say, the base is the image.

    :param layout: directory with the layer's blob, made here if there is none
    """
    created = timestamp()
    base, layer = new.base, new.layer
    info = base.info if base else None
    values = make_labels(
        new.name, new.description, new.root_status, created, info,
        not (base and base.rounded)
    )
    if layer is None and base and _says_the_same(base, {
        **{key: values[key] for key in _TELLING}, **new.extra_labels
    }):
        return base.info.image_id, base.info.digest
    if layer is None:
        make_layout(layout)
    values.update(layer_labels(layer, info))
    values.update(new.extra_labels)
    base_manifest, base_config = new.documents.read() if new.documents else ({}, None)
    config = _make_config(new, values, created, base_config)
    base_layers = stored_layers(base_manifest.get('layers') or [], base_config or {})
    return _import(space, layout, config, base_layers, layer, annotations_of(values))


def _import(
    space: Workspace, layout: str, config: Document, base_layers: List[Document],
    layer: Optional[Layer], annotations: Dict[str, str]
) -> Tuple[str, str]:
    image_id = add_image(layout, config, base_layers, layer, annotations)
    reference = f'oci:{layout}:{REFERENCE}'
    log.info('Importing into the storage of podman')
    digest = local.add_image(
        space, reference, image_id, blob=layer.path if layer else None,
        # made at this moment, unless a moment is given
        is_new=not os.environ.get('SOURCE_DATE_EPOCH')
    )
    if layer and layer.is_packed:
        # again with another manifest: the storage has all layers
        add_image(layout, config, base_layers, layer, annotations, unpacked=True)
        digest = local.add_image(space, reference, image_id, is_new=True)
    return image_id, digest


def _make_config(
    new: NewImage, values: Dict[str, str], created: str,
    base_config: Optional[Document]
) -> Document:
    author = new.description.author
    return make_config(
        base_config, {
            'maintainer': author, 'labels': values,
            'entry_subcommand': ['/bin/sh'],
            'history': make_history(author, new.layer)
        }, new.layer.diff_id if new.layer else None, created,
        Defaults.get_platform_name()
    )


def _says_the_same(base: Base, values: Dict[str, str]) -> bool:
    return is_own_stash(base.info) and all(
        base.info.labels.get(key) == value for key, value in values.items()
    )


def container_below(space: Workspace, info: ImageInfo, config: str) -> Optional[Base]:
    """Return the container at the bottom of an image as a base of its own.

    A tree that is derived from one cannot be built again without its layers,
    so a chain that starts over begins above them.

    :param config: of the container that the tree is derived from, or empty
    :returns: None if there is none, or no room for a layer on it
    """
    layers = container_layers(config)
    if not layers or info.layers[:len(layers)] != layers:
        return None
    if len(layers) >= MOST_LAYERS:
        log.warning(
            'The container below %s has %d layers itself', info.display_name,
            len(layers)
        )
        return None
    if layers != info.layers:
        image_id = put_together(
            space, info, config.encode('utf-8', 'surrogateescape')
        )
        info = local.find_image(image_id) or info
    return Base(info, 'the container that the tree is derived from stays below')
