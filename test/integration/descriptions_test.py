# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stash remembers, what a user's description does to it, and checks."""
from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import List, Set, Tuple

import pytest
from apt_sources import MirrorUnavailable, find_repository
from debian_root import RootPlan, kiwi_environment, write_description
from storages import KIWI, Storage
from trees import describe

#: an address that answers nowhere (RFC 5737)
NOWHERE = 'http://192.0.2.1/debian'
DESCRIPTION = f'''<image schemaversion="7.4" name="both">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>both</specification>
  </description>
  <profiles>
    <profile name="one" description="1"/><profile name="two" description="2"/>
  </profiles>
  <preferences><version>1.0.0</version><packagemanager>apt</packagemanager></preferences>
  <preferences profiles="one">
    <type image="tbz"/><type image="oci"><containerconfig name="one"/></type>
  </preferences>
  <preferences profiles="two">
    <type image="oci"><containerconfig name="two"/></type><type image="tbz"/>
  </preferences>
  <repository type="apt-deb"><source path="{NOWHERE}"/></repository>
  <packages type="image"/>
</image>'''


def offline(storage: Storage, *words: str) -> str:
    """Run kiwi in a network namespace that has no network at all."""
    return storage.run(
        'unshare', '--net', KIWI, '--temp-dir', str(storage.temp_dir), *words
    ).stdout


def image_root(target: Path) -> Path:
    return target / 'build/image-root'


def listed(directory: Path) -> Set[Tuple[str, int]]:
    """Return names and types, but for what dpkg keeps of the state before."""
    return {
        (path.name, stat.S_IFMT(path.lstat().st_mode)) for path in directory.iterdir()
        if not path.name.endswith('-old')
    }


def linked(archive: tarfile.TarFile) -> List[str]:
    """Return the links that an image has in the directory of dpkg."""
    found = []
    for member in archive.getmembers():
        data = archive.extractfile(member) if member.size > 1 << 20 else None
        if data is not None:
            with tarfile.open(fileobj=data) as layer:
                found += [
                    name.name for name in layer
                    if os.path.dirname(name.name).endswith('var/lib/dpkg')
                    and name.issym()
                ]
    return found


def write(directory: Path, text: str, **files: str) -> str:
    """Write a description; what kiwi looks for in each Debian is in its overlay."""
    (directory / 'root/usr/share/doc').mkdir(parents=True)
    (directory / 'root/etc').mkdir()
    (directory / 'root/etc/overlay').write_text('from the overlay tree\n')
    (directory / 'config.xml').write_text(text)
    for name, content in files.items():
        (directory / f'{name}.sh').write_text(content)
    return str(directory)


