# SPDX-License-Identifier: GPL-3.0-or-later
"""An overlay root from its making to the next mount of it."""
from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from typing import ContextManager, Iterator, Optional, Tuple

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid, printable_path
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.host.mounts import mount_points, processes_in
from kiwi_stackbuild_plugin.host.unmounting import take_back_mounts
from kiwi_stackbuild_plugin.image.image import ImageInfo, extras_of
from kiwi_stackbuild_plugin.overlay.hold import hold_name
from kiwi_stackbuild_plugin.overlay.links import copy_up_links
from kiwi_stackbuild_plugin.overlay.mount import mount_overlay, reason_against
from kiwi_stackbuild_plugin.storage.local import find_image
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

log = logging.getLogger('kiwi')

#: the directory beside an overlay root that has its changes
SUFFIX = '.overlay'
_UPPER, _WORK = 'upper', 'work'
_SELINUX = b'etc/selinux/config'
#: attributes that the kernel keeps to itself in an overlay
_MARKS = ('trusted.overlay.', 'user.overlay.')
_SHOWN = 10


def overlay_of(root: str) -> str:
    """Return where the changes of an overlay root are, whether it is one or not."""
    return os.path.abspath(root) + SUFFIX


def is_possible(info: ImageInfo, base: str, directory: str) -> bool:
    """Tell whether a root can be an overlay; if not, say why it is copied.

    :param base: where the image is mounted
    :param directory: where the root will be
    """
    reason = reason_against(info, directory)
    if not reason and any(
        key.startswith(_MARKS) for extra in extras_of(info).values() for key, _ in extra.xattrs
    ):
        reason = 'the tree itself has marks of overlays, which a mount would hide'
    if not reason and _has_selinux(base):
        reason = 'KIWI labels the tree for SELinux, which would copy all of it up'
    if reason:
        log.warning('--overlay: the root tree is copied: %s', reason)
    return not reason


def _has_selinux(base: str) -> bool:
    with opened_tree(base) as fd:
        try:
            os.close(open_below(fd, _SELINUX, os.O_PATH))
        except OSError:
            return False
    return True


@contextmanager
def staged_overlay(info: ImageInfo, base: str, root: str) -> Iterator[None]:
    """Make a root and mount an overlay there for a block.

    After the block root and changes can be renamed, see mount_root.
    """
    place = root + SUFFIX
    os.mkdir(root)
    os.mkdir(place, 0o700)
    for name in (_UPPER, _WORK):
        os.mkdir(os.path.join(place, name))
    status = os.stat(base)
    os.utime(os.path.join(place, _UPPER), ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        mount_overlay(info, *_directories(place), root, spare=False)
        with opened_tree(base) as base_fd, opened_tree(root) as root_fd:
            copy_up_links(base_fd, root_fd)
        yield
    finally:
        unmount_root(root)


def mount_root(root: str, info: Optional[ImageInfo] = None, spare: bool = True) -> None:
    """Mount an overlay root on the layers that are held for it.

    :param spare: mount it on itself, for kiwi to take that away
    :raises KiwiStashRootInvalid: if they are gone
    """
    info = info or find_image(hold_name(root))
    if info is None:
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is an overlay, and the layers below it are gone: '
            f'no image {hold_name(root)}', 'build it again'
        )
    reason = reason_against(info, os.path.dirname(os.path.abspath(root)))
    if reason:
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is an overlay that cannot be mounted: {reason}'
        )
    mount_overlay(info, *_directories(overlay_of(root)), root, spare=spare)


def _directories(place: str) -> Tuple[str, str]:
    return os.path.join(place, _UPPER), os.path.join(place, _WORK)


def unmount_root(root: str) -> None:
    """Take back all mounts at a root; name what keeps one busy."""
    points = take_back_mounts(root, logging.DEBUG)
    if points:
        holders = processes_in(root)
        log.warning(
            '%s stays mounted%s', printable_path(points[-1]),
            f', in use by process {", ".join(holders[:_SHOWN])}' if holders else ''
        )


def is_overlay(root: str) -> bool:
    """Tell whether a directory is an overlay root of this user's, mounted or not."""
    try:
        status = os.lstat(overlay_of(root))
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        and not status.st_mode & 0o077 and os.path.isdir(root)
        # else somebody has put another tree there since
        and (bool(mount_points(root)) or not os.listdir(root))
    )


@contextmanager
def opened_overlay(root: str) -> Iterator[None]:
    """Mount a root for a block if it is an overlay and not mounted.

    :raises KiwiStashRootInvalid: if it cannot be
    """
    if not is_overlay(root):
        yield
        return
    with mount_locked(root):
        if mount_points(root):
            yield
            return
        try:
            mount_root(root, spare=False)
            yield
        finally:
            unmount_root(root)


def mount_locked(root: str) -> ContextManager[None]:
    """Hold others off from mounting a root, or unmounting it, for a block."""
    return locked('the mount of the root tree', os.path.realpath(root))
