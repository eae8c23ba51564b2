# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages and a signed repository of rpm, by its own tools."""
from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Sequence, Set

from stackos.contents import BASE_DIRS, COMPS, PROVIDED, Package, run

_SPEC = '''Name: {name}
Epoch: {epoch}
Version: {version}
Release: {release}
Summary: {name} of StackOS
License: see Debian
BuildArch: {arch}
AutoReqProv: no
{relations}
%description
{name}
%install
mkdir -p %{{buildroot}}
cp -a {tree}/. %{{buildroot}}
{script}
%files -f {listing}
%defattr(-,root,root)
'''
#: no processing of what is packed, no build ids, little compression
_DEFINES = (
    '__os_install_post %{nil}', 'debug_package %{nil}', '_build_id_links none',
    '_binary_payload w3.zstdio', '__spec_install_post %{nil}'
)
_KEY_NAME = 'StackOS test key <stackos@example.com>'


def names_of(packages: Iterable[Package]) -> Set[str]:
    """Return names of packages, and what they provide."""
    return {package.name for package in packages} | {
        re.split('[ (]', text)[0] for package in packages for text in package.provides
    }


def build(package: Package, work: Path, repo: Path, available: Set[str]) -> None:
    """Make the .rpm of a package.

    :param available: what may be required
    """
    mark = f'{package.name}-{package.version}'
    listing, spec = work / f'{mark}.files', work / f'{mark}.spec'
    listing.write_text(''.join(_listed(package)) or '# nothing\n%dir /usr\n')
    epoch, version, release = _parts(package.version)
    spec.write_text(_SPEC.format(
        name=package.name, epoch=epoch, version=version, release=release,
        arch=package.arch, tree=package.tree, listing=listing,
        relations='\n'.join(_relations(package, available)), script=package.script
    ))
    run(
        'rpmbuild', '-bb', '--quiet', *_defined(*_DEFINES),
        *_defined(f'_topdir {work}/top', f'_rpmdir {repo}', f'_dbpath {work}/db'),
        '--buildroot', work / 'roots' / mark, spec
    )
    shutil.rmtree(work / 'roots' / mark, ignore_errors=True)


def sign(repo: Path, home: Path) -> None:
    """Sign packages and repository with a key made for it; repo.key is public.

    :param home: a new directory for gpg
    """
    home.mkdir(mode=0o700)
    gpg = ('gpg', '--homedir', home, '--batch', '--quiet')
    try:
        run(
            *gpg, '--passphrase', '', '--quick-generate-key', _KEY_NAME, 'rsa2048',
            'sign'
        )
        (repo / 'repo.key').write_text(run(*gpg, '--armor', '--export'))
        run(
            'rpmsign', '--addsign', *_defined(
                f'_gpg_name {_KEY_NAME}', f'_gpg_path {home}', '__gpg /usr/bin/gpg'
            ), *sorted(repo.rglob('*.rpm'))
        )
        (home / 'comps.xml').write_text(COMPS)
        run('createrepo_c', '--quiet', '--groupfile', home / 'comps.xml', repo)
        run(*gpg, '--armor', '--detach-sign', repo / 'repodata/repomd.xml')
    finally:
        run('gpgconf', '--homedir', home, '--kill', 'all')
    shutil.copy(repo / 'repo.key', repo / 'repodata/repomd.xml.key')


def _defined(*values: str) -> Sequence[str]:
    return [word for value in values for word in ('--define', value)]


def _listed(package: Package) -> Iterator[str]:
    """Yield lines of the section %files."""
    own = {entry.partition(':')[0] for entry in BASE_DIRS}
    for path in sorted(package.tree.rglob('*')):
        name = str(path.relative_to(package.tree))
        directory = path.is_dir() and not path.is_symlink()
        if directory and name in own and package.name != 'filesystem':
            continue
        kind = '%dir ' if directory else (
            '%config(noreplace) ' if name in package.config else ''
        )
        quoted = re.sub(r'[\[\]*?{}\\]', '?', name)
        yield f'{kind}"/{quoted}"\n'


def _relations(package: Package, available: Set[str]) -> Iterator[str]:
    """Yield lines of a spec; of Debian's alternatives the one that is there."""
    if package.name != 'filesystem':
        yield 'Requires: filesystem'
    found: Dict[str, str] = {}
    for group in package.requires:
        for choice in group.split('|'):
            match = re.match(r'([^ :(]+)\S*\s*(?:\((>=|=)\s*(\S+)\))?', choice.strip())
            if match and match[1] in available:
                found[match[1]] = f' >= {_evr(match[3])}' if match[2] else ''
                break
    for name, bound in sorted(found.items()):
        yield f'Requires: {name}{bound}'
    for name in package.recommends:
        yield f'Recommends: {name}'
    for text in package.provides:
        match = re.match(r'([^ (]+)\s*(?:\(=\s*(\S+)\))?', text)
        if match and match[1] != package.name:
            yield f'Provides: {match[1]}' + (f' = {_evr(match[2])}' if match[2] else '')
    for name in PROVIDED.get(package.name, ()):
        yield f'Provides: {name}'


def _parts(version: str) -> List[str]:
    """Take a version apart: epoch, upstream's, the packager's."""
    epoch, colon, rest = version.rpartition(':')
    upstream, _, revision = rest.rpartition('-')
    if not upstream:
        upstream, revision = rest, '0'
    return [epoch if colon else '0', upstream.replace('-', '.'), revision]


def _evr(version: str) -> str:
    """Write a version as RPM does."""
    epoch, upstream, revision = _parts(version)
    return f'{epoch}:{upstream}' + (f'-{revision}' if revision != '0' else '')
