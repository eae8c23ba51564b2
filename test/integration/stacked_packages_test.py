# SPDX-License-Identifier: GPL-3.0-or-later
"""Stashes that both installed packages, stacked: one data base that knows them all."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from package_stacks import copy_of, debs_of, install_deb
from rpms import build_rpm, install_rpms, require_rpm, rpms_of
from storages import Storage, image_root

#: puts a package, of name and version, into a tree
Install = Callable[[Path, str, str], None]


@pytest.fixture
def of_deb() -> Tuple[Install, Callable[[Path], List[str]]]:
    def install(tree: Path, name: str, version: str) -> None:
        install_deb(tree, name, version, [f'usr/bin/{name}'])

    return install, lambda root: sorted(map('-'.join, debs_of(root).items()))


@pytest.fixture
def of_rpm(tmp_path: Path) -> Tuple[Install, Callable[[Path], List[str]]]:
    require_rpm()

    def install(tree: Path, name: str, version: str) -> None:
        install_rpms(tree, build_rpm(tmp_path / 'rpms', name, version, '', [f'/usr/bin/{name}']))

    return install, rpms_of


@pytest.fixture(params=['of_deb', 'of_rpm'])
def manager(
    request: pytest.FixtureRequest
) -> Tuple[Install, Callable[[Path], List[str]]]:
    """Give what installs a package, and what asks for all of them."""
    found: Tuple[Install, Callable[[Path], List[str]]] = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def stashed(
    storage: Storage, root: Path, manager: Tuple[Install, Callable[[Path], List[str]]]
) -> Dict[str, Path]:
    """Stash a base, and two trees made of it that each installed a package."""
    install, _ = manager
    install(root, 'libbase', '1')
    trees = {'base': root}
    for name in ('web', 'mail'):
        trees[name] = copy_of(root, name)
        install(trees[name], name, '1')
    for name, tree in trees.items():
        base = ['--no-base'] if name == 'base' else ['--base', 'base']
        storage.kiwi('stash', '--root', str(tree), '--container-name', name, *base)
    return trees


def test_one_data_base_knows_all(
    storage: Storage, stashed: Dict[str, Path], tmp_path: Path, fast: List[str],
    manager: Tuple[Install, Callable[[Path], List[str]]]
) -> None:
    words = [
        'stackbuild', '--stash', 'web', '--stash', 'mail', '--target-dir', str(tmp_path / 'out')
    ]
    told = storage.kiwi(*words, '--dry-run').stdout
    assert re.search(r'does not know \(1\):\n +web 1\S* \w+ of localhost/web:latest\n', told)
    assert not (tmp_path / 'out').exists()
    said = storage.kiwi(*words, '--merge-packages', options=fast).stdout
    assert 'Entered into the package data base (1):' in said
    install, packages_of = manager
    tree = image_root(tmp_path / 'out')
    assert packages_of(tree) == ['libbase-1', 'mail-1', 'web-1']
    # the result is a root as others are: stashed, and packages go on top
    install(tree, 'more', '1')
    storage.kiwi('stash', '--root', str(tree), '--container-name', 'both')
    assert packages_of(storage.mount('both')) == ['libbase-1', 'mail-1', 'more-1', 'web-1']
    storage.unmount('both')
