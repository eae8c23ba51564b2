# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's own tasks called with the options of the user, by the kiwi installed."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

import kiwi.defaults
import pytest
from kiwi.cli import Cli
from kiwi.exceptions import KiwiError
from kiwi.tasks.system_create import SystemCreateTask
from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState
from trees import CONFIG, make_root

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.stackbuild import kiwi_call

OPTIONS = {
    '--type': ['--type=oci'],
    '--profile': ['--profile', 'one', '--profile=two'],
    '--kiwi-file': ['--kiwi-file=my.kiwi'],
    '--target-arch': ['--target-arch=x86_64'],
    '--setenv': ['--setenv=KIWI_CALL_A=1', '--setenv', 'KIWI_CALL_B=2=3'],
    '--config': ['--config=CONFIG'],
    '--shared-cache-dir': ['--shared-cache-dir=/var/cache/other'],
    '--temp-dir': ['--temp-dir', '/var/tmp/other'],
    '--logfile': ['--logfile=stdout'],
    '--loglevel': ['--loglevel=30'],
    '--logsocket': ['--logsocket=/tmp/socket'],
    '--debug': ['--debug'],
    '--color-output': ['--color-output'],
    '--debug-run-scripts-in-screen': ['--debug-run-scripts-in-screen'],
}


@pytest.fixture(autouse=True)
def kiwi_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what options such as --temp-dir leave in kiwi's modules."""
    for name, value in vars(kiwi.defaults).items():
        if name.isupper():
            monkeypatch.setattr(kiwi.defaults, name, value)
    for name in ('KIWI_CALL_A', 'KIWI_CALL_B'):
        monkeypatch.setenv(name, '')
    for name in ('global_args', 'subcommand_args'):
        if hasattr(Cli, name):
            monkeypatch.setattr(Cli, name, {})
    yield


@pytest.fixture
def words(request: pytest.FixtureRequest, tmp_path: Path) -> List[str]:
    """The words of an option, with a real file behind --config."""
    config = tmp_path / 'kiwi.yml'
    config.write_text('xz:\n  - options: "-1"\n')
    return [word.replace('CONFIG', str(config)) for word in OPTIONS[request.param]]


def parsed(words: List[str]) -> Dict[str, Any]:
    """What kiwi makes of global options on its own command line."""
    argv = ['kiwi-ng', *words, 'system', 'create', '--root=/r', '--target-dir=/t']
    with kiwi_call.kiwi_argv(argv):
        return dict(SystemCreateTask(should_perform_task_setup=False).global_args)


def comparable(value: Any) -> Any:
    # docopt of kiwi 9 gives the last of several twice
    return list(dict.fromkeys(value)) if isinstance(value, list) else value


def supported(option: str, args: Mapping[str, Any]) -> None:
    if option not in args:
        pytest.skip(f'this kiwi has no {option}')


@pytest.mark.parametrize(('option', 'words'), [(n, n) for n in OPTIONS], indirect=['words'])
def test_global_option_reaches_the_nested_build(option: str, words: List[str]) -> None:
    supported(option, parsed([]))
    ours = parsed(words)
    call = kiwi_call.prepare_build('/d', '/t', ours, [])
    assert ours[option] not in (None, False, [])
    assert comparable(call.task.global_args[option]) == comparable(ours[option])
    assert sum(
        word.startswith(option + '=') or word == option for word in call.argv
    ) == len([word for word in words if word.startswith('--')])


@pytest.mark.parametrize(('option', 'words'), [(n, n) for n in OPTIONS], indirect=['words'])
def test_global_option_reaches_the_nested_create(option: str, words: List[str]) -> None:
    supported(option, parsed([]))
    ours = parsed(words)
    nested = kiwi_call.prepare_create('/r', '/t', ours, []).task.global_args
    expected = comparable(ours[option])
    if option == '--kiwi-file':
        expected = kiwi_call.ROOT_DESCRIPTION
    assert comparable(nested[option]) == expected


def test_all_global_options_at_once_change_nothing_else() -> None:
    names = [name for name in OPTIONS if name != '--config' and name in parsed([])]
    ours = parsed([word for name in names for word in OPTIONS[name]])
    nested = kiwi_call.prepare_build('/d', '/t', ours, []).task.global_args
    for name in OPTIONS:
        assert comparable(nested.get(name)) == comparable(ours.get(name))


