# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what was stored with the tree, all contents included."""
from __future__ import annotations

import logging
import os

from kiwi_stackbuild_plugin.host.errors import KiwiStashVerifyFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import extras_of
from kiwi_stackbuild_plugin.layer.extras import amend
from kiwi_stackbuild_plugin.source import RootTree
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.local import longest_path
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import PARENT, Trust, compare
from kiwi_stackbuild_plugin.tree.opening import open_tree

log = logging.getLogger('kiwi')


def verify(
    space: Workspace, tree: RootTree, name: str, image_id: str, rounded: bool
) -> None:
    """Mount an image and compare it with a tree.

    :param name: the stash, for the messages
    :param rounded: see delta.Trust
    :raises KiwiStashVerifyFailed: with the first path that differs
    """
    info = local.find_image(image_id)
    extras = extras_of(info) if info else {}
    with local.mounted(space, image_id) as path:
        fd = open_tree(path)
        try:
            delta = compare(
                amend(scan_ahead(fd, tree.exclusion), extras), tree.entries([], longest_path),
                ContentComparer(fd, tree.fd), Trust(None, rounded)
            )
        finally:
            os.close(fd)
    paths = [*delta.removed, *(
        change.entry.path for change in delta.changes if change.kind != PARENT
    )]
    if paths:
        raise KiwiStashVerifyFailed(
            f'{name}: {len(paths)} paths in the storage differ from the '
            f'tree, the first is {os.fsdecode(paths[0])!r}',
            'nothing was stored; if nothing writes to the tree, the storage is '
            'damaged: --no-base stores the whole tree anew'
        )
    log.info('Verified: what is stored equals the tree')
