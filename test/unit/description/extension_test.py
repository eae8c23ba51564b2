# SPDX-License-Identifier: GPL-3.0-or-later
"""Extension descriptions: what is accepted, what is said, what comes out."""
from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any, Optional, Tuple

import pytest
from lxml import etree

from kiwi_stackbuild_plugin.description.description import copy_description, load_stashed
from kiwi_stackbuild_plugin.description.extended import Extended, extend
from kiwi_stackbuild_plugin.description.extension import (
    Extension, find_description, read_extension
)
from kiwi_stackbuild_plugin.description.merging import merge
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.tree.opening import open_tree

STASHED = '''<image schemaversion="7.4" name="base">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>base</specification>
  </description>
  <profiles>
    <profile name="one" description="1"/><profile name="two" description="2"/>
  </profiles>
  <preferences>
    <version>1.0.0</version>
    <packagemanager>apt</packagemanager>
    <locale>en_US</locale>
  </preferences>
  <preferences profiles="one"><type image="tbz"/><type image="oci"/></preferences>
  <preferences profiles="two"><type image="tbz"/></preferences>
  <repository type="apt-deb"><source path="http://h/debian"/></repository>
  <packages type="image"><package name="python3"/></packages>
</image>'''


def image(text: str, attributes: str = 'name="x"') -> Any:
    return etree.fromstring(f'<image stashed="a" {attributes}>\n{text}\n</image>')


def read(tmp_path: Path, text: str) -> Optional[Extension]:
    (tmp_path / 'config.xml').write_text(text)
    return read_extension(find_description(str(tmp_path), None), str(tmp_path))


def test_other_descriptions_are_left_to_kiwi(tmp_path: Path) -> None:
    assert read(tmp_path, STASHED) is None
    assert read(tmp_path, '<image schemaversion="7.4"') is None
    assert read(tmp_path, 'image:\n  name: x') is None


@pytest.mark.parametrize(('text', 'told'), [
    ('<image stashed="a" name="x">\n<nonsense/></image>', 'line 2: <nonsense>: no such'),
    ('<image stashed="a" name="x">\n</imag>', 'cannot be read as XML'),
    ('<!DOCTYPE image [<!ENTITY e "x">]><image stashed="a" name="x"/>', 'DOCTYPE'),
])
def test_a_broken_extension_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        read(tmp_path, text)
    assert told in f'{issue.value}'


YAML = '''image:
  "@stashed": base
  "@name": x
  packages: {"@type": image, package: [{"@name": vim}]}
'''


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_other_markups_are_for_kiwi_to_convert(tmp_path: Path) -> None:
    (tmp_path / 'x.kiwi').write_text(YAML)
    path = find_description(str(tmp_path), None)
    if importlib.util.find_spec('anymarkup_core'):
        found = read_extension(path, str(tmp_path))
        assert found is not None and not found.is_xml
        assert found.reference == 'base'
        assert [node.get('name') for node in found.image.iter('package')] == ['vim']
        return
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        read_extension(path, str(tmp_path))
    assert 'anymarkup-core' in f'{issue.value}'


@pytest.mark.parametrize(('name', 'kiwi_file', 'told'), [
    ('nowhere', None, 'no such directory'), ('.', None, 'no description'),
    ('.', 'other.kiwi', 'no description (other.kiwi)')
])
def test_a_missing_description_is_named(
    tmp_path: Path, name: str, kiwi_file: Optional[str], told: str
) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        find_description(str(tmp_path / name), kiwi_file)
    assert told in f'{issue.value}'


