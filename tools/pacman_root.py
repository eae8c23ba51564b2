#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a pacman repository out of Debian packages, and descriptions of roots of it.

    tools/pacman_root.py REPOSITORY [--description DIR]

As tools/rpm_repository.py does it for rpm: a small distribution with pacman in it.
Needs Debian's pacman-package-manager (pacman, repo-add), which tools/system-packages
installs with the set "matrix".
"""
from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, Sequence, Set

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kiwi_root import Description
from stackos.contents import Package, RepositoryFailed, own_packages, run
from stackos.debs import download, unpack
from stackos.rpms import names_of

TEMPLATE = Path(__file__).resolve().parent.parent / 'demo/stackos'
#: of the repository, its data base, and in kiwi's description
ALIAS = 'stackos'
TOOLS = ('pacman', 'repo-add')
_WANTED = (
    'bash', 'coreutils', 'grep', 'sed', 'gawk', 'tar', 'gzip', 'findutils', 'libc-bin',
    'passwd', 'ca-certificates', 'pacman-package-manager', 'tree', 'htop', 'nano'
)
#: pacman's package is called as kiwi asks for it
_NAMES = {'pacman-package-manager': 'pacman'}


def make_repository(repo: Path) -> Path:
    """Make a repository, a new directory; return it.

    :raises RepositoryFailed: with what a tool says
    """
    repo.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix='pacman.', dir='/var/tmp') as scratch:
        work = Path(scratch)
        packages = [
            unpack(deb, work / 'trees' / deb.stem, '/var/lib/rpm')
            for deb in download(work, _WANTED)
        ] + own_packages(work, 'arch')
        available = names_of(packages)
        made = [_build(package, repo, available) for package in packages]
    run('repo-add', '--quiet', repo / f'{ALIAS}.db.tar.gz', *made)
    return repo


def _build(package: Package, repo: Path, available: Set[str]) -> Path:
    name = _NAMES.get(package.name, package.name)
    version = _version(package.version)
    arch = 'any' if package.arch == 'noarch' else package.arch
    (package.tree / '.PKGINFO').write_text('\n'.join([
        f'pkgname = {name}', f'pkgver = {version}', f'pkgdesc = {name} of StackOS',
        f'arch = {arch}', 'size = 1', 'builddate = 1', 'packager = StackOS',
        *_relations(package, available)
    ]) + '\n')
    target = repo / f'{name}-{version}-{arch}.pkg.tar.gz'
    contents = sorted(path.name for path in package.tree.iterdir() if path.name != '.PKGINFO')
    run(
        'tar', '--create', '--use-compress-program=gzip -1', f'--file={target}',
        '--owner=0', '--group=0', f'--directory={package.tree}', '.PKGINFO', *contents
    )
    shutil.rmtree(package.tree)
    return target


def _relations(package: Package, available: Set[str]) -> Iterator[str]:
    """Yield lines; of Debian's alternatives the one that is there, of any version."""
    found: Dict[str, None] = {}
    for group in package.requires:
        for choice in group.split('|'):
            name = re.split('[ :(]', choice.strip())[0]
            if name in available and name != package.name:
                found[name] = None
                break
    if package.name != 'filesystem':
        found['filesystem'] = None
    yield from (f'depend = {_NAMES.get(name, name)}' for name in found)
    for text in package.provides:
        yield f'provides = {re.split("[ (]", text)[0]}'


def _version(version: str) -> str:
    upstream, _, revision = version.rpartition('-')
    if not upstream:
        upstream, revision = version, '1'
    return f'{upstream.replace("-", ".")}-{revision.replace(":", ".")}'


def write_description(
    where: Path, repository: Path, packages: Sequence[str] = (), name: str = 'real'
) -> Path:
    """Write kiwi's description of a root with more packages; return its directory."""
    description = Description(TEMPLATE, name, ())
    description.element('preferences/packagemanager').text = 'pacman'
    bootstrap = description.element("packages[@type='bootstrap']")
    for node in list(bootstrap):
        if node.get('name') == 'rpm':
            bootstrap.remove(node)
    description.add_packages('bootstrap', ['grep', 'pacman', 'libc-bin'])
    description.add_packages('image', packages)
    node = description.element('repository')
    node.attrib.pop('type')
    node.set('alias', ALIAS)
    description.element('repository/source').set('path', f'dir://{repository}')
    return Path(description.write(str(where)))


def main() -> int:
    """Command line; prints the path."""
    parser = argparse.ArgumentParser(description='Make a small pacman repository.')
    parser.add_argument('repository', type=Path, help='a new directory')
    parser.add_argument('--description', type=Path, help='also write one here')
    given = parser.parse_args()
    try:
        print(make_repository(given.repository.resolve()))
        if given.description:
            print(write_description(given.description, given.repository.resolve()))
    except RepositoryFailed as issue:
        print(f'pacman_root: {issue}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