def test_profiles_and_types_are_remembered_and_nothing_is_fetched(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> None:
    source = write(tmp_path / 'both', DESCRIPTION, disk='true\n')
    for profile in ('one', 'two'):
        for kind in ('tbz', 'oci'):
            name = f'{profile}-{kind}'
            prepared = tmp_path / f'root-{name}'
            storage.kiwi(
                'prepare', '--description', source, '--root', str(prepared),
                options=[*fast, '--profile', profile, '--type', kind]
            )
            storage.kiwi('stash', '--root', str(prepared), '--container-name', name)
            target = tmp_path / name
            said = offline(
                storage, *fast, 'system', 'stackbuild', '--stash', name,
                '--target-dir', str(target)
            )
            assert f'profiles of the stash: {profile}' in said
            assert [path.suffixes[-2:] for path in target.glob('both*.tar*')] == [
                ['.tar', '.xz'] if kind == 'tbz' else ['.oci', '.tar']
            ]
            rebuilt = image_root(target)
            assert (rebuilt / 'etc/overlay').is_file()
            assert (rebuilt / 'image/disk.sh').is_file()
            assert f"kiwi_profiles='{profile}'" in (rebuilt / '.profile').read_text()


def test_the_command_line_wins_over_what_is_remembered(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> None:
    source = write(tmp_path / 'both', DESCRIPTION)
    storage.kiwi(
        'prepare', '--description', source, '--root', str(tmp_path / 'root'),
        options=['--profile', 'one', '--type', 'tbz']
    )
    storage.kiwi('stash', '--root', str(tmp_path / 'root'))
    target = tmp_path / 'out'
    offline(
        storage, *fast, '--profile', 'two', '--type', 'oci', 'system',
        'stackbuild', '--stash', 'both', '--target-dir', str(target)
    )
    assert list(target.glob('both*.oci.tar'))
    wrong = storage.kiwi(
        'stackbuild', '--stash', 'both', '--target-dir', str(tmp_path / 'other'),
        options=['--profile', 'three'], check=False
    )
    assert wrong.returncode == 1 and 'three' in wrong.stderr
    assert not (tmp_path / 'other').exists()


def test_nothing_of_the_stashed_description_is_left(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    (root / 'image/config.sh').write_text('exit 1\n')
    (root / 'image/images.sh').write_text('exit 1\n')
    (root / 'image/some.tar').write_text('archive')
    storage.kiwi('stash', '--root', str(root))
    text = DESCRIPTION.replace('<profiles>', '<!--').replace('</profiles>', '-->')
    text = text.replace(' profiles="one"', '').replace('<preferences profiles="two">', '<!--')
    text = text.replace('<type image="tbz"/>\n  </preferences>\n  <repo', '-->\n  <repo')
    target = tmp_path / 'out'
    storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(target),
        '--description', write(tmp_path / 'mine', text), options=fast
    )
    assert sorted(path.name for path in (image_root(target) / 'image').iterdir()) == [
        'config.xml', 'stash.json'
    ]


@pytest.mark.parametrize(('change', 'told'), [
    (('>apt<', '>dnf4<'), 'the description installs with dnf4'),
    (('name="both"', 'nam="both"'), 'Failed to validate schema'),
    (('<profiles>', '<profiles'), 'could not be parsed'),
])
def test_what_does_not_fit_is_told_before_anything_is_touched(
    storage: Storage, root: Path, tmp_path: Path, change: List[str], told: str
) -> None:
    for name in ('dpkg', 'apt-get'):
        (root / 'usr/bin' / name).write_text('')
    storage.kiwi('stash', '--root', str(root))
    before = describe(tmp_path, ('storage', 'temp', 'mine'))
    failed = storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out'),
        '--description', write(tmp_path / 'mine', DESCRIPTION.replace(*change)),
        options=['--profile', 'one'], check=False
    )
    assert failed.returncode == 1
    assert told in failed.stderr
    assert 'Traceback' not in failed.stderr
    assert describe(tmp_path, ('storage', 'temp', 'mine')) == before


def test_another_architecture_is_refused(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    failed = storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out'),
        options=['--target-arch', 'riscv64'], check=False
    )
    assert failed.returncode == 1
    assert 'is a root tree for' in failed.stderr and 'riscv64' in failed.stderr


def test_the_description_that_built_a_debian_rebuilds_on_it(
    storage: Storage, debian_root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(debian_root), '--container-name', 'debian')
    description = write_description(
        str(tmp_path / 'changed'), RootPlan(packages=('hello',)), find_repository()
    )
    work = tmp_path / 'work'
    (work / 'gnupg').mkdir(parents=True, mode=0o700)
    target = tmp_path / 'out'
    storage.kiwi(
        'stackbuild', '--stash', 'debian', '--target-dir', str(target),
        '--description', description, env=kiwi_environment(str(work)),
        options=[*fast, '--debug', f'--logfile={work}/log']
    )
    log = (work / 'log').read_text()
    assert '0 upgraded, 1 newly installed, 0 to remove' in log
    rebuilt = image_root(target)
    assert (rebuilt / 'usr/bin/hello').is_file()
    assert (rebuilt / 'bin').is_symlink()
    # what kiwi 10 and later leave of their own bootstrap phase, and no more
    assert listed(rebuilt / 'var/lib/dpkg') == listed(debian_root / 'var/lib/dpkg')
    with tarfile.open(next(target.glob('*.oci.tar'))) as archive:
        assert not linked(archive)
    assert storage.run('chroot', str(rebuilt), 'dpkg', '--audit').stdout == ''
    kept = (rebuilt / 'image/config.xml').read_text()
    assert '<packages type="bootstrap">' in kept
    assert list(target.glob('*.oci.tar'))


DELETED = (
    '<packages type="uninstall"><package name="never-there"/></packages>'
    '<packages type="delete"><package name="media-types"/></packages></image>'
)


def test_what_was_deleted_needs_no_deletion(
    storage: Storage, debian_root: Path, tmp_path: Path, fast: List[str]
) -> None:
    """Kiwi fails where nothing is left to delete, apt where a dependency is gone."""
    storage.run(
        'chroot', str(debian_root), 'dpkg', '--remove', '--force-depends', 'media-types'
    )
    storage.kiwi('stash', '--root', str(debian_root), '--container-name', 'debian')
    work = tmp_path / 'work'
    (work / 'gnupg').mkdir(parents=True, mode=0o700)
    description = Path(write_description(
        str(tmp_path / 'full'), RootPlan(packages=('hello',)), find_repository()
    ))
    config = description / 'config.xml'
    config.write_text(config.read_text().replace('</image>', DELETED))
    target = tmp_path / 'out'
    said = storage.kiwi(
        'stackbuild', '--stash', 'debian', '--target-dir', str(target),
        '--description', str(description), env=kiwi_environment(str(work)),
        options=fast
    ).stdout
    assert 'Not installed, needs no deletion: never-there' in said
    rebuilt = image_root(target)
    assert (rebuilt / 'usr/bin/hello').is_file()
    assert storage.run(
        'chroot', str(rebuilt), 'dpkg-query', '-W', '-f', '${db:Status-Status}', 'media-types'
    ).stdout == 'config-files'


def test_a_base_without_a_package_manager_is_bootstrapped(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> None:
    base = tmp_path / 'busybox'
    for name in ('usr/bin', 'usr/sbin', 'usr/lib', 'etc', 'image'):
        (base / name).mkdir(parents=True)
    for name in ('bin', 'sbin', 'lib'):
        (base / name).symlink_to(f'usr/{name}')
    (base / 'etc/of-base').write_text('base\n')
    storage.kiwi('stash', '--root', str(base), '--container-name', 'busybox')
    try:
        source = find_repository()
    except MirrorUnavailable as issue:
        pytest.skip(f'no package mirror answers: {issue}')
    description = Path(write_description(str(tmp_path / 'full'), RootPlan(
        type_attributes=(('image', 'oci'),)
    ), source))
    text = (description / 'config.xml').read_text()
    (description / 'config.xml').write_text(text.replace('"python3"', '"hello"'))
    (tmp_path / 'work/gnupg').mkdir(parents=True, mode=0o700)
    target = tmp_path / 'out'
    said = storage.kiwi(
        'stackbuild', '--stash', 'busybox', '--target-dir', str(target),
        '--description', str(description), options=fast,
        env=kiwi_environment(str(tmp_path / 'work'))
    ).stdout
    assert 'busybox:latest has no apt: kiwi bootstraps into what is there' in said
    assert (image_root(target) / 'usr/bin/apt-get').is_file()
    assert (image_root(target) / 'etc/of-base').is_file()
    assert (image_root(target) / 'bin').is_symlink()
