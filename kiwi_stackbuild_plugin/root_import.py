# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a root tree of one or more images."""
from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from typing import Optional, Sequence, Tuple

from kiwi_stackbuild_plugin import labels, store
from kiwi_stackbuild_plugin.apply import apply_delta
from kiwi_stackbuild_plugin.command import run_command
from kiwi_stackbuild_plugin.content import ContentComparer
from kiwi_stackbuild_plugin.delta import Delta, Trust, compare, whole_tree
from kiwi_stackbuild_plugin.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.extras import ROOT, Extra
from kiwi_stackbuild_plugin.image import ImageInfo
from kiwi_stackbuild_plugin.new_image import store_chain
from kiwi_stackbuild_plugin.record import take_moment, write_record
from kiwi_stackbuild_plugin.resolve import extras_of
from kiwi_stackbuild_plugin.restore import restore_extras, restore_root
from kiwi_stackbuild_plugin.tree import open_tree, scan
from kiwi_stackbuild_plugin.workspace import Workspace

log = logging.getLogger('kiwi')

#: directories that kiwi writes into from outside of the root
_WRITTEN_BY_KIWI = ('image', 'etc', 'dev', 'proc', 'sys', 'run', 'var', 'boot')


def import_images(
    space: Workspace, images: Sequence[ImageInfo], root: str
) -> None:
    """Make a root of the first image and the own changes of the others.

    :param root: directory to be made
    :raises KiwiStashRootInvalid: for a tree that would lead kiwi out of it
    """
    first = images[0]
    log.info('Importing %s', first.display_name)
    with store.mounted(space, first.image_id) as path:
        copy_tree(path, root)
    root_fd = open_tree(root)
    try:
        restore_extras(root_fd, extras_of(first))
        for number, image in enumerate(images[1:], 1):
            _stack(space, images[:number], image, root)
        _restore_root(root_fd, first)
    finally:
        os.close(root_fd)
    check_links(root)


def copy_tree(source: str, target: str) -> None:
    """Copy a tree with all metadata, as cp(1) does it; target must not exist."""
    run_command(
        ['cp', '--archive', '--reflink=auto', '--no-target-directory', source, target]
    )


def _restore_root(root_fd: int, image: ImageInfo) -> None:
    mode = image.labels.get(labels.ROOT_MODE, '')
    owner = image.labels.get(labels.ROOT_OWNER, '')
    uid, _, gid = owner.partition(':')
    restore_root(
        root_fd,
        int(mode, 8) if re.fullmatch('[0-7]{1,4}', mode) else 0o755,
        *((int(uid), int(gid)) if re.fullmatch(r'\d{1,10}:\d{1,10}', owner) else (0, 0)),
        extras_of(image).get(ROOT, Extra())
    )


def _stack(
    space: Workspace, below: Sequence[ImageInfo], image: ImageInfo, root: str
) -> None:
    """Apply what an image changed since the image it shares layers with."""
    shared = max(
        (_common_layers(other.layers, image.layers) for other in below), default=0
    )
    log.info(
        'Stacking %s: %s', image.display_name,
        f'its change since layer {shared}' if shared else 'as a union'
    )
    ancestor = store_chain(space, image, shared) if shared else None
    with store.mounted(space, image.image_id) as path:
        source_fd, root_fd = open_tree(path), open_tree(root)
        try:
            apply_delta(root_fd, source_fd, _own_change(space, ancestor, source_fd))
        finally:
            os.close(source_fd)
            os.close(root_fd)


def _own_change(
    space: Workspace, ancestor: Optional[str], source_fd: int
) -> Delta:
    if ancestor is None:
        return Delta((), tuple(whole_tree(scan(source_fd))))
    with store.mounted(space, ancestor) as path:
        base_fd = open_tree(path)
        try:
            return compare(
                scan(base_fd), scan(source_fd),
                ContentComparer(base_fd, source_fd), Trust()
            )
        finally:
            os.close(base_fd)


def _common_layers(one: Tuple[str, ...], two: Tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(one, two):
        if left != right:
            break
        count += 1
    return count


def check_links(root: str) -> None:
    """Refuse a root in which kiwi's own writes would go through a link.

    :raises KiwiStashRootInvalid: naming the link
    """
    for name in _WRITTEN_BY_KIWI:
        path = os.path.join(root, name)
        if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
            raise KiwiStashRootInvalid(
                f'the image has {name!r} as a link or file: kiwi would write '
                'through it, out of the root'
            )


def wipe_description(root: str) -> None:
    """Empty image/, so that nothing of the stashed description is left."""
    path = os.path.join(root, 'image')
    if os.path.lexists(path):
        shutil.rmtree(path)
    os.mkdir(path, 0o755)


def record_origin(root: str, images: Sequence[ImageInfo]) -> None:
    """Record which image a new root came from, as the last thing done to it.

    Of several it is the first; the others changed files behind its back, so
    that no content is known to agree.
    """
    origin = images[0]
    root_fd = open_tree(root)
    try:
        if not os.path.lexists(os.path.join(root, 'image')):
            os.mkdir('image', 0o755, dir_fd=root_fd)
        write_record(
            root_fd, origin.image_id, origin.display_name, origin.digest,
            take_moment(root_fd) if len(images) == 1 else None
        )
    finally:
        os.close(root_fd)
