# SPDX-License-Identifier: GPL-3.0-or-later
"""The container that kiwi derived a root tree from (derived_from).

Kiwi keeps it as an archive in image/ and needs that to create a container
again. A stash does not carry it: its layers are the lowest of the stash's own.
A label holds the config, from which the very same image is put together.
"""
from __future__ import annotations

import hashlib
import logging
import os
from typing import Any, Optional
from urllib.parse import urlsplit

from kiwi.defaults import Defaults
from kiwi.runtime_config import RuntimeConfig
from kiwi.system.root_import.base import RootImportBase

from kiwi_stackbuild_plugin.description.facts import derived_uris
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo, container_layers
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.documents import read_archive_config, write_archive
from kiwi_stackbuild_plugin.storage.lower_layers import put_together
from kiwi_stackbuild_plugin.tree.opening import opened_tree

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
    if base.stash_labels.imported_root is not None:
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


def check_container(
    state: Any, base: ImageInfo, described: str, mount: str
) -> None:
    """Compare the container to derive from with the one a stash is derived from.

    :param state: kiwi's XMLState, changed by the arguments for kiwi
    :param described: derived_from without these
    :param mount: where the stash is mounted
    :raises KiwiStashArgumentInvalid: if the arguments ask for another one
    """
    wanted = state.build_type.get_derived_from()
    with opened_tree(mount) as fd:
        known = derived_uris(fd)
    if (wanted == described and (not known or wanted in known)) or _is_the_same(
        state, base
    ):
        return
    if wanted != described:
        raise KiwiStashArgumentInvalid(
            f'the arguments for kiwi derive the image from {wanted}, '
            f'{base.display_name} has the layers of another container',
            'leave derived_from out of them, or build from nothing with '
            'kiwi-ng system build'
        )
    log.warning(
        '%s was derived from %s and stays so, the description says %s',
        base.display_name, ' or '.join(sorted(known)), wanted
    )


def _is_the_same(state: Any, base: ImageInfo) -> bool:
    """Tell whether derived_from is an archive of the very container of a stash."""
    place = urlsplit(state.build_type.get_derived_from())
    if place.scheme != 'file' or not os.path.isfile(place.path):
        return False
    kind = f'{state.get_build_type_name()}-archive'
    try:
        config = read_archive_config(place.path, kind)
    except KiwiStashToolFailed:
        # packed, or no archive: kiwi's to complain of
        return False
    layers = container_layers(base.stash_labels.imported_root or '')
    return bool(layers) and layers == container_layers(config)


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
    config = (info.stash_labels.imported_root or '').encode('utf-8', 'surrogateescape')
    image_id = hashlib.sha256(config).hexdigest()
    if local.find_added(space, image_id) is None:
        put_together(space, info, config)
    path = Defaults.get_imported_root_image(root)
    log.info('Writing the container that %s was derived from', info.display_name)
    write_archive(space, image_id, path, Defaults.get_container_base_image_tag())
    importer = RootImportBase.__new__(RootImportBase)
    importer.runtime_config = RuntimeConfig()
    importer._make_checksum(path)