@pytest.mark.parametrize('beside', ['config.xml', 'a.kiwi', 'image/a.kiwi'])
def test_create_reads_the_description_in_image_and_no_other(
    tmp_path: Path, beside: str
) -> None:
    root = make_root(tmp_path / 'root')
    (root / beside).write_text(CONFIG.format(schema='7.4', name='other'))
    task = kiwi_call.prepare_create(str(root), f'{tmp_path}/t', parsed([]), []).task
    task.load_xml_description(str(root), task.global_args['--kiwi-file'])
    assert task.xml_data.get_name() == 'small'
    (root / 'image/config.xml').unlink()
    with pytest.raises(KiwiError):
        task.load_xml_description(str(root), task.global_args['--kiwi-file'])


def test_defaults_are_given_once() -> None:
    argv = kiwi_call.prepare_create('/r', '/t', parsed([]), []).argv
    for name in ('--temp-dir', '--shared-cache-dir'):
        assert len([word for word in argv if word.startswith(name)]) <= 1


def test_repeated_profiles_are_given_once_in_their_order() -> None:
    ours = parsed(['--profile=b', '--profile=a', '--profile=b'])
    argv = kiwi_call.prepare_create('/r', '/t', ours, []).argv
    assert [word for word in argv if word.startswith('--profile')] == [
        '--profile=b', '--profile=a'
    ]


def test_values_of_callers_are_forwarded() -> None:
    ours = {**parsed([]), '--profile': ['labels'], '--type': 'tbz'}
    nested = kiwi_call.prepare_create('/r', '/t', ours, []).task.global_args
    assert comparable(nested['--profile']) == ['labels']
    assert nested['--type'] == 'tbz'


def test_arguments_reach_build() -> None:
    extra = ['--add-package', 'vim', '--add-package=less', '--clear-cache']
    call = kiwi_call.prepare_build('/d', '/t', parsed([]), extra)
    args = call.task.command_args
    assert args['--add-package'] == ['vim', 'less']
    assert args['--clear-cache']
    assert args['--allow-existing-root']
    assert (args['--description'], args['--target-dir']) == ('/d', '/t')


def test_arguments_reach_create() -> None:
    extra = ['--signing-key=a.key', '--signing-key', 'b.key']
    args = kiwi_call.prepare_create('/r', '/t', parsed([]), extra).task.command_args
    assert args['--signing-key'] == ['a.key', 'b.key']
    assert (args['--root'], args['--target-dir']) == ('/r', '/t')


def test_allow_existing_root_may_be_given_too() -> None:
    call = kiwi_call.prepare_build('/d', '/t', parsed([]), ['--allow-existing-root'])
    assert call.argv.count('--allow-existing-root') == 1


