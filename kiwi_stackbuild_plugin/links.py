# SPDX-License-Identifier: GPL-3.0-or-later
"""Links in a root through which kiwi would write out of it.

Kiwi writes into a root from outside, where an absolute link leads to the
files of the build host. Which paths it writes was read from its sources
(kiwi/system, repository, bootloader, package_manager; 9.24 to 11.1).
"""
from __future__ import annotations

import os
from typing import Iterator

from kiwi_stackbuild_plugin.errors import KiwiStashRootInvalid

#: no links at all here: kiwi binds, removes and makes these
_DIRECTORIES = ('image', 'etc', 'dev', 'proc', 'sys', 'run', 'var', 'boot')
#: directories and files that kiwi makes or writes; links within the root pass
_WRITTEN = (
    '.profile', '.kconfig', 'linuxrc', 'init', 'recovery.tar', 'kiwi_containers',
    'usr/lib', 'usr/share', 'tmp/kiwi',
    'etc/ImageID', 'etc/machine-id', 'etc/fstab', 'etc/fstab.append',
    'etc/fstab.patch', 'etc/fstab.script', 'etc/hosts.kiwi', 'etc/hosts.sha',
    'etc/resolv.conf.kiwi', 'etc/resolv.conf.sha', 'etc/sysconfig/proxy.kiwi',
    'etc/sysconfig/proxy.sha', 'etc/sysconfig/bootloader', 'etc/sysconfig/keyboard',
    'etc/sysconfig/language', 'etc/default/grub', 'etc/default/grub.d',
    'etc/default/zipl2grub.conf.in', 'etc/default/zipl2grub.conf.in.orig',
    'etc/modprobe.d', 'etc/dracut.conf.d', 'etc/apt/sources.list.d',
    'etc/apt/preferences.d', 'etc/apt/keyrings', 'etc/apt/trusted.gpg.d',
    'etc/apt/apt.conf', 'etc/apt/sources.list', 'etc/pacman.d', 'etc/pacman.conf',
    'etc/yum.repos.d', 'etc/dnf/plugins', 'etc/dnf/vars', 'etc/dnf/libdnf5-plugins',
    'etc/zypp/repos.d', 'etc/zypp/credentials.d', 'etc/zypp/zypp.conf',
    'var/cache/kiwi', 'var/cache/dnf', 'var/cache/libdnf5', 'var/lib/pacman',
    'var/lib/dpkg/status.kiwi', 'var/lib/dpkg/available', 'var/lib/rpm',
    'boot/grub/earlyboot.cfg', 'boot/grub2/earlyboot.cfg', 'boot/efi/EFI/BOOT',
    'boot/loader/entries', 'boot/grub/grub.cfg', 'boot/grub2/grub.cfg'
)
#: kiwi puts links there; a link to a directory gets them into that one
_REPLACED = ('etc/resolv.conf', 'etc/hosts', 'etc/sysconfig/proxy')
_MOST_LINKS = 40


def check_links(root: str) -> None:
    """Refuse a root in which kiwi's own writes would go through a link.

    :raises KiwiStashRootInvalid: naming the link
    """
    for name in _DIRECTORIES:
        path = os.path.join(root, name)
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
            raise _refused(name, 'is a link or file')
    for name in (*_WRITTEN, *_description(root)):
        if _leads_out(root, name):
            raise _refused(name, 'is, or is below, a link out of the root')
    for name in _REPLACED:
        path = os.path.join(root, name)
        if os.path.islink(path) and os.path.isdir(path):
            raise _refused(name, 'is a link to a directory')


def _refused(name: str, why: str) -> KiwiStashRootInvalid:
    return KiwiStashRootInvalid(
        f'the image is refused: {name!r} in it {why}; kiwi would write through it '
        'to the files of this machine'
    )


def _description(root: str) -> Iterator[str]:
    path = os.path.join(root, 'image')
    for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
        yield f'image/{name}'


def _leads_out(root: str, path: str) -> bool:
    """Tell whether a path, as the host resolves it, leaves the root."""
    names, here, links = path.split('/')[::-1], [''], 0
    while names:
        name = names.pop()
        if name in ('', '.'):
            continue
        if name == '..':
            if len(here) == 1:
                return True
            here.pop()
            continue
        full = root + '/'.join([*here, name])
        if not os.path.islink(full):
            here.append(name)
            continue
        links += 1
        target = os.readlink(full)
        if target.startswith('/') or links > _MOST_LINKS:
            return True
        names += target.split('/')[::-1]
    return False
