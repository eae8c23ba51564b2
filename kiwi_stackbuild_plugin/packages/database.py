# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of a root tree, read from its own data bases.

Nothing of the tree is run. The forms of dpkg, apk and pacman are lines of
text of which three fields are wanted: a library (python-debian, pyalpm) would
bring a parser for all the others, and its own idea of what may be opened.
"""
from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import (
    Callable, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional,
    Sequence, Tuple
)

from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError, printable, printable_path
from kiwi_stackbuild_plugin.tree.layered import TreeFiles

log = logging.getLogger('kiwi')

#: bytes of a data base of text; that of a whole desktop has 5 MB
TEXT_LIMIT = 128 << 20
#: bytes that one package of a data base with a file each may have
_ENTRY_LIMIT = 1 << 20
#: a distribution has fewer
_MOST = 200_000
_PIECE = 1 << 20

#: dpkg-query(1): all other states have files of the package in the tree
_NOT_INSTALLED = {'not-installed', 'config-files', 'half-installed'}

_DPKG = b'var/lib/dpkg/status'
_DPKG_PARTS = b'var/lib/dpkg/status.d'
_APK = (b'usr/lib/apk/db/installed', b'lib/apk/db/installed')
_PACMAN = b'var/lib/pacman/local'
#: below one of these is all that is read
PLACES = (
    b'var/lib/dpkg/', b'usr/lib/apk/db/', b'lib/apk/db/', b'var/lib/pacman/local/',
    b'usr/lib/sysimage/rpm/', b'var/lib/rpm/', b'usr/share/rpm/'
)

_DPKG_FIELD = re.compile(
    # nothing to go back to in it: a line may have any number of blanks
    rb'^(package|version|architecture|status|maintainer|homepage|source):(.*)$',
    re.IGNORECASE | re.MULTILINE
)
_APK_FIELD = re.compile(rb'^([PVALUmoC]):(.*)$', re.MULTILINE)
_PACMAN_FIELD = re.compile(
    rb'^%(NAME|VERSION|ARCH|LICENSE|URL|PACKAGER|BASE)%\n((?:[^%\n].*\n?)*)', re.MULTILINE
)


class Details(NamedTuple):
    """What else a data base says of a package, in its own words.

    licenses: what all have to be kept; supplier: maintainer, packager or
    vendor; source: the package it was built from
    """

    licenses: Tuple[str, ...] = ()
    supplier: str = ''
    homepage: str = ''
    source: str = ''
    checksum: str = ''


@dataclass(frozen=True, order=True)
class Package:
    """An installed package; format is deb, rpm, apk or pacman.

    Two are the same whatever the details say.
    """

    format: str
    name: str
    architecture: str
    version: str
    details: Details = field(default=Details(), compare=False, repr=False)


@dataclass(frozen=True)
class Packages:
    """The packages of a tree; unread: why those of a format are not known."""

    found: FrozenSet[Package] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)


#: reads the rpm data base of a tree; rpm.py has the one there is
RpmReader = Callable[[TreeFiles], Iterator[Package]]


def read_packages(tree: TreeFiles, read_rpm: RpmReader) -> Packages:
    """Return the packages of a tree; what cannot be read is named in a warning."""
    found: List[Package] = []
    unread: Dict[str, str] = {}
    for kind, read in (
        ('deb', _read_dpkg), ('rpm', read_rpm), ('apk', _read_apk), ('pacman', _read_pacman)
    ):
        try:
            here = list(islice(read(tree), _MOST + 1))
            if len(here) > _MOST:
                raise OSError(0, f'more than {_MOST} packages')
            found += here
        except OSError as issue:
            name = issue.filename
            where = f'{printable_path(name)}: ' if isinstance(name, bytes) else ''
            unread[kind] = f'{where}{issue.strerror or issue}'
        except KiwiStackBuildError as issue:
            unread[kind] = issue.summary
    for kind, why in unread.items():
        log.warning('the %s packages are not read: %s', kind, printable(why))
    return Packages(
        frozenset(one for one in found if one.format not in unread), unread
    )


def concerns_packages(path: bytes) -> bool:
    """Tell whether what is at a path of a tree has to do with its packages."""
    return (path + b'/').startswith(PLACES)


def read_limited(tree: TreeFiles, path: bytes, limit: int) -> Optional[bytes]:
    """Read a file of a tree.

    :raises OSError: if it is longer, or something else is in the way
    """
    fd = tree.open(path)
    if fd is None:
        return None
    try:
        size = os.fstat(fd).st_size
        if size > limit:
            raise OSError(0, f'{size} bytes, at most {limit} are read', path)
        pieces: List[bytes] = []
        while size > 0 and (piece := os.read(fd, min(size, _PIECE))):
            pieces.append(piece)
            size -= len(piece)
        return b''.join(pieces)
    finally:
        os.close(fd)


def _read_dpkg(tree: TreeFiles) -> Iterator[Package]:
    yield from _parse_dpkg(read_limited(tree, _DPKG, TEXT_LIMIT) or b'')
    # images without dpkg (distroless) have a file for each package
    for name in _few(tree.names(_DPKG_PARTS), _DPKG_PARTS):
        if not name.endswith(b'.md5sums'):
            path = _DPKG_PARTS + b'/' + name
            yield from _parse_dpkg(read_limited(tree, path, _ENTRY_LIMIT) or b'')


def _parse_dpkg(data: bytes) -> Iterator[Package]:
    for stanza in re.split(rb'\n[ \t\r]*\n', data):
        values = {
            name.lower(): value.strip() for name, value in reversed(_DPKG_FIELD.findall(stanza))
        }
        state = _text(values.get(b'status', b'')).split()
        if state and state[-1] in _NOT_INSTALLED:
            continue
        yield from _package('deb', values, (b'package', b'architecture', b'version'), (
            b'', b'maintainer', b'homepage', b'source', b''
        ))


def _read_apk(tree: TreeFiles) -> Iterator[Package]:
    # /lib is a link to usr/lib, or the other way round: one of them can be read
    problem: Optional[OSError] = None
    for path in _APK:
        try:
            data = read_limited(tree, path, TEXT_LIMIT)
        except NotADirectoryError as issue:
            problem = issue
            continue
        if data is not None:
            for stanza in data.split(b'\n\n'):
                values = dict(reversed(_APK_FIELD.findall(stanza)))
                yield from _package('apk', values, (b'P', b'A', b'V'), (
                    b'L', b'm', b'U', b'o', b'C'
                ))
            return
    # a link in the place of lib alone says nothing of a data base
    if problem is not None:
        log.debug('apk: %s', problem)


def _read_pacman(tree: TreeFiles) -> Iterator[Package]:
    for name in _few(tree.names(_PACMAN), _PACMAN):
        if name == b'ALPM_DB_VERSION':
            continue
        data = read_limited(tree, b'%b/%b/desc' % (_PACMAN, name), _ENTRY_LIMIT)
        values = dict(reversed(_PACMAN_FIELD.findall(data or b'')))
        yield from _package('pacman', values, (b'NAME', b'ARCH', b'VERSION'), (
            b'LICENSE', b'PACKAGER', b'URL', b'BASE', b''
        ))


def _package(
    kind: str, values: Mapping[bytes, bytes], keys: Sequence[bytes],
    more: Tuple[bytes, bytes, bytes, bytes, bytes]
) -> Iterator[Package]:
    """Yield the package of a data base's fields, if they name one.

    :param keys: those of name, architecture and version
    :param more: those of the details
    """
    if values.get(keys[0]):
        name, architecture, version = (
            _text(values.get(key, b'').partition(b'\n')[0]) for key in keys
        )
        licenses, *others = (values.get(key, b'') for key in more)
        yield Package(kind, name, architecture, version, Details(
            tuple(map(_text, licenses.splitlines())), *map(_text, others)
        ))


def _text(data: bytes) -> str:
    return data.decode('utf-8', 'replace').strip()


def _few(names: List[bytes], path: bytes) -> List[bytes]:
    if len(names) > _MOST:
        raise OSError(0, f'{len(names)} entries, at most {_MOST} are read', path)
    return names
