# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of package repositories: the digest of what lists their packages."""
from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Dict, List, Sequence, Tuple
from urllib.parse import unquote, urlsplit

from kiwi.exceptions import KiwiError
from kiwi.system.uri import Uri

log = logging.getLogger('kiwi')

#: seconds that a server may be silent
_SILENCE = 20
#: bytes; the data base of pacman's "extra" has 8 MB
_LIMIT = 128 << 20
_WORKERS = 8
#: what lists the packages, below the place of a repository, first what is there
_LISTS: Dict[str, Tuple[str, ...]] = {
    'apt-deb': ('InRelease', 'Release', 'Packages.xz', 'Packages.gz', 'Packages'),
    'rpm-md': ('repodata/repomd.xml',),
    'pacman': ('{name}.db',),
    'apk': ('{arch}/APKINDEX.tar.gz', 'APKINDEX.tar.gz'),
}
#: packages in a directory without a list
_PACKAGES = {'rpm-dir': ('.rpm',), 'rpm-md': ('.rpm',), 'apt-deb': ('.deb',)}


@dataclass(frozen=True)
class Repository:
    """A repository as a description has it.

    :param uri: kiwi's, credentials in it or not
    :param kind: kiwi's type, such as rpm-md
    :param distribution: of a Debian one: below dists/
    :param source_type: baseurl, metalink or mirrorlist
    """

    uri: str
    kind: str
    distribution: str = ''
    source_type: str = ''
    name: str = ''
    login: Tuple[str, str] = ('', '')
    variables: Tuple[Tuple[str, str], ...] = ()

    @property
    def shown(self) -> str:
        """Name it for people, without credentials."""
        return ' '.join(word for word in (
            'repository', _without_login(self.uri), self.distribution
        ) if word)


class CannotBeAsked(Exception):
    """A repository does not tell its state, with the reason."""


def ask_repositories(repositories: Sequence[Repository]) -> List[str]:
    """Return the state of each repository, at the same time.

    :returns: a digest each, empty for one that cannot be asked, which is said
    """
    if not repositories:
        return []
    with ThreadPoolExecutor(min(_WORKERS, len(repositories))) as pool:
        return list(pool.map(_ask, repositories))


def _ask(repository: Repository) -> str:
    try:
        return repository_state(repository)
    except CannotBeAsked as issue:
        log.info(
            '%s does not tell its state: %s', repository.shown, _without_login(str(issue))
        )
        return ''


def repository_state(repository: Repository) -> str:
    """Return a digest that changes when the repository does.

    :raises CannotBeAsked: with the reason
    """
    place = _place(repository)
    if repository.kind == 'apt-deb' and repository.distribution.strip('/'):
        place = f'{place}/dists/{repository.distribution.strip("/")}'
    names = [
        name.format(name=repository.name, arch=dict(repository.variables).get('$arch', ''))
        for name in _LISTS.get(repository.kind, ())
    ]
    first = ''
    for name in names:
        try:
            return _digest(_read(f'{place}/{name}', repository.login))
        except CannotBeAsked as issue:
            first = first or str(issue)
    if os.path.isdir(place):
        return _directory_state(place, repository.kind)
    raise CannotBeAsked(first or f'nothing is known of the type {repository.kind!r}')


def _place(repository: Repository) -> str:
    """Return the URL or directory that the lists are below."""
    uri = repository.uri
    for variable, value in repository.variables:
        uri = uri.replace(variable, value)
    if repository.source_type in ('metalink', 'mirrorlist'):
        return _first_mirror(_read(uri, repository.login), uri)
    if uri.startswith('/'):
        return uri.rstrip('/')
    try:
        return str(Uri(uri, repository.kind).translate(False)).rstrip('/')
    except (KiwiError, ValueError) as issue:
        raise CannotBeAsked(str(issue)) from None


def _first_mirror(data: bytes, uri: str) -> str:
    """Return the first address in a metalink or in a list of mirrors."""
    for found in re.finditer(rb'(?:https?|ftp)://[^\s<>"]+', data):
        address = found[0].decode('ascii', 'replace')
        if 'repomd.xml' in address or not data.lstrip().startswith(b'<'):
            return address.partition('/repodata/repomd.xml')[0].rstrip('/')
    raise CannotBeAsked(f'no mirror in {uri}')


def _directory_state(path: str, kind: str) -> str:
    """Return the state of packages that lie in a directory: names, sizes, times."""
    rows = []
    try:
        for directory, names, files in os.walk(path):
            names.sort()
            for name in sorted(files):
                if name.endswith(_PACKAGES.get(kind, ('',))):
                    status = os.lstat(os.path.join(directory, name))
                    rows.append(f'{directory}/{name} {status.st_size} {status.st_mtime_ns}')
    except OSError as issue:
        raise CannotBeAsked(f'{path}: {issue.strerror}') from None
    return _digest('\n'.join(rows).encode(errors='surrogateescape'))


def _read(place: str, login: Tuple[str, str]) -> bytes:
    """Read a file of a server or of this machine.

    :raises CannotBeAsked: with the reason
    """
    try:
        if place.startswith('/'):
            fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, 'rb') as source:
                return source.read(_LIMIT)
        with urllib.request.urlopen(_request(place, login), timeout=_SILENCE) as answer:
            return bytes(answer.read(_LIMIT))
    except (OSError, HTTPException, ValueError) as issue:
        raise CannotBeAsked(f'{place}: {issue}') from None


def _request(place: str, login: Tuple[str, str]) -> urllib.request.Request:
    parts = urlsplit(place)
    if parts.scheme not in ('http', 'https', 'ftp'):
        raise ValueError(f'no way to read {parts.scheme}://')
    user, password = login
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or '')
        if parts.scheme != 'ftp':
            place = parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()
    request = urllib.request.Request(place, headers={'User-Agent': 'kiwi-stackbuild'})
    if user and parts.scheme != 'ftp':
        words = base64.b64encode(f'{user}:{password}'.encode()).decode()
        # not for whom the server sends us to
        request.add_unredirected_header('Authorization', f'Basic {words}')
    return request


def _without_login(text: str) -> str:
    return re.sub(r'//[^/\s]*@', '//', text)


def _digest(data: bytes) -> str:
    return f'sha256:{hashlib.sha256(data).hexdigest()}'
