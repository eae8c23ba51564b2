# SPDX-License-Identifier: GPL-3.0-or-later
"""Links in a root through which kiwi would write out of it.

Kiwi writes into a root from outside, where an absolute link leads to the
files of the build host. The paths here are those that it writes for a
description, so that a root is refused before anything is copied; a test
records what each kiwi writes and compares. What is missing nevertheless, and
what depends on what happens meanwhile, guard.py stops as it happens.
"""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Optional, Tuple

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashRootInvalid, printable
)
from kiwi_stackbuild_plugin.host.tool_writes import MANAGED, rpm_database

log = logging.getLogger('kiwi')

_ALWAYS = ('image',)
#: kiwi system build: binds, intermediate files, what the description sets
_BUILD = (
    'dev', 'proc', 'sys', '.profile', '.kconfig', 'etc/ImageID', 'etc/hosts.kiwi',
    'etc/hosts.sha', 'etc/resolv.conf.kiwi', 'etc/resolv.conf.sha',
    'etc/sysconfig/proxy.kiwi', 'etc/sysconfig/proxy.sha', 'etc/sysconfig/keyboard',
    'var/cache/kiwi'
)
#: kiwi puts links there; a link to a directory gets them into that one
_BUILD_REPLACED = ('etc/resolv.conf', 'etc/hosts', 'etc/sysconfig/proxy')
_DNF = ('etc/yum.repos.d', 'etc/dnf/vars', 'usr/lib/rpm/macros.d')
#: what the repository and package manager classes of kiwi write
_MANAGERS = {
    'apk': ('kiwi_apk.config', 'etc/apk'),
    'apt': (
        'kiwi_apt.config', 'etc/apt/sources.list.d', 'etc/apt/preferences.d',
        'etc/apt/auth.conf.d', 'etc/apt/keyrings', 'etc/apt/trusted.gpg',
        'etc/apt/trusted.gpg.d', 'var/lib/dpkg/available', 'var/lib/dpkg/status.kiwi',
        'usr/sbin/ldconfig.orig'
    ),
    **dict.fromkeys(('dnf', 'dnf4'), (
        'kiwi_dnf4.config', 'etc/dnf/plugins', 'var/cache/dnf', *_DNF
    )),
    'dnf5': ('kiwi_dnf5.config', 'etc/dnf/libdnf5-plugins', 'var/cache/libdnf5', *_DNF),
    'microdnf': ('kiwi_dnf4.config', 'etc/dnf/plugins', 'var/cache/dnf', *_DNF),
    'pacman': ('kiwi_pacman.config', 'etc/pacman.d', 'var/lib/pacman'),
    'zypper': (
        'kiwi_zypper.config', 'kiwi_zypp.config', 'etc/zypp/repos.d',
        'etc/zypp/credentials.d', 'usr/lib/rpm/macros.d'
    ),
}
_OUTSIDE = {'apt': 'apt-get'}
_RPM_BASED = ('dnf', 'dnf4', 'dnf5', 'microdnf', 'zypper')
_ARCHIVES = ('tbz', 'cpio')
_CONTAINERS = ('appx', 'docker', 'oci', 'wsl')
#: what the builders write in the root for containers
_CONTAINER = (
    'etc/securetty', 'etc/sysconfig/boot', 'etc/sysconfig/bootloader',
    'usr/lib/systemd/system'
)
#: and for what boots
_BOOTED = (
    'dev', 'proc', 'sys', 'tmp', 'config.bootoptions', 'recovery.tar',
    'recovery.partition.size', 'boot/grub', 'boot/grub2', 'boot/mbrid',
    'boot/efi/EFI/BOOT', 'boot/efi/loader', 'boot/loader/entries', 'boot/zipl',
    'boot/grub/grub.cfg', 'boot/grub2/grub.cfg', 'boot/grub/earlyboot.cfg',
    'boot/grub2/earlyboot.cfg', 'etc/default/grub', 'etc/default/grub.d',
    'etc/default/zipl2grub.conf.in', 'etc/default/zipl2grub.conf.in.orig',
    'etc/dracut.conf.d', 'etc/fstab', 'etc/fstab.append', 'etc/fstab.patch',
    'etc/fstab.script', 'etc/kernel/cmdline', 'etc/machine-id', 'etc/mdadm.conf',
    'etc/sysconfig/bootloader', 'etc/veritytab', 'root/.luks.header'
)
_MOST_LINKS = 40


