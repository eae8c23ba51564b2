# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages a root has, by its own data base; nothing of it is run."""
from __future__ import annotations

import os
import re
import shutil
from typing import Callable, Dict, Iterator, Optional, Set

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.packages.database import TEXT_LIMIT, read_limited
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.opening import open_below

_DPKG_STATUS = b'var/lib/dpkg/status'
_APK_INSTALLED = (b'lib/apk/db/installed', b'usr/lib/apk/db/installed')
_PACMAN_LOCAL = b'var/lib/pacman/local'
#: directories of rpm's data base, and the files of its formats
_RPM_PATHS = (b'usr/lib/sysimage/rpm', b'var/lib/rpm')
_RPM_FILES = ('rpmdb.sqlite', 'Packages.db', 'Packages')
#: all the names that rpm knows a package by
_RPM_NAMES = (
    '%{NAME}\\n%{NAME}.%{ARCH}\\n%{NAME}-%{VERSION}\\n%{NAME}-%{VERSION}-%{RELEASE}\\n'
    '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n[%{PROVIDENAME}\\n]'
)
_NOT_INSTALLED = ('not-installed', 'config-files')


def installed_packages(root: str, root_fd: int, kind: str) -> Optional[Set[str]]:
    """Return the names of all packages of a root, with what they provide for rpm.

    :param root: its path, for rpm
    :param kind: deb, rpm, pacman or apk
    :returns: None where the data base cannot be read
    """
    if kind == 'rpm':
        return _of_rpm(root, root_fd)
    reader = _READERS.get(kind)
    try:
        return set(reader(root_fd)) if reader else None
    except OSError:
        return None


def missed_by_apt(root_fd: int) -> Set[str]:
    """Return packages that installed ones depend on, and that are not there.

    apt installs nothing as long as there are any. Versions are not looked at.
    """
    try:
        blocks = list(_dpkg_blocks(root_fd))
    except OSError:
        return set()
    there = {fields['Package'] for fields in blocks} | {
        name for fields in blocks for name in _names(fields.get('Provides', ''))
    }
    return {
        name for fields in blocks for field in ('Depends', 'Pre-Depends')
        for clause in fields.get(field, '').split(',')
        if not there.intersection(_names(clause.replace('|', ',')))
        for name in _names(clause.replace('|', ','))
    }


def _names(relations: str) -> Iterator[str]:
    """Yield names of a list of relations (deb-control), without versions."""
    for part in relations.split(','):
        if part.strip():
            yield re.split(r'[\s(:]', part.strip(), maxsplit=1)[0]


def _dpkg_blocks(root_fd: int) -> Iterator[Dict[str, str]]:
    for block in _read(root_fd, _DPKG_STATUS).split('\n\n'):
        fields = dict(re.findall(r'^([A-Z][A-Za-z-]*): *(.*)$', block, re.M))
        state = fields.get('Status', '').split()[-1:]
        if state and state[0] not in _NOT_INSTALLED and 'Package' in fields:
            yield fields


def _of_dpkg(root_fd: int) -> Iterator[str]:
    for fields in _dpkg_blocks(root_fd):
        yield fields['Package']
        yield f'{fields["Package"]}:{fields.get("Architecture", "")}'


def _of_apk(root_fd: int) -> Iterator[str]:
    for path in _APK_INSTALLED:
        try:
            text = _read(root_fd, path)
        except FileNotFoundError:
            continue
        yield from re.findall(r'^P:(.+)$', text, re.M)
        return
    raise FileNotFoundError(_APK_INSTALLED[0])


def _of_pacman(root_fd: int) -> Iterator[str]:
    fd = open_below(root_fd, _PACMAN_LOCAL)
    try:
        for name in os.listdir(fd):
            yield name.rsplit('-', 2)[0]
    finally:
        os.close(fd)


_READERS: Dict[str, Callable[[int], Iterator[str]]] = {
    'deb': _of_dpkg, 'apk': _of_apk, 'pacman': _of_pacman
}


def _of_rpm(root: str, root_fd: int) -> Optional[Set[str]]:
    """Ask the host's rpm, as kiwi does for its list of packages."""
    path = _rpm_path(root_fd)
    if path is None or not shutil.which('rpm'):
        return None
    done = run_command([
        'rpm', '--root', root, '--dbpath', f'/{os.fsdecode(path)}', '-qa', '--qf', _RPM_NAMES
    ], check=False)
    names = set(done.stdout.split('\n')) - {''}
    return names if done.returncode == 0 and names else None


def _rpm_path(root_fd: int) -> Optional[bytes]:
    for path in _RPM_PATHS:
        try:
            fd = open_below(root_fd, path)
        except OSError:
            continue
        try:
            if set(_RPM_FILES).intersection(os.listdir(fd)):
                return path
        finally:
            os.close(fd)
    return None


def _read(root_fd: int, path: bytes) -> str:
    data = read_limited(LayeredTree([root_fd]), path, TEXT_LIMIT)
    if data is None:
        raise FileNotFoundError(path)
    return data.decode('utf-8', 'surrogateescape')
