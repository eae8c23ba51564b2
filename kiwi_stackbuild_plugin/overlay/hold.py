# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the layers below an overlay root: an image and a container of their own.

A mount of the base holds nothing (podman rmi --force). An image with the same
layers outlives the base, and a container of it keeps podman image prune off.
"""
from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Iterator, Optional

from kiwi_stackbuild_plugin.host.command import RunningCommand
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.overlay.record import (
    OverlayRecord, abandoned, forget_record, write_record
)
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.directories import graph_root
from kiwi_stackbuild_plugin.storage.lower_layers import begin_container, hold_copy
from kiwi_stackbuild_plugin.storage.removal import remove_container, remove_image

log = logging.getLogger('kiwi')

_REPOSITORY = f'{local.LOCAL}/kiwi-overlay'


@dataclass(frozen=True)
class Hold:
    """What holds the layers below a root.

    :param image: name of the image
    """

    image: str
    _container: RunningCommand

    def wait(self) -> None:
        """Wait until all of it is there.

        :raises KiwiStashToolFailed: if it cannot be made
        """
        self._container.finish()


@contextmanager
def held_layers(space: Workspace, info: ImageInfo, place: str, root: str) -> Iterator[Hold]:
    """Hold the layers of an image for a root that will be on them.

    As long as the root is not there, and again when it is gone, let_go_abandoned
    lets them go. The container is made while a block makes the root.

    :param place: directory that will be beside the root
    :param root: path that the root will have
    """
    record = write_record(graph_root(), place, root, info.layers)
    name = hold_name(record)
    hold_copy(space, info, name, f'kiwi-stackbuild --overlay {record.name}')
    with closing(begin_container(_container_name(record.name), name)) as container:
        try:
            yield Hold(name, container)
        except Exception:
            # podman is not to be killed at its work, but where we are to end at once
            container.finish(check=False)
            raise


def hold_name(record: OverlayRecord) -> str:
    """Return the name of the image that holds the layers below a root."""
    return f'{_REPOSITORY}:{record.name}'


def held_image(record: OverlayRecord) -> Optional[ImageInfo]:
    """Return the image that holds the layers below a root, None if they are gone."""
    info = local.find_image(hold_name(record))
    return info if info and info.layers == record.layers else None


def let_go_abandoned() -> None:
    """Remove what holds layers below roots that are gone."""
    graph = graph_root()
    for name in abandoned(graph):
        log.debug('the root tree on %s:%s is gone', _REPOSITORY, name)
        try:
            remove_container(_container_name(name))
            held = local.find_image(f'{_REPOSITORY}:{name}')
            if held is not None:
                remove_image(held.image_id)
        except KiwiStashToolFailed as issue:
            log.warning('not let go, the next run tries again: %s', issue.summary)
            continue
        forget_record(graph, name)


def _container_name(name: str) -> str:
    return f'kiwi-overlay-{name}'
