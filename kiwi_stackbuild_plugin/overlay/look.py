# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount an overlay root to look at it, and unmount it again."""
from __future__ import annotations

import logging
import os

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.host.mounts import mount_points
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.unmounting import in_use_by, take_back_mounts
from kiwi_stackbuild_plugin.overlay.root import (
    forget_passing, is_overlay, mount_locked, mount_root
)
from kiwi_stackbuild_plugin.storage.local import require_storage_tools


@clean_exit()
def show_root(path: str) -> str:
    """Mount the overlay root of a target directory; return a line for the user.

    :param path: the target directory, or the root itself
    :raises KiwiStashRootInvalid: if there is none, or it cannot be mounted
    """
    root = _root_of(path, '--mount')
    require_storage_tools()
    with locked('the root tree', os.path.realpath(root)), mount_locked(root):
        if not mount_points(root):
            mount_root(root, spare=False)
        forget_passing(root)
    return root


@clean_exit()
def hide_root(path: str) -> None:
    """Unmount the overlay root of a target directory, and all that is mounted in it.

    :raises KiwiStashRootInvalid: if there is none, or something stays mounted
    """
    root = _root_of(path, '--unmount')
    with locked('the root tree', os.path.realpath(root)), mount_locked(root):
        points = take_back_mounts(root, logging.DEBUG)
        forget_passing(root)
        if points:
            raise KiwiStashRootInvalid(
                f'--unmount {path!r}: {os.fsdecode(points[-1])!r} stays mounted'
                + in_use_by(root),
                'end what works there, then try again'
            )


def _root_of(path: str, option: str) -> str:
    if not path:
        raise KiwiStashRootInvalid(f'{option}: the directory name is empty')
    for root in (os.path.join(path, 'build/image-root'), path):
        if is_overlay(root):
            return os.path.abspath(root)
    raise KiwiStashRootInvalid(
        f'{option} {path!r}: there is no root tree that is an overlay',
        'stackbuild --overlay makes one in its target directory'
    )
