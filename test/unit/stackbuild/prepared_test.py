# SPDX-License-Identifier: GPL-3.0-or-later
"""What kiwi still does to a root that has what a description asks for."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest
from kiwi import xml_parse
from kiwi.system.setup import SystemSetup
from kiwi.tasks import system_build
from kiwi.xml_state import XMLState
from lxml import etree

from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import join_bootstrap
from kiwi_stackbuild_plugin.description.extended import Script
from kiwi_stackbuild_plugin.description.extension import Extension
from kiwi_stackbuild_plugin.description.keyed import Built
from kiwi_stackbuild_plugin.description.merging import merge
from kiwi_stackbuild_plugin.description.schema import element_names, schema_version
from kiwi_stackbuild_plugin.stackbuild.prepared import (
    Preparation, ignored_packages, prepared
)

KNOWN = set(element_names())
HAS_FILES = hasattr(XMLState, 'get_system_files')
STASHED = '''<image schemaversion="{version}" name="base" id="7">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>s</specification>
  </description>
  <profiles><profile name="one" description="1"/><profile name="two" description="2"/></profiles>
  <preferences>
    <version>1.0.0</version><packagemanager>apt</packagemanager><type image="tbz"/>
    <timezone>UTC</timezone><locale>en_US</locale>
  </preferences>
  {content}
</image>'''


def prepare(where: Path, content: str, text: str, has_manager: bool = True) -> Any:
    """Return kiwi's state of a stash with an extension, and what is done of it."""
    stashed = etree.fromstring(STASHED.format(version=schema_version(), content=content))
    extension = Extension(str(where / 'none/config.xml'), True, etree.fromstring(
        f'<image stashed="a" name="x">{text}</image>'
    ))
    merged = merge(
        stashed, extension, [0], 0, Built(('one', 'two'), 'tbz'), Built(('one',), 'tbz')
    )
    (where / 'config.xml').write_bytes(etree.tostring(merged.image))
    data = xml_parse.parse(str(where / 'config.xml'), True)
    data.description_dir = data.derived_description_dir = None
    task = SimpleNamespace(
        xml_state=XMLState(data, ['one', 'two'], 'tbz'), load_xml_description=lambda: None
    )
    preparation = Preparation(merged.done, {}, has_manager, 'id' not in extension.image.attrib)
    preparation.follow(task)
    task.load_xml_description()
    return task.xml_state, preparation


def names(elements: List[Any]) -> List[str]:
    return [element.get_name() for element in elements]


Ask = Callable[[Any], List[str]]
ROWS = [
    # element that kiwi must know, stash, extension, what kiwi asks for,
    # what it is told of the extension, and without it of the whole
    ('user', '<users><user name="o" password="x"/></users>',
     '<users><user name="n" password="x"/></users>',
     lambda state: names(state.get_users()), ['n'], ['o', 'n']),
    ('user', '<users profiles="two"><user name="o" password="x"/></users>', '',
     lambda state: names(state.get_users()), ['o'], ['o']),
    ('package', '<packages type="image"><package name="o"/><archive name="o.tar"/></packages>',
     '<packages type="image"><package name="n"/></packages>',
     lambda state: state.get_system_packages(), ['n'], ['n', 'o']),
    ('package', '<packages type="iso"><package name="o"/></packages>', '',
     lambda state: state.get_packages_sections(['iso'])[0].get_package()[0].get_name(), 'o', 'o'),
    ('ignore', '<packages type="image"><ignore name="o"/></packages>', '',
     lambda state: state.get_system_ignore_packages(), ['o'], ['o']),
    ('archive', '<packages type="image"><archive name="o.tar"/></packages>',
     '<packages type="image"><archive name="n.tar"/></packages>',
     lambda state: state.get_system_archives(), ['n.tar'], ['n.tar', 'o.tar']),
    ('archive', '<packages type="bootstrap"><archive name="o.tar"/></packages>', '',
     lambda state: state.get_system_archives(), [], ['o.tar']),
    ('package', '<packages type="delete"><package name="o"/></packages>',
     '<packages type="delete"><package name="n"/></packages>',
     lambda state: state.get_to_become_deleted_packages(True), ['n'], ['n', 'o']),
    ('package', '<packages type="uninstall"><package name="o"/></packages>', '',
     lambda state: state.get_to_become_deleted_packages(False), [], ['o']),
    ('product', '<packages type="image"><product name="o"/></packages>', '',
     lambda state: state.get_system_products(), [], ['o']),
    ('namedCollection', '<packages type="image"><namedCollection name="o"/></packages>', '',
     lambda state: state.get_system_collections(), [], ['o']),
    ('certificate',
     '<certificates target_distribution="suse"><certificate name="o"/></certificates>',
     '<certificates target_distribution="suse"><certificate name="n"/></certificates>',
     lambda state: state.get_certificates(), ['n'], ['n', 'o']),
    ('container',
     '<containers source="h" backend="podman"><container name="o"/></containers>', '',
     lambda state: names(state.get_containers_sections()[0].get_container()), [], ['o']),
    ('repository',
     '<repository type="apt-deb" imageinclude="true" alias="o"><source path="http://a"/></repository>',
     '<repository type="apt-deb" imageinclude="true" alias="n"><source path="http://b"/></repository>',
     lambda state: [one.get_alias() for one in state.get_repository_sections_used_in_image()],
     ['n'], ['o', 'n']),
    ('repository',
     '<repository type="apt-deb" alias="o"><source path="http://a"/></repository>', '',
     lambda state: [one.get_alias() for one in state.get_repository_sections_used_for_build()],
     ['o'], ['o']),
    ('timezone', '', '<preferences><timezone>CET</timezone></preferences>',
     lambda state: sorted(SystemSetup(state, '/nowhere').preferences), ['timezone'],
     ['locale', 'timezone']),
    ('image', '', '', lambda state: state.xml_data.get_id(), None, '7'),
]


