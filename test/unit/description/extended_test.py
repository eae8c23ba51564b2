# SPDX-License-Identifier: GPL-3.0-or-later
"""A full description made of that of a stash and an extension, in a directory."""
from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest
from lxml import etree

from kiwi_stackbuild_plugin.description.description import copy_description, load_stashed
from kiwi_stackbuild_plugin.description.extended import (
    PREPARING, Extended, check_stashed, extend, kept_extension, link_beside, merge_scripts
)
from kiwi_stackbuild_plugin.description.extension import Extension
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.tree.opening import open_tree
from trees import describe
from zoo import write

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


def image(text: str) -> Any:
    return etree.fromstring(f'<image stashed="a" name="x">\n{text}\n</image>')


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


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """Give a directory of a user, with all that can stand in one."""
    place = tmp_path / 'user/d/web'
    (place / 'root/etc').mkdir(parents=True)
    for path in ('../common/x.tar', '../common/deep/y', '../../far/z', 'plain', 'sub/a', '../n'):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(path)
    (place / 'shared').symlink_to('../common')
    (place / 'absolute').symlink_to(tmp_path / 'user/far')
    (place / 'nowhere').symlink_to('nothing')
    (place / 'config.xml').symlink_to('../common/x.tar')
    (place / 'web.kiwi').write_text('')
    (tmp_path / 'user/d/config.sh').write_text('#!/bin/sh\n')
    (tmp_path / 'user/d/config.sh').chmod(0o755)
    (place / 'config.sh').symlink_to('../config.sh')
    os.mkfifo(place / 'fifo')
    return place


@pytest.mark.parametrize('name', [
    'plain', 'sub/a', 'shared/x.tar', 'shared/../n', 'absolute/z', '../common/x.tar',
    '../common/deep/y', '../../far/z', './../common/x.tar', '../web/plain', '../n',
    '../../d/common/x.tar', '../../d/web/sub/a', '../../../user/far/z', 'root', 'config.sh',
    '../' * 30 + 'etc/hostname'
])
def test_names_lead_to_the_same_files_as_in_the_users_directory(
    tmp_path: Path, user: Path, name: str
) -> None:
    before = describe(tmp_path / 'user')
    text = f'<packages type="image"><archive name="{name}"/></packages>'
    extension = Extension(str(user / 'web.kiwi'), True, image(text))
    made = link_beside(extension, str(tmp_path / 'out'))
    ours, theirs = os.path.join(made, name), user / name
    if name == 'config.sh':
        assert not os.path.islink(ours) and os.access(ours, os.X_OK)
    else:
        assert os.path.samefile(ours, theirs)
    assert not {'config.xml', 'web.kiwi', 'nowhere'} & set(os.listdir(made))
    assert describe(tmp_path / 'user') == before


def test_a_directory_above_is_there_as_a_whole(tmp_path: Path, user: Path) -> None:
    extension = Extension(str(user / 'web.kiwi'), True, image(
        '<repository><source path="this://.."/></repository>'
    ))
    made = link_beside(extension, str(tmp_path / 'out'))
    assert sorted(os.listdir(os.path.join(made, '..'))) == sorted(os.listdir(user / '..'))


def test_what_no_directory_can_be_is_refused(tmp_path: Path, user: Path) -> None:
    high = Extension(str(user / 'web.kiwi'), True, image(f'<archive name="{"../" * 99}x"/>'))
    with pytest.raises(KiwiStashDescriptionInvalid, match='leads up 99'):
        link_beside(high, str(tmp_path / 'out'))
    os.mkfifo(user / 'disk.sh')
    with pytest.raises(KiwiStashDescriptionInvalid, match='no regular file'):
        link_beside(Extension(str(user / 'web.kiwi'), True, image('')), str(tmp_path / 'two'))


