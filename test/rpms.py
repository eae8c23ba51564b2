# SPDX-License-Identifier: GPL-3.0-or-later
"""Small packages and data bases of rpm, made by its own tools."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Sequence

import pytest


def require_rpm() -> None:
    """Skip a test where rpm and rpmbuild are not installed."""
    for tool in ('rpm', 'rpmbuild'):
        if not shutil.which(tool):
            pytest.skip(f'no {tool}')


def build_rpm(
    where: Path, name: str, version: str, epoch: str = '', files: Sequence[str] = (),
    more: str = ''
) -> Path:
    """Build a package.

    :param files: their paths, behind attributes such as %caps(...); the content is
        name and version
    :param more: further sections of the spec
    """
    where.mkdir(exist_ok=True)
    spec = where / f'{name}-{version}.spec'
    made = ''.join(
        f'mkdir -p %{{buildroot}}$(dirname {path})\n'
        f'echo {name} {version} > %{{buildroot}}{path}\n'
        for path in (line.split()[-1] for line in files)
    )
    listed = '\n'.join(files)
    spec.write_text(
        f'Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: MIT\n'
        f'BuildArch: noarch\n{epoch and f"Epoch: {epoch}"}\n%description\nx\n'
        f'%install\n{made}\n{more}\n%files\n{listed}\n'
    )
    subprocess.run(
        ['rpmbuild', '-bb', '--quiet', '--define', f'_topdir {where}', spec], check=True
    )
    return where / f'RPMS/noarch/{name}-{version}-1.noarch.rpm'


def change_database(database: Path, *words: str | Path) -> None:
    """Install (-U) or erase (-e) packages in a data base of sqlite, and only there."""
    database.mkdir(parents=True, exist_ok=True)
    subprocess.run([
        'rpm', '--dbpath', database, '--define', '_db_backend sqlite', '--nodeps',
        '--justdb', *words
    ], check=True, capture_output=True)


def install_rpms(
    root: Path, *packages: Path, place: str = 'var/lib/rpm', scripts: bool = False
) -> None:
    """Install packages with their files in a root.

    :param scripts: with their scripts and triggers
    """
    (root / place).mkdir(parents=True, exist_ok=True)
    subprocess.run([
        'rpm', '--root', root, '--dbpath', f'/{place}', '--define', '_db_backend sqlite',
        '--nodeps', *(() if scripts else ('--noscripts',)), '-U', *packages
    ], check=True, capture_output=True)


def rpms_of(root: Path, place: str = 'var/lib/rpm') -> list[str]:
    """Ask rpm for all packages of a root, and whether their files are as they should."""
    rpm = ['rpm', '--root', str(root), '--dbpath', f'/{place}']
    checked = subprocess.run(
        [*rpm, '-Va', '--nomtime'], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, '', '')
    shown = subprocess.run(
        [*rpm, '-qa', '--qf', '%{NAME}-%{VERSION}\n'], capture_output=True, text=True, check=True
    )
    return sorted(shown.stdout.split())
