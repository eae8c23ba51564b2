# SPDX-License-Identifier: GPL-3.0-or-later
"""Real roots on the kiwi of a cell: what takes too long for "make test".

test/matrix/run runs it, with the main paths of test/integration, for each package
manager; by itself: pytest test/matrix/roots_test.py
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import List, Sequence, Set

import pacman_root
import pytest
import rpm_root
from rich_description import (
    LOG, build_root, check_builds, check_same, differences, prepare_rich, write_rich
)
from roots import MANAGERS, RealRoot, copy_root, package_cache
from rpm_repository import Distribution, cached_repository
from rpm_root import RpmPlan
from storages import Storage

RPM = [manager for manager in MANAGERS if manager != 'apt']
PLACES = ('usr/lib/sysimage/rpm', 'var/lib/rpm')
pytestmark = pytest.mark.integration


@pytest.mark.parametrize('manager', MANAGERS)
def test_a_description_of_many_parts(
    storage: Storage, tmp_path: Path, fast: List[str], manager: str
) -> None:
    """On its stash it is what kiwi makes of nothing, and so is an extension of it."""
    real = RealRoot(manager, tmp_path / 'root', tmp_path / 'work')
    description = write_rich(manager, tmp_path / 'rich')
    root = prepare_rich(storage, real, fast, description)
    storage.kiwi('stash', '--root', str(root))
    richer = check_builds(storage, real, fast, tmp_path, description)
    anew = prepare_rich(
        storage, RealRoot(manager, tmp_path / 'anew', tmp_path / 'work'), fast,
        tmp_path / 'richer/build/description'
    )
    assert real.installed(anew) == real.installed(richer)
    assert real.audit(anew) == []
    # kiwi keeps no overlay in image/, and gives a file there the owner of its target
    assert differences(anew, richer) == [
        'etc/stack/all', 'etc/stack/replaced', 'image/extension.xml', 'image/of-bob', LOG
    ]
    assert (anew / LOG).read_text() == (richer / LOG).read_text().replace(
        ' rich ', ' richer '
    )


@pytest.mark.parametrize(('profile', 'kept', 'not_there'), [
    ('Tar', [], 'etc/stack/tools'),
    ('Disk', ['edit_boot_config.sh', 'edit_boot_install.sh'], 'etc/stack/tools'),
    ('Live', [], 'etc/stack/tools'), ('Container-Other,Tar', [], 'none')
])
@pytest.mark.parametrize('manager', MANAGERS)
def test_its_profiles(
    storage: Storage, tmp_path: Path, fast: List[str], manager: str, profile: str,
    kept: Sequence[str], not_there: str
) -> None:
    """What is not kept in image/ is named, and all else comes back."""
    real = RealRoot(manager, tmp_path / 'root', tmp_path / 'work')
    description = write_rich(manager, tmp_path / 'rich')
    options = [word for name in profile.split(',') for word in ('--profile', name)]
    if ',' in profile:
        options += ['--type', 'tbz']
    storage.kiwi(
        'prepare', '--description', str(description), '--root', str(real.path),
        options=[*fast, *options], env=real.environment
    )
    root = real.path
    assert not (root / not_there).exists()
    said = storage.kiwi('stash', '--root', str(root)).stdout
    assert ('grub.template' in said) == (profile in ('Disk', 'Live'))
    for name in kept:
        assert (root / 'image' / name).is_file()
    assert not differences(
        root, build_root(storage, real, fast, tmp_path / 'again', '--stash', 'rich')
    )
    same = build_root(
        storage, real, [*fast, *options], tmp_path / 'same', '--stash', 'rich',
        '--description', str(description)
    )
    check_same(real, root, same)


@pytest.mark.parametrize('host', [*PLACES, 'root/.rpmdb'])
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('manager', RPM)
def test_places_of_the_data_base(
    storage: Storage, tmp_path: Path, fast: List[str], manager: str, place: str, host: str
) -> None:
    """Of the place that the build host has nothing is left, and one data base knows all."""
    repository = cached_repository(Distribution(dbpath=f'/{place}'))
    real = RealRoot(manager, tmp_path / 'root', tmp_path / 'work')
    home = tmp_path / 'home'
    home.mkdir()
    (home / '.rpmmacros').write_text(f'%_dbpath /{host}\n')
    for name, packages in (('real', ()), ('more', ('htop',))):
        rpm_root.write_description(
            str(tmp_path / name), RpmPlan(manager, packages, name), repository
        )
    storage.kiwi(
        'prepare', '--description', str(tmp_path / 'real'), '--root', str(real.path),
        options=fast, env=real.environment
    )
    storage.kiwi('stash', '--root', str(real.path))
    real.installed(real.path)
    storage.kiwi('stash', '--root', str(real.path))
    assert storage.stash('real')['layers'] == 1
    storage.kiwi(
        'stackbuild', '--target-dir', str(tmp_path / 'out'), '--root-only', '--stash', 'real',
        '--description', str(tmp_path / 'more'), options=fast,
        env={**real.environment, 'HOME': str(home)}
    )
    more = tmp_path / 'out/build/image-root'
    assert set(real.installed(real.path)) < set(real.installed(more))
    assert (more / place / 'rpmdb.sqlite').is_file()
    assert os.path.lexists(more / host) == os.path.lexists(real.path / host)
    assert real.audit(more) == []


@pytest.mark.parametrize('manager', RPM)
def test_derived_from(
    storage: Storage, tmp_path: Path, fast: List[str], manager: str,
    tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A root that kiwi derived from a container of rpm packages."""
    real = copy_root(manager, tmp_path_factory, tmp_path / manager)
    archive = tmp_path / 'base.tar'
    storage.kiwi(
        'stash', '--root', str(real.path), '--container-name', 'container',
        '--export', f'oci-archive:{archive}:x'
    )
    storage.run('podman', 'image', 'rm', '--all', '--force')
    description = rpm_root.write_description(str(tmp_path / 'derived'), RpmPlan(
        manager, ('htop',), 'derived', (('derived_from', f'file://{archive}'),)
    ))
    storage.kiwi(
        'prepare', '--description', description, '--root', str(tmp_path / 'root'),
        options=fast, env=real.environment
    )
    root = tmp_path / 'root'
    storage.kiwi('stash', '--root', str(root))
    assert storage.stash('derived')['layers'] == 2
    same = build_root(
        storage, real, fast, tmp_path / 'same', '--stash', 'derived',
        '--description', description
    )
    assert real.installed(same) == real.installed(root)
    assert (same / 'image/imported_root').exists() and real.audit(same) == []
    (tmp_path / 'short').mkdir()
    (tmp_path / 'short/config.xml').write_text(
        '<image stashed="derived" name="short"><packages type="image">'
        '<package name="nano"/></packages></image>'
    )
    more = build_root(
        storage, real, fast, tmp_path / 'more', '--description', str(tmp_path / 'short')
    )
    assert set(real.installed(root)) < set(real.installed(more))
    assert real.audit(more) == []


