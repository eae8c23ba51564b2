# SPDX-License-Identifier: GPL-3.0-or-later
"""Stashes that both installed packages, stacked: one data base that knows them all."""
from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from package_stacks import copy_of, debs_of, install_deb
from programs import add_noting, calls
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
    # nor does it have to be copied
    said = storage.kiwi(
        *words[:-1], str(tmp_path / 'over'), '--merge-packages', '--overlay', '--root-only'
    ).stdout
    assert 'Entered into' in said and 'is copied' not in said
    storage.kiwi('stackbuild', '--mount', str(tmp_path / 'over'))
    assert packages_of(image_root(tmp_path / 'over')) == ['libbase-1', 'mail-1', 'web-1']
    storage.kiwi('stackbuild', '--unmount', str(tmp_path / 'over'))


def test_what_packages_have_beside_files(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    """Capabilities, file triggers, presets, and SELinux labels, which kiwi makes anew."""
    require_rpm()
    rpms = tmp_path / 'rpms'
    policy = root / 'etc/selinux/targeted'
    (policy / 'contexts/files').mkdir(parents=True)
    (policy / 'contexts/files/file_contexts').touch()
    (policy / 'policy').mkdir()
    (policy / 'policy/policy.33').touch()
    add_noting(root, 'setfiles')
    install_rpms(root, build_rpm(rpms, 'web', '1', '', [
        '%caps(cap_net_raw=ep) /usr/bin/web', '/usr/lib/systemd/system-preset/50-web.preset'
    ], '%filetriggerin -p <lua> -- /usr/share/plugins\nio.open("/fired", "w"):close()'))
    (root / 'etc/systemd/system').mkdir(parents=True)
    (root / 'etc/systemd/system/web.service').symlink_to('/usr/lib/systemd/system/web.service')
    other = tmp_path / 'other'
    subprocess.run(['cp', '-a', '-T', root, other], check=True)
    subprocess.run(['rm', '-rf', other / 'var/lib/rpm'], check=True)
    install_rpms(other, build_rpm(rpms, 'mail', '1', '', ['/usr/bin/mail']))
    for name, tree in (('web', root), ('mail', other)):
        storage.kiwi('stash', '--root', str(tree), '--container-name', name, '--no-base')
    storage.kiwi(
        'stackbuild', '--stash', 'web', '--stash', 'mail', '--merge-packages',
        '--target-dir', str(tmp_path / 'out'), options=fast
    )
    tree = image_root(tmp_path / 'out')
    assert rpms_of(tree) == ['mail-1', 'web-1']
    assert os.getxattr(tree / 'usr/bin/web', 'security.capability') == os.getxattr(
        root / 'usr/bin/web', 'security.capability'
    )
    assert (tree / 'usr/lib/systemd/system-preset/50-web.preset').is_file()
    assert (tree / 'etc/systemd/system/web.service').is_symlink()
    assert [call.split()[-1] for call in calls(tree, 'setfiles')] == ['--help', '/']
    plugin = build_rpm(rpms, 'plugin', '1', '', ['/usr/share/plugins/one'])
    assert not (tree / 'fired').exists()
    install_rpms(tree, plugin, scripts=True)
    assert (tree / 'fired').exists()
