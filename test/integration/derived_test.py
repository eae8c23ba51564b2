# SPDX-License-Identifier: GPL-3.0-or-later
"""Stashes of trees that kiwi derived from a container (derived_from)."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from storages import Storage
from trees import make_root

DESCRIPTION = '''<image schemaversion="7.4" name="derived">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>derived</specification>
  </description>
  <preferences>
    <version>1.0.0</version><packagemanager>apt</packagemanager>
    <type image="oci" derived_from="file://{archive}">
      <containerconfig name="derived"/>
    </type>
  </preferences>
  <repository type="apt-deb"><source path="file:///nonexistent"/></repository>
  <packages type="image"/>
</image>'''
EXTENSION = '<image stashed="derived" name="extended"/>'


@pytest.fixture
def derived(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> Tuple[Path, Path]:
    """Build a container on one in an archive, stash its root as "derived"."""
    base = make_root(tmp_path / 'base', 'container')
    (base / 'etc/of-base').write_text('base\n')
    archive = tmp_path / 'base.tar'
    storage.kiwi(
        'stash', '--root', str(base), '--label', 'of.base=yes',
        '--export', f'oci-archive:{archive}:x'
    )
    storage.run('podman', 'image', 'rm', 'container')
    description = tmp_path / 'description'
    (description / 'root/etc').mkdir(parents=True)
    (description / 'root/etc/role').write_text('derived\n')
    (description / 'config.xml').write_text(DESCRIPTION.format(archive=archive))
    storage.kiwi(
        'build', '--description', str(description),
        '--target-dir', str(tmp_path / 'first'), options=fast
    )
    storage.kiwi('stash', '--root', str(tmp_path / 'first/build/image-root'))
    return archive, description


def config_of(storage: Storage, archive: Path) -> Dict[str, Any]:
    told = storage.run('skopeo', 'inspect', '--config', f'oci-archive:{archive}')
    config: Dict[str, Any] = json.loads(told.stdout)
    return config


def built(storage: Storage, target: Path) -> Dict[str, Any]:
    """Return the config of the one container that was built."""
    archives = list(target.glob('*.oci.tar'))
    assert len(archives) == 1
    return config_of(storage, archives[0])


def stackbuild(
    storage: Storage, target: Path, fast: List[str], *words: str
) -> Tuple[Path, str]:
    said = storage.kiwi(
        'stackbuild', *words, '--target-dir', str(target), options=fast
    ).stdout
    return target, said


def check_import(storage: Storage, target: Path, archive: Path) -> None:
    """The archive in image/ is the container that the stash was derived from."""
    image = target / 'build/image-root/image'
    assert [path.suffix for path in sorted(image.glob('imported_root*'))] == ['', '.sha256']
    assert config_of(storage, image / 'imported_root') == config_of(storage, archive)
    layers = built(storage, target)['rootfs']['diff_ids']
    assert layers[:1] == config_of(storage, archive)['rootfs']['diff_ids']


def test_rebuilt_from_an_archive_in_another_storage(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path, fast: List[str]
) -> None:
    assert storage.stash('derived')['layers'] == 2
    storage.run(
        'skopeo', 'copy', 'containers-storage:localhost/derived:latest',
        f'oci-archive:{tmp_path}/stash.tar:x'
    )
    storage.run('podman', 'image', 'rm', '--all', '--force')
    target, _ = stackbuild(
        storage, tmp_path / 'out', fast, '--stash', f'oci-archive:{tmp_path}/stash.tar'
    )
    check_import(storage, target, derived[0])
    assert (target / 'build/image-root/etc/role').is_file()


def test_its_own_description_and_an_extension_build_on_it(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path, fast: List[str]
) -> None:
    root = tmp_path / 'first/build/image-root'
    (root / 'etc/of-base').write_text('changed\n')
    storage.kiwi('stash', '--root', str(root))
    target, said = stackbuild(
        storage, tmp_path / 'out', fast, '--stash', 'derived',
        '--description', str(derived[1])
    )
    check_import(storage, target, derived[0])
    assert (target / 'build/image-root/etc/of-base').read_text() == 'changed\n'
    assert 'has the container it is derived from already' in said
    (tmp_path / 'short').mkdir()
    (tmp_path / 'short/config.xml').write_text(EXTENSION)
    target, _ = stackbuild(
        storage, tmp_path / 'short/out', fast,
        '--description', str(tmp_path / 'short')
    )
    check_import(storage, target, derived[0])
    assert list(target.glob('extended*.oci.tar'))


def test_a_stash_of_one_layer_needs_the_container(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path
) -> None:
    storage.kiwi(
        'stash', '--root', str(tmp_path / 'first/build/image-root'), '--no-base',
        '--container-name', 'single'
    )
    storage.run('podman', 'image', 'rm', 'derived')
    storage.run('podman', 'image', 'prune', '--force')
    result = storage.kiwi(
        'stackbuild', '--stash', 'single', '--target-dir', str(tmp_path / 'out'),
        check=False
    )
    assert result.returncode == 1
    assert 'was derived from a container' in result.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('limit', ['1', '2'])
def test_a_full_chain_keeps_the_layers_of_the_container(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path, fast: List[str],
    limit: str
) -> None:
    root = tmp_path / 'first/build/image-root'
    for name in ('one', 'two'):
        (root / f'etc/{name}').write_text('new\n')
        said = storage.kiwi(
            'stash', '--root', str(root), '--export', f'oci-archive:{tmp_path}/{name}.tar',
            env={'KIWI_STASH_MAX_LAYERS': limit}
        ).stdout
        assert 'that the tree is derived from stays below' in said
        assert storage.stash('derived')['layers'] == 2
    storage.run('podman', 'image', 'rm', '--all', '--force')
    target, _ = stackbuild(
        storage, tmp_path / 'out', fast, '--stash', f'oci-archive:{tmp_path}/two.tar'
    )
    check_import(storage, target, derived[0])
    for name in ('one', 'two', 'of-base', 'role'):
        assert (target / f'build/image-root/etc/{name}').is_file()


def test_a_stash_without_the_container_says_so(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path
) -> None:
    root = str(tmp_path / 'first/build/image-root')
    words = ('stash', '--root', root, '--container-name', 'single')
    warning = 'single:latest has not the layers of the container'
    assert warning in storage.kiwi(*words, '--no-base').stdout
    assert warning not in storage.kiwi(*words, '--base', 'derived').stdout


def other_container(storage: Storage, tmp_path: Path) -> Path:
    other = make_root(tmp_path / 'other', 'other')
    (other / 'etc/of-other').write_text('other\n')
    archive = tmp_path / 'other.tar'
    storage.kiwi('stash', '--root', str(other), '--export', f'oci-archive:{archive}:x')
    return archive


@pytest.mark.parametrize('option', [
    '--set-container-derived-from=', '--set-type-attr=derived_from='
])
def test_another_container_asked_for_is_refused(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path, fast: List[str],
    option: str
) -> None:
    archive = other_container(storage, tmp_path)
    words = (
        'stackbuild', '--stash', 'derived', '--description', str(derived[1]),
        '--target-dir', str(tmp_path / 'out'), '--', f'{option}file://{archive}'
    )
    for more in ((), ('--dry-run',)):
        refused = storage.kiwi(*words[:1], *more, *words[1:], check=False)
        if 'does not accept' in refused.stderr:
            pytest.skip('this kiwi does not have it')
        assert refused.returncode == 1
        assert f'derive the image from file://{archive}' in refused.stderr
        assert not (tmp_path / 'out').exists()
    # the very same one elsewhere is no other
    copy = tmp_path / 'copy.tar'
    copy.write_bytes(derived[0].read_bytes())
    storage.kiwi(*words[:-1], f'{option}file://{copy}', options=fast)
    check_import(storage, tmp_path / 'out', derived[0])


def test_a_description_with_another_container_is_a_warning(
    storage: Storage, derived: Tuple[Path, Path], tmp_path: Path
) -> None:
    archive = other_container(storage, tmp_path)
    (derived[1] / 'config.xml').write_text(DESCRIPTION.format(archive=archive))
    said = storage.kiwi(
        'stackbuild', '--stash', 'derived', '--description', str(derived[1]),
        '--target-dir', str(tmp_path / 'out'), '--dry-run'
    ).stdout
    assert f'and stays so, the description says file://{archive}' in said
