# SPDX-License-Identifier: GPL-3.0-or-later
"""The real tools, each test with a storage of its own, and a real root tree."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, List

import pytest
from registries import Registry
from roots import MANAGERS, RealRoot, copy_root, package_cache
from runtime_config import write_fast_config
from storages import Storage, remove_storage
from trees import make_root


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Refuse to run as anybody but root: nothing here works then."""
    if items and os.geteuid() != 0:
        pytest.exit('the integration tests need root', 1)


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Give an empty storage of its own; the test must leave nothing behind.

    A test may choose another class of Storage, as an indirect parameter.
    """
    temp_dir = tmp_path / 'temp'
    temp_dir.mkdir()
    own = getattr(request, 'param', Storage)(tmp_path / 'storage', temp_dir)
    yield own
    left = own.left_overs()
    remove_storage(own.where)
    assert not left, left


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a small root tree made by hand."""
    return make_root(tmp_path / 'root')


@pytest.fixture
def debian_root(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """Give a copy of a real Debian root that a test may change."""
    return copy_root('apt', tmp_path_factory, tmp_path / 'debian').path


@pytest.fixture(params=MANAGERS)
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> RealRoot:
    """Give a copy of a real root, by each package manager."""
    return copy_root(request.param, tmp_path_factory, tmp_path / request.param)


@pytest.fixture
def fast(tmp_path: Path) -> List[str]:
    """Give the global options for a kiwi that compresses fast."""
    # packages of one process: tests beside this one fetch theirs at the same time
    return ['--config', str(write_fast_config(tmp_path / 'kiwi.yml')), package_cache()]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry of its own."""
    server = Registry(tmp_path / 'registry')
    yield server
    server.close()
