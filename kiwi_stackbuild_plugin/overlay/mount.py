# SPDX-License-Identifier: GPL-3.0-or-later
"""An overlay mount on the layers of a stored image, and why there may be none."""
from __future__ import annotations

import os
import re
from typing import List, Optional, Tuple

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.mounts import mounted_on
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.layer_directories import open_layers

#: attributes that the kernel keeps to itself in an overlay
MARKS = ('trusted.overlay.', 'user.overlay.')
#: whatever storage.conf or the kernel's defaults say: what is in the upper
#: directory then needs no other mark than whiteouts and opaque directories
_OPTIONS = 'index=off,metacopy=off,redirect_dir=off,xino=auto'
#: bytes of the data of a mount: one page, less its end
_PAGE = 4095
_LINK = re.compile('[A-Z0-9]{26}')
_PLAIN = re.compile(r'[\w./+~=@ -]*', re.ASCII)


def mount_overlay(
    info: ImageInfo, upper: str, work: str, root: str, spare: bool = True
) -> None:
    """Mount the layers of an image, and on them a directory that takes the changes.

    :param spare: a second mount of the root on itself, for kiwi to take away at its end
    :raises KiwiStashToolFailed: if mount(8) fails
    """
    directory, links = _short_links(info)
    run_command([
        'env', f'--chdir={directory}', 'mount', '-t', 'overlay', 'overlay',
        '-o', _data(links, upper, work), root
    ])
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
    links = _short_links(info)[1]
    if not links:
        return 'the storage has no short names for the layers'
    if not _PLAIN.fullmatch(target):
        return 'the name of the target has characters that mount options cannot hold'
    if len(_data(links, f'{target}/{"x" * 64}', f'{target}/{"x" * 64}')) > _PAGE:
        return f'{len(links)} layers are more than one mount can name'
    return ''


def _data(links: List[str], upper: str, work: str) -> str:
    return f'lowerdir={":".join(links)},upperdir={upper},workdir={work},{_OPTIONS}'


def _short_links(info: ImageInfo) -> Tuple[str, List[str]]:
    """Return the directory of the overlay driver and its short names in it.

    The topmost first; none where a layer has none (containers/storage,
    drivers/overlay: <layer>/link names a link in l/).
    """
    directory = ''
    found: List[str] = []
    for path in reversed(info.directories):
        layer = os.path.dirname(path)
        directory = os.path.dirname(layer)
        name = _read(f'{layer}/link')
        link = f'l/{name}'
        if not name or os.path.realpath(f'{directory}/{link}') != os.path.realpath(path):
            return directory, []
        found.append(link)
    return directory, found


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding='ascii') as text:
            name = text.read(64).strip()
    except (OSError, ValueError):
        return None
    return name if _LINK.fullmatch(name) else None
