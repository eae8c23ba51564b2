# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files in descriptions: those of a stash, and those of an extension."""
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, List, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from kiwi_stackbuild_plugin.description import names
from kiwi_stackbuild_plugin.description.names import (
    Kind, applying, find_names, guard_names, host_scripts, refuse_includes
)
from kiwi_stackbuild_plugin.description.schema import RNG, kiwi_schema
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

#: '@' stands for a name
PLACES = {
    'archive': '<packages type="image"><archive name="@"/></packages>',
    'file': '<packages type="bootstrap"><file name="@"/></packages>',
    'editbootconfig': '<preferences><type image="tbz" editbootconfig="@"/></preferences>',
    'editbootinstall': '<preferences><type image="tbz" editbootinstall="@"/></preferences>',
    'customize': '<repository customize="@"><source path="obs://a"/></repository>',
    'this': '<repository><source path="this://@"/></repository>',
    'twice': '<repository><source path="this://this://@"/></repository>',
    'key': '<repository><source path="obs://a"><signing key="this://@"/></source></repository>',
    'template': '<type image="tbz"><bootloader grub_template="@"/></type>',
    'vagrant': '<type image="tbz"><vagrantconfig embedded_vagrantfile="@"/></type>',
    'profile': '<profiles><profile name="@"/></profiles>',
    'boot': '<type image="tbz" boot="@"/>',
    'target': '<packages type="image"><file name="a" target="@"/></packages>',
    'target_dir': '<packages type="image"><archive name="a" target_dir="@"/></packages>',
    'volume': '<type image="tbz"><systemdisk><volume name="@"/></systemdisk></type>',
    'mountpoint': '<type image="tbz"><partitions><partition mountpoint="@"/></partitions></type>',
    'spare': '<type image="tbz" spare_part_mountpoint="@"/>',
    'theme': '<preferences><bootloader-theme>@</bootloader-theme></preferences>',
    'splash': '<preferences><bootsplash-theme>@</bootsplash-theme></preferences>',
    'container': '<containers><container name="@"/></containers>',
    'bootstrap': '<packages type="bootstrap" bootstrap_package="@"/>',
    'alias': '<repository alias="@"/>',
    'credentials': '<repository><source path="http://h/r?credentials=@"/></repository>',
}
WORDS = '<keytable>@</keytable>'
STORED = ('archive', 'file', 'editbootconfig', 'editbootinstall')
#: absolute ones of these are in the root tree, or part of a longer path
ROOTED = ('target', 'target_dir', 'volume', 'mountpoint', 'spare', 'theme', 'splash',
          'container', 'bootstrap')
HOSTILE = (
    '../x', '../../../../etc/cron.d/x', 'a/../../x', 'a/b/../../../x', './../x', '/etc/x',
    '//etc/x', '..', 'a/..', '/', '../', 'x/../../y/'
)


def image(text: str) -> Any:
    return etree.fromstring(f'<image>{text}</image>')


def guard(text: str, directory: Any = '/nonexistent', **more: Any) -> Any:
    parsed = image(text)
    guard_names(
        parsed, str(directory), applying(more.get('profiles', ()), more.get('kind', 'tbz')), 'x'
    )
    return parsed


def values(parsed: Any) -> List[Tuple[Kind, str]]:
    return [(name.kind, name.value) for name in find_names(parsed)]


@pytest.mark.parametrize('name', HOSTILE)
@pytest.mark.parametrize('place', PLACES)
def test_hostile_names_are_refused_or_made_flat(place: str, name: str) -> None:
    try:
        found = values(guard(PLACES[place].replace('@', name)))
    except KiwiStashDescriptionInvalid as issue:
        assert name.replace('this://', '') in issue.summary and '--description' in issue.hint
        return
    if place in STORED:
        assert all('/' not in value and value != '..' for _, value in found)
    else:
        assert place in ROOTED and '..' not in name.split('/'), found


