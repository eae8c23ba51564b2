# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a description fits a stash; kiwi's own XML state, trees made by hand."""
from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Sequence

import pytest
from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState

from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import join_bootstrap, skip_bootstrap
from kiwi_stackbuild_plugin.description.checks import (
    check_architecture, check_files, check_packages
)
from kiwi_stackbuild_plugin.description.facts import BaseFacts
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.image.image import ImageInfo

TEXT = '''<image schemaversion="7.4" name="x">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>s</specification>
  </description>
  <preferences>
    <version>1.0.0</version><packagemanager>apt</packagemanager><type image="tbz"/>
  </preferences>
  <repository type="apt-deb" distribution="bookworm" components="main">
    <source path="http://user:secret@h/debian"/>
  </repository>
  <packages type="bootstrap">
    <package name="apt"/><archive name="early.tar" target_dir="/opt"/>
  </packages>
  <packages type="image"><package name="vim"/></packages>
</image>'''
DEBIAN = BaseFacts(
    frozenset({'apt'}), frozenset({'deb'}), 'debian', (), 'bookworm'
)


@pytest.fixture(autouse=True)
def propagate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let caplog see what the plugin says."""
    monkeypatch.setattr(logging.getLogger('kiwi'), 'propagate', True)


def state_of(tmp_path: Path, *changes: Sequence[str]) -> Any:
    text = TEXT
    for old, new in changes:
        text = text.replace(old, new)
    (tmp_path / 'config.xml').write_text(text)
    return XMLState(XMLDescription(str(tmp_path / 'config.xml')).load())


def test_a_base_with_the_package_manager(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert check_packages(state_of(tmp_path), DEBIAN, 'base')
    assert [entry for entry in caplog.records if entry.levelno > logging.INFO] == []


def test_a_base_without_any_is_bootstrapped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not check_packages(state_of(tmp_path), BaseFacts(), 'busybox')
    assert 'busybox has no apt: kiwi bootstraps into what is there' in caplog.text


def test_another_kind_of_packages_is_refused(tmp_path: Path) -> None:
    state = state_of(tmp_path, ('>apt<', '>zypper<'))
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        check_packages(state, DEBIAN, 'base')
    assert 'installs with zypper, base has apt' in f'{issue.value}'


@pytest.mark.parametrize(('change', 'told'), [
    (('/debian"', '/ubuntu"'), 'looks like one for ubuntu'),
    (('"bookworm"', '"trixie-updates"'), 'is for trixie'),
])
def test_another_distribution_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Sequence[str], told: str
) -> None:
    assert check_packages(state_of(tmp_path, change), DEBIAN, 'base')
    assert told in caplog.text
    assert 'secret' not in caplog.text.partition('WARNING')[2]


@pytest.mark.parametrize('suite', ['stable', 'bookworm-security', 'bookworm/updates'])
def test_suites_of_the_same_release_are_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suite: str
) -> None:
    check_packages(state_of(tmp_path, ('"bookworm"', f'"{suite}"')), DEBIAN, 'base')
    assert 'WARNING' not in caplog.text


def test_architectures_are_compared() -> None:
    images = [ImageInfo('a' * 64, ('s:1',), architecture='arm64'), ImageInfo('b' * 64)]
    check_architecture(images, {'--target-arch': 'aarch64'})
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        check_architecture(images, {'--target-arch': 'riscv64'})
    assert 's:1 is a root tree for arm64' in f'{issue.value}'


@pytest.mark.parametrize(('wanted', 'version', 'warned'), [
    ('12', '12', False), ('12', '12.5', False), ('12.5', '12', False),
    ('9', '9.4', False), ('12', '13', True), ('15.5', '15.6', True),
    ('1', '12', True), ('40', '', False), ('', '40', False),
    ('rawhide', '42', False), ('9-stream', '10', False), ('2024.1', '2024.01', True),
])
def test_the_release_version_is_that_of_the_base(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wanted: str, version: str,
    warned: bool
) -> None:
    section = f'<release-version>{wanted}</release-version>' if wanted else ''
    state = state_of(tmp_path, ('<type image', f'{section}<type image'))
    assert check_packages(state, replace(DEBIAN, version=version), 'base')
    told = f'base is debian {version}, the description is for release version {wanted}'
    assert (told in caplog.text) == warned


def test_bootstrap_sections_become_image_sections(tmp_path: Path) -> None:
    state = state_of(tmp_path)
    assert state.get_bootstrap_packages_sections()
    join_bootstrap(state)
    assert state.get_bootstrap_packages_sections() == []
    assert state.get_bootstrap_packages() == []
    assert state.get_bootstrap_archives() == []
    assert not state.get_bootstrap_package_name()
    assert state.get_system_packages() == ['apt', 'vim']
    assert state.get_system_archives() == ['early.tar']
    assert state.get_system_archives_target_dirs() == {'early.tar': '/opt'}
    kept = [section.get_type() for section in state.xml_data.get_packages()]
    assert kept == ['bootstrap', 'image']


def test_a_task_is_told_once_it_has_loaded_its_description(tmp_path: Path) -> None:
    class Task:
        def __init__(self) -> None:
            self.command_args = {
                '--add-bootstrap-package': ['early'], '--add-package': ['late']
            }
            self.xml_state: Any = None

        def load_xml_description(self, directory: str) -> None:
            self.xml_state = state_of(Path(directory))

    task = Task()
    skip_bootstrap(task)
    task.load_xml_description(str(tmp_path))
    assert task.xml_state.get_bootstrap_packages_sections() == []
    assert task.command_args == {
        '--add-bootstrap-package': [], '--add-package': ['late', 'early']
    }


NAMED = '<packages type="image"><package name="vim"/>'


@pytest.mark.parametrize(('old', 'new', 'told'), [
    (NAMED, f'{NAMED}<archive name="none.tar"/>', 'Specified archive none.tar does not exist'),
    (NAMED, f'{NAMED}<archive name="/none/x.tar"/>', 'Specified archive /none/x.tar does not'),
    ('<type image="tbz"/>', '<type image="oem" filesystem="ext4" editbootinstall="no.sh"/>',
     'Specified type no.sh does not exist'),
    ('/debian"/>', '/debian"><signing key="file:///none.key"/></source>',
     'Specified signing /none.key does not exist'),
])
def test_a_file_that_kiwi_asks_for_later_is_missed_at_once(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    (tmp_path / 'early.tar').touch()
    path = str(tmp_path / 'config.xml')
    state = state_of(tmp_path, (old, new))
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        check_files(state, path, path)
    assert issue.value.summary.startswith(f'{path}: {told}')


@pytest.mark.parametrize(('old', 'new', 'warnings'), [
    (NAMED, NAMED, []),
    (NAMED, f'{NAMED}</packages><packages type="iso"><archive name="none.tar"/>', []),
    ('http://user:secret@h/debian', 'dir:///none/there', ['/none/there']),
])
def test_what_kiwi_does_without_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, old: str, new: str,
    warnings: Sequence[str]
) -> None:
    (tmp_path / 'early.tar').touch()
    path = str(tmp_path / 'config.xml')
    check_files(state_of(tmp_path, (old, new)), path, path)
    said = [entry.message for entry in caplog.records if 'names' in entry.message]
    assert len(said) == len(warnings)
    assert all(name in line for name, line in zip(warnings, said))