def test_files_are_looked_for_as_kiwi_does(tmp_path: Path) -> None:
    for name in ('b.kiwi', 'a.kiwi', 'image/config.xml', 'config.xml'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
        assert find_description(str(tmp_path), None) == str(tmp_path / name)
    assert find_description(str(tmp_path), 'b.kiwi') == str(tmp_path / 'b.kiwi')


def test_includes_and_old_schema_versions_are_resolved(tmp_path: Path) -> None:
    (tmp_path / 'more.xml').write_text(
        '<image><packages type="image"><package name="more"/></packages></image>'
    )
    found = read(
        tmp_path, '<image stashed="a" name="x" schemaversion="7.4">'
        '<include from="this://./more.xml"/></image>'
    )
    assert found is not None
    assert found.image.get('schemaversion') == schema_version()
    assert [node.get('name') for node in found.image.iter('package')] == ['more']
    assert found.image.find('include') is None


def merged(
    tmp_path: Path, text: str, profiles: Tuple[str, ...] = ('one',),
    build_type: Optional[str] = None
) -> Any:
    """Merge an extension into STASHED, for profiles and type it was built with."""
    stash = tmp_path / 'stash'
    stash.mkdir()
    (stash / 'config.xml').write_text(STASHED)
    state, stashed = load_stashed(str(stash), profiles, build_type)
    extension = Extension(str(tmp_path / 'config.xml'), True, image(text))
    result = extend_in(tmp_path, stash, state, stashed, extension).result
    return etree.fromstring(result.encode())


def extend_in(
    tmp_path: Path, stash: Path, state: Any, stashed: Any, extension: Extension,
    keep: bool = False
) -> Extended:
    work = tmp_path / 'extension'
    work.mkdir(exist_ok=True)
    (work / 'config.xml').write_bytes(etree.tostring(extension.image))
    moved = Extension(str(work / 'config.xml'), True, extension.image)
    return extend(
        str(stash), state, stashed, moved, str(tmp_path / 'out'), keep
    )


def types(result: Any) -> list[Tuple[Optional[str], str]]:
    return [
        (node.getparent().get('profiles'), node.get('image'))
        for node in result.iter('type')
    ]


def test_sections_are_added_and_the_description_replaced(tmp_path: Path) -> None:
    result = merged(tmp_path, '''
        <description type="system"><author>B</author><contact>b@b</contact>
          <specification>web</specification></description>
        <packages type="image"><package name="vim"/></packages>
        <packages type="image"><package name="python3"/></packages>
        <users><user name="u" password="p"/></users>
        <strip type="delete"><file name="x"/></strip>''')
    assert result.get('name') == 'x'
    assert result.get('schemaversion') == schema_version()
    assert 'stashed' not in result.attrib
    assert [node.text for node in result.iter('author')] == ['B']
    assert [node.get('name') for node in result.iter('package')] == ['python3', 'vim']
    assert len(result.findall('users')) == len(result.findall('strip')) == 1
    assert len(result.findall('profiles/profile')) == 2


def test_settings_replace_their_namesakes(tmp_path: Path) -> None:
    result = merged(
        tmp_path, '<preferences><version>2.0.0</version>'
        '<timezone>UTC</timezone></preferences>'
    )
    told = {node.tag: node.text for node in result.findall('preferences')[0]}
    assert told == {
        'version': '2.0.0', 'packagemanager': 'apt', 'locale': 'en_US',
        'timezone': 'UTC'
    }
    assert len(list(result.iter('version'))) == 1


@pytest.mark.parametrize(('profiles', 'built', 'left'), [
    (('one',), 'tbz', [('one', 'ext4'), ('one', 'oci'), ('two', 'tbz')]),
    (('one',), 'oci', [('one', 'tbz'), ('one', 'ext4'), ('two', 'tbz')]),
    (('two',), 'tbz', [('one', 'tbz'), ('one', 'oci'), ('two', 'ext4')]),
])
def test_a_type_replaces_the_built_one(
    tmp_path: Path, profiles: Tuple[str, ...], built: str,
    left: list[Tuple[str, str]]
) -> None:
    text = '<preferences><type image="ext4"/></preferences>'
    assert types(merged(tmp_path, text, profiles, built)) == left


def test_no_second_type_of_a_name_stays(tmp_path: Path) -> None:
    text = '<preferences><type image="oci"/></preferences>'
    assert types(merged(tmp_path, text, ('one',), 'tbz')) == [
        ('one', 'oci'), ('two', 'tbz')
    ]


def test_a_stash_without_applying_type_gets_one() -> None:
    stashed = etree.fromstring('<image name="b"><preferences/></image>')
    extension = Extension('/c', True, image('<preferences><type image="tbz"/></preferences>'))
    assert types(merge(stashed, extension, [], None).image) == [(None, 'tbz')]
    assert extension.build_type == 'tbz'


def test_one_archive_for_the_root_of_an_iso_and_no_overlay_of_the_stash(
    tmp_path: Path
) -> None:
    stash = tmp_path / 'stash'
    for place, names in (
        ('stash', ('config-cdroot.tar.bz2', 'root/etc/a', 'one/b', 'root.tar.gz', 'two/c')),
        ('extension', ('config-cdroot.tar.xz', 'root/etc/d'))
    ):
        for name in names:
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).touch()
    (stash / 'config.xml').write_text(STASHED)
    state, stashed = load_stashed(str(stash), ['one'], 'tbz')
    extended = extend_in(tmp_path, stash, state, stashed, Extension('/c', True, image('')))
    out = tmp_path / 'out'
    assert {
        os.path.relpath(os.path.join(folder, name), out)
        for folder, _, names in os.walk(out, followlinks=True) for name in names
    } == {'config.xml', 'extension.xml', 'config-cdroot.tar.xz', 'root/etc/d', 'two/c'}
    assert [os.path.basename(path) for path in extended.overlays] == [
        'one', 'root', 'root.tar.gz'
    ]


@pytest.mark.parametrize('keep', [False, True])
def test_files_go_over_those_of_the_stash(tmp_path: Path, keep: bool) -> None:
    tree = tmp_path / 'tree/image'
    tree.mkdir(parents=True)
    (tree / 'config.xml').write_text(STASHED)
    (tree / 'config.sh').write_text('echo stash $1 >> ran; exit 0\n')
    (tree / 'images.sh').write_text('true\n')
    (tree / 'link').symlink_to('/etc/shadow')
    (tree / 'stash.json').write_text('{}')
    (tree / 'extension.xml').write_text('of an earlier one')
    fd = open_tree(str(tmp_path / 'tree'))
    copy_description(fd, str(tmp_path / 'stash'))
    work = tmp_path / 'extension'
    (work / 'root').mkdir(parents=True)
    (work / 'config.sh').write_text('#!/bin/sh\necho extension $1 >> ran\nexit 3\n')
    state, stashed = load_stashed(str(tmp_path / 'stash'), ['one'], 'tbz')
    extended = extend_in(
        tmp_path, tmp_path / 'stash', state, stashed,
        Extension('/c', True, image('')), keep
    )
    out = tmp_path / 'out'
    assert sorted(path.name for path in out.iterdir()) == [
        'config.sh', 'config.xml', 'extension.xml', 'images.sh', 'root'
    ]
    assert 'stashed="a"' in (out / 'extension.xml').read_text()
    done = subprocess.run(
        ['bash', str(out / 'config.sh'), 'word'], cwd=tmp_path, check=False
    )
    assert done.returncode == 3
    assert (tmp_path / 'ran').read_text().splitlines() == ['stash word', 'extension word']
    assert not list(out.glob('.config.sh.*'))
    script = extended.instead.get('config.sh')
    assert (script is None) == keep
    assert script is None or script.content.startswith(b'#!/bin/sh\necho extension')