def test_pacman(storage: Storage, tmp_path: Path, fast: List[str]) -> None:
    """Bootstrap, stash, the same description and a package, an extension."""
    missing = [tool for tool in pacman_root.TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f'no {", ".join(missing)}')
    real = RealRoot('pacman', tmp_path / 'root', tmp_path / 'work')
    # of an earlier repository: the same names, made at another time
    shutil.rmtree(Path(package_cache().partition('=')[2], 'pacman'), ignore_errors=True)
    repository = pacman_root.make_repository(tmp_path / 'repository')
    descriptions = {
        name: str(pacman_root.write_description(tmp_path / name, repository, more, name))
        for name, more in (('real', ()), ('more', ('htop',)))
    }
    storage.kiwi(
        'prepare', '--description', descriptions['real'], '--root', str(real.path),
        options=fast, env=real.environment
    )
    storage.kiwi('stash', '--root', str(real.path))
    before = packages_of(storage, real.path)
    storage.kiwi('stash', '--root', str(real.path))
    assert storage.stash('real')['layers'] == 1
    (tmp_path / 'short').mkdir()
    (tmp_path / 'short/config.xml').write_text(
        '<image stashed="real" name="short"><packages type="image">'
        '<package name="htop"/></packages></image>'
    )
    for name, words in (
        ('same', ('--stash', 'real', '--description', descriptions['more'])),
        ('short', ('--description', str(tmp_path / 'short')))
    ):
        root = build_root(storage, real, fast, tmp_path / f'{name}.out', *words)
        assert before < packages_of(storage, root)
        assert (root / 'usr/bin/htop').is_file()


def packages_of(storage: Storage, root: Path) -> Set[str]:
    """Ask pacman of a root for its packages."""
    return set(storage.run('chroot', str(root), 'pacman', '-Q').stdout.splitlines())
