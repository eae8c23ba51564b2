# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash --export" without a root tree: copy a stored stash."""
from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.destination import check_exports
from kiwi_stackbuild_plugin.exports import export_all
from kiwi_stackbuild_plugin.host.errors import KiwiStashImageNotFound
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.image.reference import check_stash_name
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep

log = logging.getLogger('kiwi')


@dataclass(frozen=True)
class ExportRequest:
    """What "system stash" without --root was asked for; fields are its options."""

    container_name: str
    tag: str = 'latest'
    exports: Tuple[str, ...] = ()
    access: Access = DEFAULT_ACCESS


@clean_exit()
def export(request: ExportRequest) -> None:
    """Copy a stored stash to registries, archives and layouts.

    :raises KiwiStackBuildError: if there is no such stash, or a copy failed
    """
    check_stash_name(request.container_name, request.tag, '--container-name')
    check_exports(request.exports)
    local.require_storage_tools()
    name = f'{request.container_name}:{request.tag}'
    temp_dir = Defaults.get_temp_location()
    sweep([temp_dir])
    info = local.find_image(f'{local.LOCAL}/{name}')
    if info is None or not info.told.is_stash:
        raise KiwiStashImageNotFound(
            f'--container-name {name!r}: no such stash',
            'those there are: kiwi-ng system stash_list'
        )
    with open_space(temp_dir):
        export_all(name, info.image_id, request.exports, request.access)
    log.info('%s is copied', name)
