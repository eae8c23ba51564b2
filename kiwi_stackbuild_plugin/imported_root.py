# SPDX-License-Identifier: GPL-3.0-or-later
"""The container that kiwi derived a root tree from (derived_from).

Kiwi keeps it as an archive in image/ and needs that to create a container
again. A stash does not carry it: its layers are the lowest of the stash's own.
A label holds the config, from which the very same image is put together.
"""
from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Iterator, Optional

import kiwi.system.prepare
from kiwi.defaults import Defaults
from kiwi.runtime_config import RuntimeConfig
from kiwi.system.root_import.base import RootImportBase

from kiwi_stackbuild_plugin import store
from kiwi_stackbuild_plugin.archive import write_archive
from kiwi_stackbuild_plugin.documents import read_manifest
from kiwi_stackbuild_plugin.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.image import ImageInfo, stored_layers
from kiwi_stackbuild_plugin.layout import REFERENCE, add_image, make_layout
from kiwi_stackbuild_plugin.workspace import Workspace

log = logging.getLogger('kiwi')

def choose_import(
    state: Any, base: ImageInfo, created_from: str = ''
) -> Optional[ImageInfo]:
    """Return the stash whose container kiwi needs, None where it needs none.

    :param state: kiwi's XMLState of what is built
    :param base: the lowest stash
    :param created_from: where the stash is mounted that is built as it is
    :raises KiwiStashDescriptionInvalid: if it needs one and there is none
    """
    if not _is_derived(state):
        return None
    if base.told.imported_root is not None:
        return base
    if not created_from:
        log.warning(
            '%s does not say what it was derived from: kiwi copies the '
            'container of the description over it', base.display_name
        )
    elif not os.path.isfile(os.path.join(created_from, 'image', 'imported_root')):
        raise KiwiStashDescriptionInvalid(
            f'{base.display_name} was derived from a container that it does '
            'not know any more',
            'build it again with the description and its derived_from'
        )
    return None


def _is_derived(state: Any) -> bool:
    """Tell whether kiwi wants the archive for what an XMLState builds."""
    return bool(
        state.get_build_type_name() in ('docker', 'oci')
        and state.get_derived_from_image_uri()
        and not state.build_type.get_delta_root()
    )


def restore_import(space: Workspace, info: ImageInfo, root: str) -> None:
    """Write the archive and its checksum, as kiwi does, into image/ of a root.

    :raises KiwiStashDescriptionInvalid: if the container is not to be had
    """
    config = (info.told.imported_root or '').encode('utf-8', 'surrogateescape')
    image_id = hashlib.sha256(config).hexdigest()
    if store.find_added(space, image_id) is None:
        _put_together(space, info, config, image_id)
    path = Defaults.get_imported_root_image(root)
    log.info('Writing the container that %s was derived from', info.display_name)
    write_archive(image_id, path, Defaults.get_container_base_image_tag())
    importer = RootImportBase.__new__(RootImportBase)
    importer.runtime_config = RuntimeConfig()
    importer._make_checksum(path)


def _put_together(
    space: Workspace, info: ImageInfo, config: bytes, image_id: str
) -> None:
    """Make an image of the lowest layers of a stash; it goes with the workspace."""
    wanted = tuple(json.loads(config)['rootfs']['diff_ids'])
    if info.layers[:len(wanted)] != wanted:
        raise KiwiStashDescriptionInvalid(
            f'{info.display_name} was derived from a container '
            f'({image_id[:12]}) that is not stored, and has not its layers',
            'build it again with the description and its derived_from'
        )
    layout = os.path.join(space.path, f'imported-{image_id[:12]}')
    make_layout(layout)
    layers = stored_layers(
        read_manifest(info.image_id)['layers'], {'rootfs': {'diff_ids': wanted}}
    )
    add_image(layout, config, layers, None, {})
    store.add_image(space, f'oci:{layout}:{REFERENCE}', image_id)


@contextmanager
def without_import(active: bool) -> Iterator[None]:
    """Keep kiwi from importing the container over a root that has it.

    :param active: do nothing if not
    """
    original = kiwi.system.prepare.RootImport

    def new(*_: Any) -> Any:
        log.info('The root has the container it is derived from already')
        return SimpleNamespace(
            sync_data=lambda: None, overlay_finalize=lambda state: None
        )

    if active:
        kiwi.system.prepare.RootImport = SimpleNamespace(new=new)
    try:
        yield
    finally:
        kiwi.system.prepare.RootImport = original
