# SPDX-License-Identifier: GPL-3.0-or-later
"""An extension does to the root what it brings itself, and nothing again."""
from __future__ import annotations

import tarfile
from pathlib import Path
from typing import List

import pytest
from lxml import etree
from noting import make_noting_root
from programs import LOG, add_programs, calls
from storages import Storage, image_root

SCRIPT = '#!/bin/sh\necho "{name} of the {whose}" >>/log\n'
SCRIPTS = ('post_bootstrap.sh', 'config.sh', 'images.sh')
STASHED = '''<image schemaversion="7.4" name="base" id="7">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>s</specification>
  </description>
  <preferences>
    <version>1.0.0</version><packagemanager>apt</packagemanager>
    <locale>en_US</locale><timezone>UTC</timezone><type image="tbz"/>
  </preferences>
  <users><user name="root" password="old"/><user name="old" password="old" groups="olds"/></users>
  <repository type="apt-deb" imageinclude="true" alias="old">
    <source path="http://old.invalid/"/>
  </repository>
  <packages type="bootstrap"><package name="old-bootstrap"/></packages>
  <packages type="image">
    <package name="old"/><ignore name="old-ignored"/><archive name="old.tar"/>
  </packages>
  <packages type="uninstall"><package name="gone"/></packages>
  <packages type="delete"><package name="vanished"/></packages>
</image>'''
EXTENSION = '''<image stashed="base" name="web">
  <preferences><timezone>CET</timezone></preferences>
  <users><user name="root" password="new"/></users>
  <repository type="apt-deb" imageinclude="true" alias="new">
    <source path="http://new.invalid/"/>
  </repository>
  <packages type="image"><package name="new"/><archive name="new.tar"/></packages>
  <packages type="delete"><package name="there"/><package name="never"/></packages>
</image>'''


def write_archive(path: Path, name: str) -> None:
    """Write a tar archive with one file, that says what it is of."""
    (path.parent / name).write_text(f'from {path.name}\n')
    with tarfile.open(path, 'w') as archive:
        archive.add(path.parent / name, f'etc/{name}')
    (path.parent / name).unlink()


def write_scripts(directory: Path, whose: str) -> None:
    for name in SCRIPTS:
        (directory / name).write_text(SCRIPT.format(name=name, whose=whose))
        (directory / name).chmod(0o755)


@pytest.fixture
def base(storage: Storage, tmp_path: Path) -> Path:
    """Give a stashed tree that kiwi prepared, and that was edited since."""
    root = make_noting_root(tmp_path / 'root', 'base')
    (root / 'image/config.xml').write_text(STASHED)
    (root / 'etc/passwd').write_text('root:x:0:0::/root:/bin/sh\nold:x:1:1::/:/bin/sh\n')
    (root / 'var/lib/dpkg/status').write_text(
        'Package: there\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n'
        'Package: vanished\nStatus: deinstall ok config-files\nVersion: 1\n\n'
    )
    write_archive(root / 'image/old.tar', 'old')
    write_scripts(root / 'image', 'stash')
    (root / 'etc/old').write_text('edited\n')
    (root / 'image/root/etc').mkdir(parents=True)
    (root / 'image/root/etc/old').write_text('from the overlay\n')
    storage.kiwi('stash', '--root', str(root))
    return root


def write_extension(where: Path, text: str = EXTENSION) -> str:
    (where / 'root/etc').mkdir(parents=True)
    (where / 'root/etc/new-overlay').write_text('')
    (where / 'config.xml').write_text(text)
    write_archive(where / 'new.tar', 'new')
    write_scripts(where, 'extension')
    return str(where)


def build(storage: Storage, target: Path, fast: List[str], *words: str) -> Path:
    storage.kiwi('stackbuild', '--target-dir', str(target), *words, options=fast)
    return image_root(target)


def installed(root: Path) -> List[str]:
    """Return what the package manager of a root was asked to install."""
    return [
        line.split(' install ')[1] for line in calls(root, 'apt-get')
        if ' install ' in line
    ]


def scripts(root: Path) -> List[str]:
    return [line for line in calls(root) if '.sh of' in line]