@pytest.mark.parametrize(
    ('stashed', 'text', 'ask', 'told', 'whole'), [row[1:] for row in ROWS if row[0] in KNOWN]
)
def test_kiwi_is_told_what_is_new(
    tmp_path: Path, stashed: str, text: str, ask: Ask, told: Any, whole: Any
) -> None:
    state, preparation = prepare(tmp_path, stashed, text)
    join_bootstrap(state)
    assert ask(preparation.changes(state)) == told
    assert ask(state) == whole, 'what kiwi keeps is whole'


@pytest.mark.skipif(not HAS_FILES, reason='this kiwi has no <file> in <packages>')
def test_files_are_not_copied_again(tmp_path: Path) -> None:
    state, preparation = prepare(
        tmp_path, '<packages type="image"><file name="o" target="/"/></packages>', ''
    )
    assert list(state.get_system_files()) == ['o']
    assert not preparation.changes(state).get_system_files()


def test_packages_are_installed_where_their_manager_is_not(tmp_path: Path) -> None:
    state, preparation = prepare(
        tmp_path, '<packages type="bootstrap"><package name="o"/></packages>'
        '<packages type="delete"><package name="d"/></packages>'
        '<users><user name="o" password="x"/></users>', '', has_manager=False
    )
    found = preparation.changes(state)
    assert found.get_bootstrap_packages() == ['o']
    assert found.get_to_become_deleted_packages(True) == ['d']
    assert not found.get_users()


@pytest.mark.parametrize('script', [None, Script(b'new', 0o755)])
def test_another_script_is_there_while_kiwi_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Any
) -> None:
    (tmp_path / 'image').mkdir()
    (tmp_path / 'image/config.sh').write_text('whole')
    seen: List[Any] = []

    def look(self: Any) -> None:
        path = Path(self.root_dir, 'image/config.sh')
        seen.append((path.read_bytes(), path.stat().st_mode & 0o777) if path.exists() else None)

    monkeypatch.setattr(SystemSetup, 'call_config_script', look)
    state, _ = prepare(tmp_path, '', '')
    original = system_build.SystemSetup
    with prepared(Preparation((), {'config.sh': script})):
        setup = system_build.SystemSetup(state, str(tmp_path))
        setup.call_config_script()
    assert seen == [script]
    assert (tmp_path / 'image/config.sh').read_text() == 'whole'
    assert [path.name for path in (tmp_path / 'image').iterdir()] == ['config.sh']
    assert system_build.SystemSetup is original


def test_no_script_is_written_through_a_link(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / 'outside').mkdir()
    (tmp_path / 'outside/config.sh').write_text('theirs')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root/image').symlink_to('../outside')
    monkeypatch.setattr(SystemSetup, 'call_config_script', lambda self: None)
    state, _ = prepare(tmp_path, '', '')
    with prepared(Preparation((), {'config.sh': None})):
        setup = system_build.SystemSetup(state, str(tmp_path / 'root'))
        with pytest.raises(OSError):
            setup.call_config_script()
    assert (tmp_path / 'outside/config.sh').read_text() == 'theirs'


IGNORED = (
    '<packages type="bootstrap"><package name="b"/><ignore name="i"/><ignore name="x"/></packages>'
    '<packages type="image"><package name="x"/><ignore name="j"/></packages>'
)


@pytest.mark.parametrize(('manager', 'missing', 'expected'), [
    # what the bootstrap phase alone does without is not in the way of the image phase
    ('dnf4', False, ['j']), ('apt', False, ['j']), ('zypper', False, ['j']),
    ('dnf4', True, ['i', 'j']), ('zypper', True, ['j']),
])
def test_what_is_not_installed_where_there_is_no_bootstrap(
    tmp_path: Path, manager: str, missing: bool, expected: List[str]
) -> None:
    state, _ = prepare(tmp_path, IGNORED, '')
    asked: List[Any] = []

    def tell(packages: Any) -> bool:
        asked.extend(packages)
        return missing

    state.get_package_manager = lambda: manager
    join_bootstrap(state)
    assert ignored_packages(state, tell) == expected
    assert asked == ([] if manager == 'zypper' else ['b'])
