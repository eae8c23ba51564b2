# SPDX-License-Identifier: GPL-3.0-or-later
"""An overlay root from its making to the next mount of it."""
from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager, suppress
from typing import ContextManager, Iterator, Optional

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid, is_absent, printable_path
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.host.mounts import mount_points
from kiwi_stackbuild_plugin.host.unmounting import in_use_by, take_back_mounts
from kiwi_stackbuild_plugin.image.image import ImageInfo, extras_of
from kiwi_stackbuild_plugin.overlay.hold import held_image, hold_name
from kiwi_stackbuild_plugin.overlay.links import LinkSearch, copy_up_links
from kiwi_stackbuild_plugin.overlay.mount import MARKS, mount_overlay, reason_against
from kiwi_stackbuild_plugin.overlay.place import (
    overlay_of, passing_of, upper_of, work_of
)
from kiwi_stackbuild_plugin.overlay.record import read_record
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

log = logging.getLogger('kiwi')

_SELINUX = b'etc/selinux/config'


def why_copied(info: ImageInfo, base: str, directory: str) -> str:
    """Return why a root cannot be an overlay, '' if it can.

    :param base: where the image is mounted
    :param directory: where the root will be
    """
    reason = reason_against(info, directory)
    if not reason and any(
        key.startswith(MARKS) for extra in extras_of(info).values() for key, _ in extra.xattrs
    ):
        reason = 'the tree itself has marks of overlays, which a mount would hide'
    if not reason and _has_selinux(base):
        reason = 'KIWI labels the tree for SELinux, which would copy all of it up'
    return reason


def _has_selinux(base: str) -> bool:
    with opened_tree(base) as fd:
        try:
            os.close(open_below(fd, _SELINUX, os.O_PATH))
        except OSError as issue:
            if is_absent(issue):
                return False
            raise
    return True


@contextmanager
def staged_overlay(
    info: ImageInfo, base: str, root: str, search: Optional[LinkSearch] = None
) -> Iterator[None]:
    """Mount an overlay on a root for a block; what is beside the root is there.

    After the block both can be renamed, see mount_root.

    :param search: for the hard links of the image, begun before
    """
    for directory in (root, upper_of(root), work_of(root)):
        os.mkdir(directory)
    status = os.stat(base)
    os.utime(upper_of(root), ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        mount_overlay(info, upper_of(root), work_of(root), root, spare=False)
        with opened_tree(base) as base_fd, opened_tree(root) as root_fd:
            copy_up_links(base_fd, root_fd, search)
        yield
    finally:
        unmount_root(root)


def mount_root(root: str, info: Optional[ImageInfo] = None, spare: bool = True) -> None:
    """Mount an overlay root on the layers that are held for it.

    :param spare: mount it on itself, for kiwi to take that away
    :raises KiwiStashRootInvalid: if they are gone
    """
    info = info or _image_below(root)
    reason = reason_against(info, os.path.dirname(os.path.abspath(root)))
    if reason:
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is an overlay that cannot be mounted: {reason}'
        )
    mount_overlay(info, upper_of(root), work_of(root), root, spare=spare)


def _image_below(root: str) -> ImageInfo:
    record = read_record(overlay_of(root))
    if record is None:
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is an overlay, and {overlay_of(root)!r} does not say on '
            'what', 'build it again'
        )
    info = held_image(record)
    if info is None:
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is an overlay, and the layers below it are gone: '
            f'no image {hold_name(record)}',
            'build it again, unless another storage has them (CONTAINERS_STORAGE_CONF)'
        )
    return info


def unmount_root(root: str) -> None:
    """Take back all mounts at a root; name what keeps one busy."""
    points = take_back_mounts(root, logging.DEBUG)
    if points:
        log.warning('%s stays mounted%s', printable_path(points[-1]), in_use_by(root))


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
def opened_overlay(root: str) -> Iterator[bool]:
    """Mount a root for a block if it is an overlay and not mounted; tell if it is one.

    :raises KiwiStashRootInvalid: if it cannot be
    """
    if not is_overlay(root):
        yield False
        return
    with mount_locked(root):
        # else a killed run mounted it: nobody else has the lock
        if mount_points(root) and not os.path.lexists(passing_of(root)):
            yield True
            return
        try:
            if not mount_points(root):
                with open(passing_of(root), 'w', encoding='ascii'):
                    mount_root(root, spare=False)
            yield True
        finally:
            unmount_root(root)
            forget_passing(root)


def forget_passing(root: str) -> None:
    """Take a mount for one that stays, or that is gone."""
    with suppress(FileNotFoundError):
        os.unlink(passing_of(root))


def mount_locked(root: str) -> ContextManager[None]:
    """Hold others off from mounting a root, or unmounting it, for a block."""
    return locked('the mount of the root tree', os.path.realpath(root))