def test_what_the_stash_has_of_files_stays_where_the_extension_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger('kiwi'), 'propagate', True)
    for name in ('both/a', 'only/b', 'x.tar', 'y.tar'):
        write(tmp_path / 'stash' / name, b'stash')
    for name in ('both/c', 'x.tar'):
        write(tmp_path / 'extension' / name, b'extension')
    before = describe(tmp_path / 'extension')
    write(tmp_path / 'stash/config.xml', STASHED.encode())
    state, stashed = load_stashed(str(tmp_path / 'stash'), ['one'], 'tbz')
    text = '<packages type="image"><archive name="x.tar"/><archive name="y.tar"/></packages>'
    extension = Extension('/c', True, image(text))
    found = extend_in(tmp_path, tmp_path / 'stash', state, stashed, extension)
    out = Path(found.directory)
    assert [(out / name).read_text() for name in ('x.tar', 'y.tar', 'only/b')] == [
        'extension', 'stash', 'stash'
    ]
    assert os.listdir(out / 'both') == ['c']
    assert 'the extension has its own: image/both' in caplog.text
    (tmp_path / 'extension/config.xml').unlink()
    assert describe(tmp_path / 'extension').keys() == before.keys()
    assert kept_extension(found.directory) == 'extension.xml' and found.missing == ()
    changed = [line for line in found.difference().splitlines() if line[0] in '+-']
    assert changed[:2] == ['--- stashed/config.xml', '+++ result/config.xml']
    assert '+        <archive name="y.tar"/>' in changed


@pytest.mark.parametrize(('name', 'kept'), [
    ('extension.xml', 'extension.xml'), ('extension.markup', 'extension.markup'),
    ('extension.yaml', None), ('extension.xml/x', None)
])
def test_kept_extensions(tmp_path: Path, name: str, kept: Optional[str]) -> None:
    write(tmp_path / name, b'')
    assert kept_extension(str(tmp_path)) == kept


@pytest.mark.parametrize(('text', 'told'), [
    ('<packages type="image"><archive name="no.tar"/></packages>',
     "'no.tar' .*is neither beside /.*/extension/config.xml nor in the stash"),
    ('<packages type="image"><archive name="link.tar"/></packages>', 'is neither beside'),
])
def test_what_kiwi_cannot_do_without_is_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / 'extension').mkdir()
    (tmp_path / 'extension/link.tar').symlink_to('nowhere')
    with pytest.raises(KiwiStashDescriptionInvalid, match=told):
        merged(tmp_path, text)


@pytest.mark.parametrize(('text', 'lines'), [
    ('', []),
    ('<type image="tbz"><bootloader grub_template="no.cfg"/></type>',
     ["'no.cfg' (bootloader grub_template)"]),
    ('<type image="tbz"><bootloader grub_template="there.cfg"/></type>', []),
    ('<type image="oci"><bootloader grub_template="no.cfg"/></type>', []),
    ('<type image="tbz"><bootloader grub_template="../../etc/x"/></type>', None),
    ('<type image="tbz" editbootconfig="no.sh"/>', []),
    # the root is there: nothing is installed
    ('<repository customize="../no.sh"/>', []),
    ('<packages type="image"><archive name="no.tar"/></packages>', []),
])
def test_names_of_a_description_that_is_built_as_it_is(
    tmp_path: Path, text: str, lines: Optional[List[str]]
) -> None:
    write(tmp_path / 'there.cfg', b'')
    write(tmp_path / 'config.xml', STASHED.encode())
    state, _ = load_stashed(str(tmp_path), ['one'], 'tbz')
    if lines is None:
        with pytest.raises(KiwiStashDescriptionInvalid, match='leads up'):
            check_stashed(str(tmp_path), state, image(text))
        return
    found = check_stashed(str(tmp_path), state, image(text))
    assert [line.partition(':')[0] for line in found] == lines
    assert all(line.endswith(': is not there') for line in found)


OLD, NEW = b'#!/bin/sh\necho old "$@"\n', b'#!/bin/sh\necho new "$@"\n'


