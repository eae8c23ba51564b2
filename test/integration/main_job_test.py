# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on a real Debian root that kiwi prepared."""
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import List

from apt_sources import find_repository
from debian_root import kiwi_environment, write_description
from lxml import etree
from storages import Storage, image_root


def test_main_job_on_a_real_debian_root(
    storage: Storage, debian_root: Path, tmp_path: Path, fast: List[str]
) -> None:
    """Stash, change, stash, list, rebuild; then a description with a package."""
    storage.kiwi('stash', '--root', str(debian_root), '--verify')
    (debian_root / 'etc/motd').write_text('1234\n')
    storage.kiwi('stash', '--root', str(debian_root), '--verify')
    stash = storage.stashes()[0]
    assert stash['layers'] == 2
    assert stash['layer_size'] <= 16384
    rebuilt = tmp_path / 'rebuilt'
    name = stash['name']
    storage.kiwi(
        'stackbuild', '--stash', name, '--target-dir', str(rebuilt), options=fast
    )
    assert (image_root(rebuilt) / 'etc/motd').read_text() == '1234\n'
    assert json.loads((image_root(rebuilt) / 'image/stash.json').read_text())[
        'image'] == stash['id']
    shutil.rmtree(rebuilt)

    source = find_repository()
    description = Path(write_description(str(tmp_path / 'role'), None, source))
    _turn_into_role(description / 'config.xml', 'hello')
    (tmp_path / 'gnupg').mkdir(mode=0o700)
    storage.kiwi(
        'stackbuild', '--stash', name, '--target-dir', str(rebuilt),
        '--description', str(description), options=fast,
        env=kiwi_environment(str(tmp_path))
    )
    assert (image_root(rebuilt) / 'usr/bin/hello').is_file()
    storage.kiwi(
        'stash', '--root', str(image_root(rebuilt)), '--container-name', 'role',
        '--verify'
    )
    role = storage.stash('role')
    assert role['layers'] == 3
    assert role['layer_size'] < storage.stashes(name)[0]['size'] / 2


def _turn_into_role(config: Path, package: str) -> None:
    """Leave of a description only one package to be added to what is there."""
    document = etree.parse(str(config))
    for packages in document.findall('packages'):
        packages.getparent().remove(packages)
    packages = etree.SubElement(document.getroot(), 'packages', type='image')
    etree.SubElement(packages, 'package', name=package)
    document.write(str(config))
