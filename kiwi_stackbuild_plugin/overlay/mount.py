# SPDX-License-Identifier: GPL-3.0-or-later
"""An overlay mount on the layers of a stored image, and why there may be none."""
from __future__ import annotations

import os
import re
from typing import List

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.mounts import mounted_on
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.directories import (
    OVERLAY_DATA, OVERLAY_OPTIONS, mount_layers, open_layers, short_links
)

#: attributes that the kernel keeps to itself in an overlay
MARKS = ('trusted.overlay.', 'user.overlay.')
_PLAIN = re.compile(r'[\w./+~=@ -]*', re.ASCII)


def mount_overlay(
    info: ImageInfo, upper: str, work: str, root: str, spare: bool = True
) -> None:
    """Mount the layers of an image, and on them a directory that takes the changes.

    :param spare: a second mount of the root on itself, for kiwi to take away at its end
    :raises KiwiStashToolFailed: if mount(8) fails
    """
    directory, links = short_links(info)
    mount_layers(directory, _data(links, upper, work), root)
    if spare:
        run_command(['mount', '--bind', root, root])


def reason_against(info: ImageInfo, target: str) -> str:
    """Return why an image cannot be mounted below a target directory, '' if it can.

    :param target: absolute path, need not be there yet
    """
    place = target
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if info.driver != 'overlay':
        return f'the storage driver is {info.driver or "unknown"}'
    with open_layers(info) as layers:
        if not layers:
            return 'the storage keeps the layers in a way of its own'
        same = all(os.fstat(fd).st_dev == os.stat(place).st_dev for fd in layers)
    if not same:
        return 'storage and target are on different file systems'
    if mounted_on(place).kind == b'overlay':
        return 'the target is on an overlay itself'
    if os.path.exists('/sys/fs/selinux/enforce'):
        return 'SELinux labels would copy all of it up'
    links = short_links(info)[1]
    if not links:
        return 'the storage has no short names for the layers'
    if not _PLAIN.fullmatch(target):
        return 'the name of the target has characters that mount options cannot hold'
    if len(_data(links, f'{target}/{"x" * 64}', f'{target}/{"x" * 64}')) > OVERLAY_DATA:
        return f'{len(links)} layers are more than one mount can name'
    return ''


def _data(links: List[str], upper: str, work: str) -> str:
    return f'lowerdir={":".join(links)},upperdir={upper},workdir={work},{OVERLAY_OPTIONS}'