def test_only_what_the_extension_brings_is_done(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    root = build(
        storage, tmp_path / 'out', fast, '--description', write_extension(tmp_path / 'web')
    )
    assert (root / 'etc/old').read_text() == 'edited\n'
    assert (root / 'etc/new').read_text() == 'from new.tar\n'
    assert (root / 'etc/new-overlay').is_file()
    assert not (root / 'etc/ImageID').exists()
    assert scripts(root) == [
        f'{name} of the extension' for name in SCRIPTS
    ]
    accounts = calls(root, 'useradd', 'usermod', 'groupadd')
    assert [line.split()[0::3] for line in accounts] == [['usermod', 'root']]
    assert installed(root) == ['new']
    deleted, = [line for line in calls(root, 'dpkg') if '--remove' in line]
    assert deleted.endswith(' there')
    assert not [line for line in calls(root) if 'vanished' in line or 'gone' in line]
    assert [line for line in calls(root, 'ln') if 'zoneinfo' in line] == [
        'ln -s -f /usr/share/zoneinfo/CET /etc/localtime'
    ]
    sources = [path.name for path in (root / 'etc/apt/sources.list.d').iterdir()]
    assert {name.partition('.')[0] for name in sources} == {'new'}


    check_kept(root)


def check_kept(root: Path) -> None:
    """See that the root could be built again from nothing by what it keeps."""
    kept = etree.parse(root / 'image/config.xml').getroot()
    assert [node.get('name') for node in kept.iter('package')] == [
        'old-bootstrap', 'old', 'gone', 'vanished', 'new', 'there', 'never'
    ]
    assert [node.get('password') for node in kept.iter('user')] == ['new', 'old']
    assert {path.name for path in (root / 'image').iterdir()} == {
        'config.xml', 'extension.xml', 'stash.json', 'old.tar', 'new.tar', 'root', *SCRIPTS
    }
    script = (root / 'image/config.sh').read_text()
    assert 'config.sh of the stash' in script and 'config.sh of the extension' in script
    assert 'stash' not in (root / 'image/images.sh').read_text()


def test_scripts_of_the_stash_run_on_request(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    add_programs(base, 'bash', 'mktemp', 'cat', 'chmod', 'rm')
    storage.kiwi('stash', '--root', str(base))
    root = build(
        storage, tmp_path / 'out', fast, '--keep-scripts',
        '--description', write_extension(tmp_path / 'web')
    )
    assert scripts(root) == [
        f'{name} of the {whose}' for name in SCRIPTS for whose in ('stash', 'extension')
    ]


def test_an_extension_of_an_extension(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    root = build(
        storage, tmp_path / 'out', fast, '--description', write_extension(tmp_path / 'web')
    )
    (root / LOG).unlink()
    (root / 'etc/new').write_text('edited\n')
    storage.kiwi('stash', '--root', str(root), '--container-name', 'web')
    (tmp_path / 'shop').mkdir()
    (tmp_path / 'shop/config.xml').write_text(
        '<image stashed="web" name="shop"><packages type="image"><package name="newer"/>'
        '</packages></image>'
    )
    root = build(
        storage, tmp_path / 'next', fast, '--description', str(tmp_path / 'shop')
    )
    assert (root / 'etc/new').read_text() == 'edited\n'
    assert scripts(root) == ['images.sh of the extension']
    assert not calls(root, 'useradd', 'usermod', 'groupadd', 'dpkg')
    assert installed(root) == ['newer']
    kept = (root / 'image/config.xml').read_text()
    assert all(f'name="{name}"' in kept for name in ('old', 'new', 'newer'))


def test_the_dry_run_says_what_is_done_and_what_not(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    said = storage.kiwi(
        'stackbuild', '--target-dir', str(tmp_path / 'out'), '--dry-run',
        '--description', write_extension(tmp_path / 'web')
    ).stdout
    assert '  config.sh: that of the extension, not that of the stash' in said
    assert (
        '  Done to the root: timezone CET; user root; package new; archive new.tar; '
        'deletion of package there, never\n'
    ) in said
    done = next(line for line in said.splitlines() if 'not done again:' in line)
    for words in (
        'locale en_US', 'user old', 'package old-bootstrap, old', 'archive old.tar',
        'deletion of package gone, vanished'
    ):
        assert words in done
    assert not (tmp_path / 'out').exists()
