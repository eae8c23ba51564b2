# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheel and sdist: complete, and the same from the same sources.

"make packages" goes on from here, to the packages of Debian and RPM.
"""
from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / 'test/packages'))

pytest.importorskip('build')
pytest.importorskip('docutils')

from packages import COMMANDS, copy_sources, digests, one, run


@pytest.fixture(scope='module')
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both from a copy of the sources."""
    work = tmp_path_factory.mktemp('packages')
    if not (REPOSITORY / '.git').exists():
        pytest.skip('not a clone')
    copy_sources(work / 'source')
    build(work / 'source', work / 'dist')
    return work / 'dist'


def build(source: Path, target: Path) -> None:
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', str(target),
        str(source), SOURCE_DATE_EPOCH='1700000000')


def test_wheel_has_modules_data_and_pages(dist: Path) -> None:
    names = zipfile.ZipFile(one(dist, '*.whl')).namelist()
    for folder in ('kiwi_stackbuild_plugin', 'kiwi_stackbuild_typer_plugin'):
        for path in (REPOSITORY / folder).glob('**/*.*'):
            if path.suffix in ('.py', '.rng'):
                assert str(path.relative_to(REPOSITORY)) in names
    for command in COMMANDS:
        assert any(
            name.endswith(f'data/share/man/man8/kiwi::system::{command}.8') for name in names
        )
    assert not [name for name in names if name.startswith('test')]


def test_sdist_has_all_that_is_needed_to_go_on(dist: Path) -> None:
    with tarfile.open(one(dist, '*.tar.gz')) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert {
        'Makefile', 'tox.ini', 'LICENSE', 'CHANGELOG.rst', 'CONTRIBUTING.rst',
        'package/debian/rules', 'doc/source/delta.svg', 'doc/source/manual_pages.py',
        'demo/vm/config.xml', 'demo/vm/root/etc/stash-role', 'tools/bootstrap',
        'test/unit/architecture_test.py'
    } <= names
    assert not [name for name in names if '__pycache__' in name]


def test_builds_of_the_same_sources_are_the_same(dist: Path, tmp_path: Path) -> None:
    subprocess.run(
        ['cp', '-r', dist.parent / 'source', tmp_path / 'source'], check=True
    )
    build(tmp_path / 'source', tmp_path / 'dist')
    assert digests(tmp_path / 'dist') == digests(dist)