@pytest.mark.parametrize(('extra', 'told'), [
    (['--target-dir=/x'], 'stackbuild sets --target-dir itself'),
    (['--target-dir', '/x'], 'stackbuild sets --target-dir itself'),
    (['--target=/x'], 'stackbuild sets --target-dir itself'),
    (['--desc', '/x'], 'stackbuild sets --description itself'),
    (['--help'], '--help cannot be passed on'),
    (['-h'], '-h cannot be passed on'),
    (['--'], '-- cannot be passed on'),
    (['--bogus', 'x'], 'does not accept --bogus x'),
    (['stray'], 'does not accept stray'),
    (['help'], 'does not accept help'),
    (['--add-package'], 'does not accept --add-package'),
    (['--clear-cache=yes'], 'does not accept --clear-cache=yes'),
])
def test_build_refuses(
    extra: List[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(sys.argv)
    with pytest.raises(KiwiStashArgumentInvalid) as caught:
        kiwi_call.prepare_build('/d', '/t', parsed([]), extra)
    assert told in caught.value.summary
    assert '\n' not in caught.value.summary
    assert caught.value.hint
    assert sys.argv == before
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('extra', [
    ['--set-repo=http://u:a/pw@h/x', '--bogus'], ['--set-repo-credentials=u:pw', '--bogus'],
    ['--set-repo-credentials', 'u:pw', '--bogus'],
    ['--set-repo=http://h/x', '--add-repo-credentials', 'u:pw', 'http://u:pw@h'],
])
def test_refusal_says_no_login(extra: List[str]) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as caught:
        kiwi_call.prepare_build('/d', '/t', parsed([]), extra)
    assert 'does not accept' in caught.value.summary and 'pw' not in caught.value.summary


@pytest.mark.parametrize('extra', [
    ['--root=/x'], ['--ro=/x'], ['--add-package=vim'], ['--signing-key']
])
def test_create_refuses(extra: List[str]) -> None:
    with pytest.raises(KiwiStashArgumentInvalid):
        kiwi_call.prepare_create('/r', '/t', parsed([]), extra)


def test_nothing_on_disk_is_touched(tmp_path: Path) -> None:
    kiwi_call.prepare_build(f'{tmp_path}/d', f'{tmp_path}/t', parsed([]), [])
    kiwi_call.prepare_create(f'{tmp_path}/r', f'{tmp_path}/t', parsed([]), [])
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_task_pass_through(tmp_path: Path) -> None:
    before = list(sys.argv)
    call = kiwi_call.prepare_create(str(tmp_path), f'{tmp_path}/t', parsed([]), [])
    with pytest.raises(KiwiError) as caught:
        kiwi_call.run(call)
    assert 'no XML description found' in str(caught.value) or (
        'operation requires root' in str(caught.value)
    )
    assert sys.argv == before


DESCRIPTION = '''<image schemaversion="7.4" name="x">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>s</specification>
  </description>
  <preferences>
    <version>1.0.0</version><packagemanager>apt</packagemanager>
    <type image="oci" derived_from="file:///a.tar"><containerconfig name="x"/></type>
  </preferences>
  <repository type="apt-deb" alias="one"><source path="http://h/one"/></repository>
  <repository type="apt-deb" alias="two"><source path="http://h/two"/></repository>
  <packages type="image"/>
</image>'''


def state_with(tmp_path: Path, *words: str) -> Dict[str, Any]:
    """What is decided on, of a description with arguments for kiwi."""
    (tmp_path / 'config.xml').write_text(DESCRIPTION)
    call = kiwi_call.prepare_build(str(tmp_path), '/t', parsed([]), words)
    # kiwi's own loading leaves a file open that only the garbage collector closes
    call.task.xml_state = XMLState(XMLDescription(str(tmp_path / 'config.xml')).load())
    kiwi_call.apply_options(call.task)
    state = call.task.xml_state
    return {
        'derived': state.build_type.get_derived_from(),
        'type': state.get_build_type_name(),
        'release': state.get_release_version() or '',
        'repositories': [
            section.get_source().get_path()
            for section in state.get_repository_sections_used_for_build()
        ]
    }


@pytest.mark.parametrize(('words', 'changed'), [
    ([], {}),
    (['--set-container-derived-from=file:///b.tar'], {'derived': 'file:///b.tar'}),
    (['--set-type-attr=derived_from=file:///b.tar'], {'derived': 'file:///b.tar'}),
    (['--set-type-attr=image=tbz'], {'type': 'tbz'}),
    (['--set-release-version=12'], {'release': '12'}),
    (['--ignore-repos'], {'repositories': []}),
    (['--ignore-repos-used-for-build'], {'repositories': []}),
    (['--set-repo=http://h/new,apt-deb'], {'repositories': ['http://h/new', 'http://h/two']}),
    (['--add-repo=http://h/new,apt-deb'], {
        'repositories': ['http://h/one', 'http://h/two', 'http://h/new']
    }),
    (['--ignore-repos', '--add-repo=http://h/new,apt-deb'], {'repositories': ['http://h/new']}),
    (['--set-container-tag=new', '--add-package=p', '--clear-cache'], {}),
])
def test_arguments_for_kiwi_change_what_is_decided_on(
    tmp_path: Path, words: List[str], changed: Dict[str, Any]
) -> None:
    known = kiwi_call.prepare_build('/d', '/t', parsed([]), []).task.command_args
    if any(word.partition('=')[0] not in known for word in words):
        pytest.skip('this kiwi does not have it')
    assert state_with(tmp_path, *words) == {
        'derived': 'file:///a.tar', 'type': 'oci', 'release': '',
        'repositories': ['http://h/one', 'http://h/two'], **changed
    }


def test_a_file_of_logins_is_left_for_kiwi(tmp_path: Path) -> None:
    logins = tmp_path / 'logins'
    logins.write_text('user:secret\n')
    known = kiwi_call.prepare_build('/d', '/t', parsed([]), []).task.command_args
    if '--add-repo-credentials' not in known:
        pytest.skip('this kiwi does not have it')
    found = state_with(
        tmp_path, '--add-repo=http://h/new,apt-deb', f'--add-repo-credentials={logins}',
        '--set-repo=http://h/set,apt-deb', f'--set-repo-credentials={logins}'
    )
    assert found['repositories'] == ['http://h/set', 'http://h/two', 'http://h/new']
    assert logins.read_text() == 'user:secret\n'


@pytest.mark.parametrize('word', ['nonsense=1', 'image', 'file-system=ext4', '=', 'x();y=1'])
def test_attributes_that_no_type_has_are_refused(tmp_path: Path, word: str) -> None:
    if '--set-type-attr' not in kiwi_call.prepare_build(
        '/d', '/t', parsed([]), []
    ).task.command_args:
        pytest.skip('this kiwi does not have it')
    with pytest.raises(KiwiStashArgumentInvalid) as issue:
        state_with(tmp_path, f'--set-type-attr={word}')
    assert f'--set-type-attr={word}: ' in issue.value.summary
