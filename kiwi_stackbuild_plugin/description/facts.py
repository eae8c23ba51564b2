# SPDX-License-Identifier: GPL-3.0-or-later
"""What a root tree is: its package managers and its distribution."""
from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Dict, FrozenSet, Iterable, Optional, Set, Tuple

from kiwi_stackbuild_plugin.description.description import CONFIG, parse_xml, read_file
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashRootInvalid
)
from kiwi_stackbuild_plugin.tree.opening import open_below
from kiwi_stackbuild_plugin.tree.scan import resolve_links

#: kiwi 9 calls "dnf"; 10 and later "dnf4" if that is there, else "dnf-3", for
#: "dnf" too, and never dnf itself, which may be dnf5
_DNF4 = ('dnf4', 'dnf-3') if find_spec('kiwi.package_manager.dnf4') else ('dnf',)
#: kiwi's names of package managers: format of their packages, and the
#: programs that kiwi calls inside of the root to install with them
MANAGERS: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    'apt': ('deb', ('apt-get',)),
    'zypper': ('rpm', ('zypper',)),
    'dnf': ('rpm', _DNF4),
    'dnf4': ('rpm', _DNF4),
    'dnf5': ('rpm', ('dnf5',)),
    'microdnf': ('rpm', ('microdnf',)),
    'pacman': ('pacman', ('pacman',)),
    'apk': ('apk', ('apk',)),
}
_TOOL_OF_FORMAT = {'deb': 'dpkg', 'rpm': 'rpm', 'pacman': 'pacman', 'apk': 'apk'}
_PROGRAM_DIRS = (b'usr/bin', b'bin', b'usr/sbin', b'sbin')
_OS_RELEASE = (b'usr/lib/os-release', b'etc/os-release')


@dataclass(frozen=True)
class BaseFacts:
    """What is in a root tree.

    :param managers: kiwi's names of the package managers in it
    :param formats: package formats that it has the tool for (deb, rpm, ...)
    :param distribution: ID of os-release; related: that of ID_LIKE
    :param codename: VERSION_CODENAME of os-release; version: VERSION_ID
    """

    managers: FrozenSet[str] = frozenset()
    formats: FrozenSet[str] = frozenset()
    distribution: str = ''
    related: Tuple[str, ...] = ()
    codename: str = ''
    version: str = ''


def read_facts(root_fd: int) -> BaseFacts:
    """Look at a root tree; no link is followed."""
    programs = {
        name for _, names in MANAGERS.values() for name in names
    } | set(_TOOL_OF_FORMAT.values())
    found = _present(root_fd, programs)
    release = _os_release(root_fd)
    return BaseFacts(
        frozenset(
            manager for manager, (_, names) in MANAGERS.items()
            if found.intersection(names)
        ),
        frozenset(
            kind for kind, tool in _TOOL_OF_FORMAT.items() if tool in found
        ),
        release.get('ID', ''), tuple(release.get('ID_LIKE', '').split()),
        release.get('VERSION_CODENAME', ''), release.get('VERSION_ID', '')
    )


def is_bootstrapped(facts: BaseFacts, manager: str) -> bool:
    """Tell whether kiwi's package manager can work inside of a root."""
    return manager in facts.managers and (
        MANAGERS[manager][0] in facts.formats
    )


def join_facts(facts: Iterable[BaseFacts]) -> BaseFacts:
    """Return the facts of several trees that are stacked, the first the base."""
    every = list(facts)
    first = every[0]
    return BaseFacts(
        frozenset().union(*(one.managers for one in every)),
        frozenset().union(*(one.formats for one in every)),
        first.distribution, first.related, first.codename, first.version
    )


def _present(root_fd: int, programs: Iterable[str]) -> FrozenSet[str]:
    found: Set[str] = set()
    wanted = frozenset(programs)
    for directory in _PROGRAM_DIRS:
        try:
            fd = open_below(root_fd, directory)
        except OSError:
            continue
        try:
            names = wanted.intersection(map(os.fsdecode, os.listdir(fd)))
        finally:
            os.close(fd)
        found.update(
            name for name in names
            if _is_program(root_fd, directory + b'/' + os.fsencode(name))
        )
    return frozenset(found)


def _is_program(root_fd: int, path: bytes) -> bool:
    """Tell whether a path leads, inside of the tree, to a regular file."""
    place = resolve_links(path, lambda where: _link_at(root_fd, where))
    try:
        fd = open_below(root_fd, place or b'.', os.O_PATH)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _link_at(root_fd: int, path: bytes) -> Optional[bytes]:
    parent, _, name = path.rpartition(b'/')
    try:
        fd = open_below(root_fd, parent)
    except OSError:
        return None
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def _os_release(root_fd: int) -> Dict[str, str]:
    """Read os-release(5); a tree without a readable one has none."""
    for path in _OS_RELEASE:
        try:
            data = read_file(root_fd, path)
        except KiwiStashRootInvalid:
            continue
        if data is not None:
            return _assignments(data.decode('utf-8', 'replace'))
    return {}


def _assignments(text: str) -> Dict[str, str]:
    values = {}
    for line in text.splitlines():
        name, equals, rest = line.partition('=')
        try:
            words = shlex.split(rest)
        except ValueError:
            continue
        if equals and len(words) == 1 and words[0].isprintable():
            values[name] = words[0]
    return values


def derived_uris(root_fd: int) -> FrozenSet[str]:
    """Return what the description in a root tree is derived from, for any type."""
    try:
        data = read_file(root_fd, CONFIG) or b'<none/>'
        types = list(parse_xml(data, 'image/config.xml').iter('type'))
    except (KiwiStashRootInvalid, KiwiStashDescriptionInvalid):
        return frozenset()
    return frozenset(
        one.get('derived_from') for one in types if one.get('derived_from')
    )
