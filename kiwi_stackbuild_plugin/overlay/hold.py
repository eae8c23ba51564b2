# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the layers below an overlay root: an image and a container of their own.

A mount of the base holds nothing (podman rmi --force). An image with the same
layers outlives the base, and a container of it keeps podman image prune off.
"""
from __future__ import annotations

import hashlib
import logging
import os

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo, stored_layers
from kiwi_stackbuild_plugin.image.layout import REFERENCE, add_image, make_layout
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.documents import read_config, read_manifest
from kiwi_stackbuild_plugin.storage.removal import remove_image

log = logging.getLogger('kiwi')

_REPOSITORY = f'{local.LOCAL}/kiwi-overlay'


def hold_name(root: str) -> str:
    """Return the name of what holds the layers below a root, one for each root."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()
    return f'{_REPOSITORY}:{digest[:16]}'


def store_hold(space: Workspace, info: ImageInfo) -> str:
    """Bring an image of the same layers into the storage; it goes with the workspace.

    :returns: image ID, for name_hold
    """
    config = read_config(info.image_id)
    layers = stored_layers(read_manifest(info.image_id)['layers'], config)
    # a stash, and what is known of it, is the other one
    config['config'] = {'Cmd': ['/bin/true']}
    # an image of its own: the one of an earlier run on this root goes
    config['author'] = f'kiwi-stackbuild --overlay {os.path.basename(space.path)}'
    layout = os.path.join(space.path, 'hold')
    make_layout(layout)
    image_id = add_image(layout, config, layers, None, {})
    local.add_image(space, f'oci:{layout}:{REFERENCE}', image_id)
    return image_id


def name_hold(space: Workspace, image_id: str, root: str) -> None:
    """Make a hold stay; an earlier one of the root goes."""
    name = hold_name(root)
    earlier = local.find_image(name)
    _remove_container(root)
    local.tag_image(space, image_id, name)
    if earlier is not None:
        _remove(earlier.image_id)
    run_command(['podman', 'create', f'--name={_container_name(root)}', '--pull=never', name])
    log.info(
        'The layers below %s are held by the image %s; once the root is not wanted any '
        'more, podman rmi --force %s lets them go', root, name, name
    )


def let_go(root: str) -> None:
    """Remove what holds the layers below a root, if anything does."""
    held = local.find_image(hold_name(root))
    if held is not None:
        _remove_container(root)
        _remove(held.image_id)


def _container_name(root: str) -> str:
    return f'kiwi-overlay-{hold_name(root).rpartition(":")[2]}'


def _remove_container(root: str) -> None:
    run_command(
        ['podman', 'rm', '--force', '--ignore', _container_name(root)], check=False
    )


def _remove(image_id: str) -> None:
    try:
        remove_image(image_id)
    except KiwiStashToolFailed as issue:
        log.warning('%s', issue.summary)
