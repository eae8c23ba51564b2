# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages from the machine's own mirror, taken apart.

Files move below /usr. Maintainer scripts are left out; what matters of them is
in contents.SCRIPTS, contents.LINKS and machine.py. Byte code of Python is made here, so that
running dnf in a root changes nothing in /usr.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import List, Sequence

from stackos import machine
from stackos.contents import (
    DROPPED, LEFT_OUT, LINKS, SCRIPTS, WANTED, Package, run
)


def download(
    work: Path, wanted: Sequence[str] = WANTED, dropped: Sequence[str] = DROPPED
) -> List[Path]:
    """Fetch packages with all that a system without any would need for them.

    :param dropped: what is taken to be there
    :raises RepositoryFailed: with what apt-get says
    """
    (work / 'archives/partial').mkdir(parents=True)
    arch = run('dpkg', '--print-architecture').strip()
    (work / 'status').write_text(''.join(
        f'Package: {name}\nStatus: install ok installed\nVersion: 99:9\n'
        f'Architecture: {arch}\nMulti-Arch: allowed\nMaintainer: none\n'
        'Description: none\n\n'
        for name in dropped
    ))
    settings = (
        f'Dir::State::status={work}/status', f'Dir::Cache::archives={work}/archives',
        # with another status file they would be others than the machine's
        'Dir::Cache::pkgcache=', 'Dir::Cache::srcpkgcache=',
        'APT::Sandbox::User=root', 'Acquire::Languages=none', 'Acquire::Retries=2'
    )
    run(
        'apt-get', '-qy', '--no-install-recommends', '--download-only',
        *(word for setting in settings for word in ('-o', setting)),
        'install', *wanted
    )
    return sorted((work / 'archives').glob('*.deb'))


def unpack(deb: Path, tree: Path, dbpath: str) -> Package:
    """Make a package of a .deb; dependencies are as Debian writes them.

    :param dbpath: where the distribution has rpm's data base
    """
    fields = dict(
        line.split(': ', 1) for line in run(
            'dpkg-deb', '--field', deb, 'Package', 'Version', 'Architecture',
            'Depends', 'Pre-Depends', 'Provides'
        ).splitlines()
    )
    tree.mkdir(parents=True)
    run('dpkg-deb', '--extract', deb, tree)
    _merge_usr(tree)
    _leave_out(tree)
    name = fields['Package']
    for link, target in LINKS.get(name, {}).items():
        (tree / link).symlink_to(target)
    if name == 'rpm-common':
        _set_dbpath(tree, dbpath)
    if list(tree.glob('usr/lib/python3*')):
        run(
            '/usr/bin/python3', '-m', 'compileall', '-q', '-s', tree, '-p', '/',
            '--invalidation-mode', 'unchecked-hash', *tree.glob('usr/lib/python3*')
        )
    depends = ', '.join(
        fields[key] for key in ('Depends', 'Pre-Depends') if key in fields
    )
    return Package(
        name, tree, fields['Version'],
        **({'arch': 'noarch'} if fields['Architecture'] == 'all' else {}),
        requires=[*_split(depends), *machine.REQUIRED.get(name, ())],
        provides=_split(fields.get('Provides', '')),
        config=set(_configuration(deb)), script=SCRIPTS.get(name) or machine.script_of(name)
    )


def _split(relations: str) -> List[str]:
    return [word.strip() for word in relations.split(',') if word.strip()]


def _configuration(deb: Path) -> List[str]:
    """Read the list that not every package has."""
    listed = subprocess.run(
        ['dpkg-deb', '--info', deb, 'conffiles'], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=False
    ).stdout
    return [line.strip().lstrip('/') for line in listed.splitlines()]


def _leave_out(tree: Path) -> None:
    for path in sorted(tree.rglob('*'), reverse=True):
        if LEFT_OUT.match(f'{path.relative_to(tree)}/'):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


def _set_dbpath(tree: Path, dbpath: str) -> None:
    """Debian's rpm has its data base in the home of who calls it."""
    macros = tree / 'usr/lib/rpm/macros'
    macros.write_text(re.sub(
        r'(?m)^%_dbpath\s.*', f'%_dbpath\t\t{dbpath}', macros.read_text()
    ))
    (tree / dbpath.lstrip('/')).mkdir(parents=True, exist_ok=True)


def _merge_usr(tree: Path) -> None:
    """Move what is in /bin, /sbin and /lib* to /usr."""
    for name in ('bin', 'sbin', 'lib', 'lib64'):
        if (tree / name).is_dir() and not (tree / name).is_symlink():
            _move_below_usr(tree, tree / name)


def _move_below_usr(tree: Path, source: Path) -> None:
    """Move a directory; a relative link that leads out of it becomes absolute."""
    target = tree / 'usr' / source.relative_to(tree)
    target.mkdir(parents=True, exist_ok=True)
    for path in list(source.iterdir()):
        other = target / path.name
        if path.is_dir() and not path.is_symlink():
            _move_below_usr(tree, path)
        elif not os.path.lexists(other):
            if path.is_symlink():
                here = Path('/') / path.relative_to(tree)
                goal = os.path.normpath(here.parent / os.readlink(path))
                inside = goal.startswith(('/bin/', '/sbin/', '/lib'))
                other.symlink_to(os.readlink(path) if inside else goal)
            else:
                shutil.move(path, other)
    shutil.rmtree(source)
