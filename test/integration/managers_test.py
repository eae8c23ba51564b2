# SPDX-License-Identifier: GPL-3.0-or-later
"""The main paths on real roots by apt, dnf 4 and zypper."""
from __future__ import annotations

import json
from pathlib import Path
from typing import List

import pytest
from roots import RealRoot, copy_root, write_description
from sboms import check_sbom
from storages import KIWI, Storage, image_root, mounts_below


def build(
    storage: Storage, real: RealRoot, target: Path, fast: List[str], *words: str
) -> str:
    """Build from a stash with what installs packages set up; what kiwi said."""
    return storage.kiwi(
        'stackbuild', '--target-dir', str(target), *words,
        options=fast, env=real.environment
    ).stdout


def test_main_job(
    storage: Storage, real: RealRoot, tmp_path: Path, fast: List[str]
) -> None:
    """Stash, nothing changed, change, stash; rebuilt without any network."""
    words = ('stash', '--root', str(real.path), '--container-name', 'real')
    storage.kiwi(*words, '--verify')
    real.installed(real.path)
    storage.kiwi(*words)
    assert storage.stash('real')['layers'] == 1
    (real.path / 'etc/motd').write_text('1234\n')
    storage.kiwi(*words, '--verify')
    stash = storage.stash('real')
    assert stash['layers'] == 2
    assert stash['layer_size'] <= 16384
    rebuilt = tmp_path / 'rebuilt'
    storage.run(
        'unshare', '--net', KIWI, '--temp-dir', str(storage.temp_dir), *fast,
        'system', 'stackbuild', '--stash', 'real', '--target-dir', str(rebuilt)
    )
    root = image_root(rebuilt)
    assert (root / 'etc/motd').read_text() == '1234\n'
    assert json.loads((root / 'image/stash.json').read_text())['image'] == stash['id']
    assert real.installed(root) == real.installed(real.path)
    assert real.audit(root) == []


def test_same_description_and_a_package(
    storage: Storage, real: RealRoot, tmp_path: Path, fast: List[str]
) -> None:
    """The package is all that is new; its stash on the base is an addition to it."""
    storage.kiwi('stash', '--root', str(real.path), '--container-name', 'real')
    description = real.write_description(tmp_path / 'more', real.addition, name='more').parent
    target = tmp_path / 'target'
    build(
        storage, real, target, fast, '--stash', 'real', '--description', str(description)
    )
    root = image_root(target)
    new = set(real.installed(root)) - set(real.installed(real.path))
    assert set(real.installed(real.path)) <= set(real.installed(root))
    assert [name for name in new if name.startswith(f'{real.addition}-')]
    assert (root / 'usr/bin' / real.addition).is_file()
    assert real.audit(root) == []
    storage.kiwi('stash', '--root', str(root), '--container-name', 'more', '--sbom')
    check_what_is_told(storage, real, root, len(new))
    stacked = tmp_path / 'stacked'
    (real.path / 'etc/motd').write_text('stacked\n')
    storage.kiwi('stash', '--root', str(real.path), '--container-name', 'real', '--tag=v2')
    said = build(storage, real, stacked, fast, '--stash', 'more', '--stash', 'real:v2')
    # the other stash has read its data base, and no more
    assert 'package database' not in said and 'replaces' not in said
    assert real.installed(image_root(stacked)) == real.installed(root)
    assert (image_root(stacked) / 'etc/motd').read_text() == 'stacked\n'
    storage.kiwi('stash', '--prune', '--keep-last=1')
    assert [f'{one["name"]}:{one["tag"]}' for one in storage.stashes()] == [
        'more:latest', 'real:v2'
    ]
    assert real.installed(storage.mount('more')) == real.installed(root)
    storage.unmount('more')


def check_what_is_told(storage: Storage, real: RealRoot, root: Path, new: int) -> None:
    """The stash "more" says which packages it has and which are new in it."""
    stash = storage.stash('more')
    assert stash['layers'] == 2
    found = json.loads(storage.kiwi('stash_list', '--diff=real', 'more').stdout)['packages']
    added = [one['name'] for one in found['added']]
    assert real.addition in added and len(added) == new
    assert (found['removed'], found['updated']) == ([], [])
    sbom, = (one['place'] for one in stash['artifacts'] if one['kind'] == 'sbom')
    listed = [
        one['name'] for one in check_sbom(Path(sbom).read_bytes())['packages']
        if any('referenceLocator' in ref for ref in one.get('externalRefs', ()))
    ]
    assert set(added) <= set(listed) and len(listed) == len(real.installed(root))


def test_extension(
    storage: Storage, real: RealRoot, tmp_path: Path, fast: List[str]
) -> None:
    """What was edited in the tree stays, and only the package is new; without a copy.

    By a matrix file, for the second time with nothing changed.
    """
    (real.path / 'etc/motd').write_text('edited\n')
    storage.kiwi('stash', '--root', str(real.path), '--container-name', 'real')
    (tmp_path / 'short').mkdir()
    (tmp_path / 'short/config.xml').write_text(
        '<image stashed="real" name="short"><packages type="image">'
        f'<package name="{real.addition}"/></packages></image>'
    )
    (tmp_path / 'm.json').write_text(json.dumps({'target-dir': 'out', 'cells': [
        {'name': 'built', 'description': 'short', 'overlay': True, 'stash-as': 'built'},
    ]}))
    for state in ('done', 'unchanged'):
        storage.kiwi(
            'stackbuild', f'--matrix={tmp_path}/m.json', '--if-changed',
            options=fast, env=real.environment
        )
        told = json.loads((tmp_path / 'out/matrix.json').read_text())['cells']
        log = (tmp_path / 'out/built.log').read_text()
        assert [cell['state'] for cell in told] == [state], log
        assert 'the root tree is copied' not in log
    assert not mounts_below(tmp_path / 'out')
    assert list((tmp_path / 'out/built').glob('*.oci.tar')), 'kiwi has built the image of it'
    assert storage.stash('built')['layers'] == 2
    root = storage.mount('localhost/built')
    assert (root / 'etc/motd').read_text() == 'edited\n'
    assert set(real.installed(real.path)) < set(real.installed(root))
    assert (root / 'usr/bin' / real.addition).is_file()
    assert real.audit(root) == []
    storage.unmount('localhost/built')


@pytest.mark.parametrize(('stashed', 'described'), [('zypper', 'dnf4'), ('dnf4', 'zypper')])
def test_the_other_package_manager(
    storage: Storage, stashed: str, described: str, tmp_path: Path, fast: List[str],
    tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Kiwi bootstraps the one that is not there; one data base knows all packages."""
    real = copy_root(stashed, tmp_path_factory, tmp_path / stashed)
    storage.kiwi('stash', '--root', str(real.path), '--container-name', 'real')
    write_description(described, tmp_path / 'other', real.addition)
    target = tmp_path / 'target'
    said = build(
        storage, real, target, fast, '--stash', 'real',
        '--description', str(tmp_path / 'other')
    )
    assert f'real:latest has no {described}: kiwi bootstraps into what is there' in said
    root = image_root(target)
    assert set(real.installed(real.path)) < set(real.installed(root))
    assert (root / 'usr/bin' / real.addition).is_file()
    assert real.audit(root) == []