@dataclass(frozen=True)
class RootWork:
    """What decides which names of a root kiwi writes; None: not known, all.

    :param builds: packages and overlays too, not only the image
    :param manager: kiwi's name of the package manager
    :param image: kiwi's name of the type
    :param bootstraps: the package manager of this machine works in the root
    :param targets: where files and archives of the description go
    """

    builds: bool = True
    manager: Optional[str] = None
    image: Optional[str] = None
    bootstraps: bool = True
    targets: Tuple[str, ...] = ()


#: nothing is known: all that kiwi may write
EVERYTHING = RootWork()
#: a type whose builder writes nothing in the root: what stands for no image at all
NO_IMAGE = 'tbz'
#: kiwi does nothing with the root
NOTHING = RootWork(builds=False, image=NO_IMAGE)


def read_work(state: Any, builds: bool, bootstraps: bool = True) -> RootWork:
    """Return what kiwi will do with a root for a description.

    :param state: kiwi's XMLState of it
    :raises KiwiStashDescriptionInvalid: for a place outside of the root
    """
    for what, path in _places(state):
        if '..' in path.split('/') and not (
            os.path.normpath(f'/root/{path}') + '/'
        ).startswith('/root/'):
            raise KiwiStashDescriptionInvalid(
                f'image description: the {what} {path!r} is outside of the image'
            )
    return RootWork(
        builds, state.get_package_manager(), state.get_build_type_name(), bootstraps,
        tuple(path for what, path in _places(state) if what.startswith('target'))
        if builds else ()
    )


def _places(state: Any) -> Iterator[Tuple[str, str]]:
    """Give all paths in the root that a description names."""
    for name in ('get_system_files', 'get_bootstrap_files'):
        # kiwi 9.24 knows no files
        files: Mapping[str, Any] = getattr(state, name, dict)()
        for file, values in files.items():
            yield f'target of the file {file!r}', values.target or ''
    for archives in (
        state.get_system_archives_target_dirs(),
        state.get_bootstrap_archives_target_dirs()
    ):
        for name, target in archives.items():
            yield f'target of the archive {name!r}', target or ''
    for volume in state.get_volumes():
        yield 'volume', volume.realpath or ''
        yield 'volume', volume.mountpoint or ''
    for partition in state.get_partitions().values():
        yield 'mount point of a partition', partition.mountpoint or ''
    if state.build_type:
        spare = state.build_type.get_spare_part_mountpoint()
        yield 'mount point of the spare partition', spare or ''


def check_links(root: str, work: RootWork = EVERYTHING) -> None:
    """Refuse a root in which kiwi's own writes would go through a link.

    :raises KiwiStashRootInvalid: naming the link
    """
    for name in _ALWAYS:
        path = os.path.join(root, name)
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
            raise _refused(name, 'is a link or file')
    written, replaced = _names(work)
    for name in (*written, *_description(root)):
        if _leads_out(root, name):
            raise _refused(name, 'is, or is below, a link out of the root')
    for name in replaced:
        path = os.path.join(root, name)
        if _leads_out(root, os.path.dirname(name)) or (
            os.path.islink(path) and os.path.isdir(path) and _leads_out(root, name)
        ):
            raise _refused(name, 'is a link to a directory, or is below a link out')


def warn_of_links(name: str, root: str, work: RootWork) -> None:
    """Say that a tree cannot be built as it is, where nothing is built yet.

    :param name: whose tree it is
    """
    try:
        check_links(root, work)
    except KiwiStashRootInvalid as issue:
        log.warning('%s: %s', printable(name), issue.summary)


def _names(work: RootWork) -> Tuple[List[str], List[str]]:
    """Return the names that are written, and those that are replaced."""
    written: List[str] = []
    if work.builds:
        written += _BUILD
        for manager in _MANAGERS if work.manager is None else (work.manager,):
            written += _MANAGERS.get(manager, ())
            if work.bootstraps or manager == 'zypper':
                written += MANAGED.get(_OUTSIDE.get(manager, manager), ())
            if manager in _RPM_BASED:
                written += rpm_database()
    if work.image is None or work.image in _CONTAINERS:
        written += _CONTAINER
    if work.image is None or work.image not in (*_CONTAINERS, *_ARCHIVES):
        written += _BOOTED
    targets = [path.strip('/') for path in work.targets if path.strip('/')]
    return written, [*(_BUILD_REPLACED if work.builds else ()), *targets]


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