@pytest.mark.parametrize(('name', 'old', 'new', 'keep', 'line', 'instead'), [
    ('config.sh', OLD, NEW, False, 'that of the extension, not that of the stash', NEW),
    ('config.sh', OLD, NEW, True, 'that of the stash, then that of the extension', b''),
    ('config.sh', OLD, None, False, 'not again, that of the stash did its work', None),
    ('config.sh', OLD, None, True, 'that of the stash', b''),
    ('config.sh', None, NEW, False, 'that of the extension', b''),
    ('images.sh', OLD, NEW, False, 'that of the extension, not that of the stash', b''),
    ('images.sh', OLD, NEW, True, 'that of the stash, then that of the extension', b''),
    ('images.sh', OLD, None, False, 'that of the stash', b''),
    ('disk.sh', None, NEW, True, 'that of the extension', b''),
])
def test_which_script_runs(
    tmp_path: Path, name: str, old: Any, new: Any, keep: bool, line: str, instead: Any
) -> None:
    """instead: b'' where what stands in the result runs, None where nothing does."""
    for place, content in (('stash', old), ('out', new)):
        (tmp_path / place).mkdir()
        if content:
            write(tmp_path / place / name, content).chmod(0o755)
    said, other = merge_scripts(str(tmp_path / 'stash'), str(tmp_path / 'out'), keep)
    assert len(said) == 1 and said[0].startswith(f'{name}: {line}')
    assert (name in other) == (instead != b'')
    script = other.get(name)
    assert (script and script.content) == (instead or None)
    assert script is None or script.mode == 0o755
    joined = old and new and (keep or name in PREPARING)
    result = subprocess.run(
        ['sh', '-c', f'{tmp_path}/out/{name} a "b c"'], capture_output=True, text=True, check=False
    ).stdout
    assert result == (
        'old a b c\nnew a b c\n' if joined else 'new a b c\n' if new else ''
    )


@pytest.mark.parametrize(('old', 'new', 'printed', 'status'), [
    (b'echo $BASH_VERSINFO | grep -c .', b'#!/bin/sh\ncat <<END-OF-SCRIPT\n$1\nEND-OF-SCRIPT',
     b'1\na\n', 0),
    (b'#!/usr/bin/env python3\nimport sys; print(sys.argv[1:])\n', b'exit 4', b"['a']\n", 4),
    (b'echo old; exit 3', b'echo new', b'old\n', 3),
    (b"printf '\xff\\n'", b"echo '$HOME `id` \\\\'\n\n\n", b'\xff\n$HOME `id` \\\\\n', 0),
    (b'END-OF-SCRIPT-() { echo f; }; END-OF-SCRIPT-', b'cat', b'f\ninput\n', 0),
    (b'echo same', b'echo same', b'same\nsame\n', 0),
], ids=lambda value: repr(value)[:20])
def test_joined_scripts_are_each_as_they_were(
    tmp_path: Path, old: bytes, new: bytes, printed: bytes, status: int
) -> None:
    write(tmp_path / 'stash/config.sh', old)
    write(tmp_path / 'out/config.sh', new)
    merge_scripts(str(tmp_path / 'stash'), str(tmp_path / 'out'), True)
    done = subprocess.run(
        [tmp_path / 'out/config.sh', 'a'], input=b'input\n', capture_output=True, check=False
    )
    assert (done.stdout, done.returncode) == (printed, status)
    assert os.listdir(tmp_path / 'out') == ['config.sh'], 'nothing is left'


def test_a_script_that_both_have_is_not_run_twice(tmp_path: Path) -> None:
    for where in ('stash', 'out'):
        write(tmp_path / where / 'config.sh', OLD)
    merge_scripts(str(tmp_path / 'stash'), str(tmp_path / 'out'), False)
    assert (tmp_path / 'out/config.sh').read_bytes() == OLD