@pytest.mark.parametrize(('text', 'says'), [
    ('<repository><source path=".this://./a"/></repository>', ''),
    ('<repository><source path="this://.this://./etc"/></repository>', 'leads up'),
    ('<repository><source path="this:///etc"/></repository>', 'is absolute'),
    ('<repository><source path="a"><signing key="file:///@/key"/></source></repository>',
     'not everybody may read'),
    ('<repository><source path="a"><signing key="file:/@/key"/></source></repository>',
     'not everybody may read'),
    ('<type image="tbz" luks="file:///@/key"/>', 'not everybody may read'),
    ('<type image="tbz" luks="/@/key"/>', 'not everybody may read'),
    ('<type image="tbz" luks="/@/fifo"/>', 'no regular file'),
    ('<type image="tbz" integrity_keyfile="/@/key"/>', 'not everybody may read'),
    ('<type image="tbz" derived_from="file:///@/key"/>', 'not everybody may read'),
    ('<type image="tbz" luks="file:///@/open"/>', ''),
    ('<type image="tbz" luks="secret ../x"/>', ''),
    ('<type image="appx" metadata_path="/@"/>', ''),
    ('<type image="tbz" metadata_path="/@"/>', 'would be written to'),
    ('<repository><source path="dir:///@"/></repository>', ''),
    ('<repository><source path="http://[broken"/></repository>', ''),
    ('<repository><source path="http://h/?credentials=a%2Fb"/></repository>', 'no plain name'),
    ('<repository profiles="p,q" customize="../x"/>', ''),
    ('<repository arch="nosuch" customize="../x"/>', ''),
    ('<repository customize="sub/x"/>', ''),
    ('<type image="oem" boot="oemboot/suse"/>', ''),
    *((f'<preferences>{WORDS.replace("@", word)}</preferences>', 'shell acts on')
      for word in ('us"; touch /x; "', '$(id)', '`id`', 'a|b', 'a&amp;b', "'", 'a>b', 'a\nb')),
    (f'<preferences>{WORDS.replace("@", "de_DE.UTF-8")}</preferences>', ''),
    ('<preferences><timezone>Etc/GMT+2</timezone></preferences>', ''),
    ('<preferences><timezone>a;b</timezone></preferences>', 'shell acts on'),
    ('<preferences><locale>a;b</locale></preferences>', 'shell acts on'),
    ('<type image="tbz" volid="a;b"/>', 'shell acts on'),
    ('<type image="tbz" application_id="a;b"/>', 'shell acts on'),
])
def test_what_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / 'key').write_text('secret')
    (tmp_path / 'key').chmod(0o640)
    (tmp_path / 'open').write_text('for all')
    (tmp_path / 'open').chmod(0o644)
    os.mkfifo(tmp_path / 'fifo')
    if not says:
        guard(text.replace('/@', str(tmp_path)))
        return
    with pytest.raises(KiwiStashDescriptionInvalid, match=says):
        guard(text.replace('/@', str(tmp_path)))


def test_what_the_build_does_not_use_is_not_refused() -> None:
    text = '<repository profiles="p" customize="../x"/>'
    with pytest.raises(KiwiStashDescriptionInvalid):
        guard(text, profiles=['p'])
    guard(text, profiles=['q'])
    guard('<type image="tbz" boot="/x"/>', kind=None)


@pytest.mark.parametrize(('there', 'text', 'becomes'), [
    ('x.tar', '<archive name="../common/x.tar"/>', 'x.tar'),
    ('x.tar', '<archive name="/srv/x.tar"/>', 'x.tar'),
    ('x.tar', '<archive name="sub/x.tar"/>', 'x.tar'),
    ('sub/x.tar', '<archive name="sub/x.tar"/>', 'sub/x.tar'),
    ('', '<archive name="sub/x.tar"/>', 'sub/x.tar'),
    ('x', '<packages type="image"><file name="../x"/></packages>', 'x'),
    ('edit_boot_config.sh', '<type image="a" editbootconfig="../e.sh"/>', 'edit_boot_config.sh'),
    ('edit_boot_install.sh', '<type image="a" editbootinstall="e.sh"/>', 'edit_boot_install.sh'),
    ('e.sh', '<type image="a" editbootinstall="e.sh"/>', 'e.sh'),
])
def test_kept_files_are_found_under_the_name_that_kiwi_kept(
    tmp_path: Path, there: str, text: str, becomes: str
) -> None:
    if there:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).write_text('')
    assert values(guard(text, tmp_path)) == [(Kind.STORED, becomes)]


