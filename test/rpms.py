# SPDX-License-Identifier: GPL-3.0-or-later
"""Small packages and data bases of rpm, made by its own tools."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def require_rpm() -> None:
    """Skip a test where rpm and rpmbuild are not installed."""
    for tool in ('rpm', 'rpmbuild'):
        if not shutil.which(tool):
            pytest.skip(f'no {tool}')


def build_rpm(where: Path, name: str, version: str, epoch: str = '') -> Path:
    """Build a package without files."""
    where.mkdir(exist_ok=True)
    spec = where / f'{name}.spec'
    spec.write_text(
        f'Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: MIT\n'
        f'BuildArch: noarch\n{epoch and f"Epoch: {epoch}"}\n%description\nx\n%files\n'
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