WORDS = st.lists(
    st.sampled_from(('..', '.', '', 'a', 'b', '...', 'this://', '~', ' ..', '%2e%2e', '\\')),
    min_size=1, max_size=6
).map('/'.join)


@settings(
    max_examples=int(os.environ.get('KIWI_STASH_TEST_FUZZ', '60')) * 3, deadline=None,
    database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(sorted(PLACES)), WORDS)
def test_no_name_leads_out(place: str, name: str) -> None:
    """What passes the door, joined to a directory as kiwi does, stays below it."""
    try:
        found = values(guard(PLACES[place].replace('@', name)))
    except KiwiStashDescriptionInvalid:
        return
    for kind, value in found:
        assert kind is not Kind.WRITTEN
        joined = f'/d/{value}' if kind is Kind.PLACE else os.path.join('/d', value)
        if kind is not Kind.HOST:
            assert os.path.normpath(joined).startswith('/d'), (kind, value)


@pytest.mark.parametrize('text', [
    '<include from="file:///etc/passwd"/>', '<include from="this://../x"/>', '<include/>',
    '<include from="http://h/x"/>', '<preferences><include from="x"/></preferences>',
    '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="x"/>'
])
def test_includes_of_a_stash_are_refused(text: str) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid, match='<include> of'):
        refuse_includes(image(text), 'x')


#: attributes of kiwi's schema that speak of files or paths and name none
NO_NAMES = {
    'archive', 'bootfilesystem', 'boxname', 'btrfs_quota_groups',
    'btrfs_root_is_readonly_snapshot', 'bundle_format', 'compressed', 'copy_on_write',
    'embed_integrity_metadata', 'embed_verity_metadata', 'ensure_empty_tmpdirs', 'filesystem',
    'filesystem_check', 'from', 'fscreateoptions', 'fsmountoptions', 'hybridpersistent',
    'hybridpersistent_filesystem', 'id', 'integrity_metadata_key_description', 'label',
    'overlayroot', 'overlayroot_readonly_createoptions', 'overlayroot_readonly_filesystem',
    'overlayroot_readonly_partsize', 'package_gpgcheck', 'preferlvm', 'provide_system_files',
    'quota', 'ramonly', 'repository_gpgcheck', 'require_system_files', 'rootfs_label', 'script',
    'source', 'sourcetype', 'spare_part_fs', 'spare_part_fs_attributes', 'standalone_integrity',
    'type', 'use_disk_password', 'verity_blocks', 'virtualsize', 'workingdir'
}


def test_all_that_speaks_of_files_in_the_schema_is_known() -> None:
    """An attribute that a new kiwi brings has to be put on one of the lists."""
    known = {attribute for _, _, attribute in names._NAMES} | {
        attribute for _, attribute in names._ADDRESSES
    }
    spoken = {
        node.get('name') for node in kiwi_schema().iter(f'{RNG}attribute')
        if re.search(r'(?i)\b(path|file|director|script|relative)', ''.join(
            node.itertext()
        ) + ' ' + str(node.get('name')))
    }
    assert len(spoken) > 20
    assert sorted(spoken - known - NO_NAMES - {None}) == []


def test_scripts_that_kiwi_runs_on_the_host_are_told(tmp_path: Path) -> None:
    for name in ('edit_boot_install.sh', 'fix.sh', 'other.sh'):
        (tmp_path / name).touch()
    parsed = guard(
        '<type image="tbz" editbootinstall="scripts/install.sh" editbootconfig="none.sh"/>'
        '<repository customize="fix.sh"/><repository arch="nosuch" customize="other.sh"/>',
        tmp_path
    )
    assert host_scripts(parsed, str(tmp_path), applying((), 'tbz')) == [
        'edit_boot_install.sh', 'fix.sh'
    ]
