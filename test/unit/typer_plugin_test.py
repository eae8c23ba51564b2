# SPDX-License-Identifier: GPL-3.0-or-later
"""The front for kiwi 11 offers what the usage texts say, and harms nothing."""
from __future__ import annotations

import logging
import re
import sys
from typing import Any, Dict, List, Tuple

import kiwi.kiwi
import pytest
from kiwi.cli import Cli

from kiwi_stackbuild_plugin.tasks import system_stackbuild, system_stash, system_stash_list
from kiwi_stackbuild_typer_plugin.usage import command_help, option_help

USAGES: Dict[str, str] = {
    'stash': system_stash.__doc__ or '',
    'stackbuild': system_stackbuild.__doc__ or '',
    'stash_list': system_stash_list.__doc__ or '',
}
needs_typer = pytest.mark.skipif(
    not hasattr(Cli, 'main'), reason='kiwi 11 only'
)


def usage_options(command: str) -> List[str]:
    """Options in the usage patterns, above the sections that explain them."""
    patterns = USAGES[command].partition('commands:')[0]
    return sorted(set(re.findall(r'--[a-z-]+', patterns)) - {'--help'})


@pytest.mark.parametrize('command', USAGES)
def test_each_option_is_explained_once(command: str) -> None:
    explained = option_help(USAGES[command])
    assert sorted(n for n in explained if n.startswith('-')) == usage_options(command)
    assert all(told.text for told in explained.values())
    assert command_help(USAGES[command], command)
    assert command_help(USAGES[command], f'{command} help')


def test_option_help_takes_an_entry_apart() -> None:
    told = option_help(system_stash.__doc__)
    assert told['--tag'].metavar == '<name>'
    assert told['--tag'].text == 'tag of the stash. By default set to: latest'
    assert told['--list'].metavar == ''
    assert option_help(system_stash_list.__doc__)['<name>'].metavar == '<name>'


def test_no_usage_text_has_no_options() -> None:
    assert option_help(None) == {}


def parameters(command: str) -> Dict[str, Any]:
    """What typer makes of a command of ours, by option name."""
    from typer.main import get_command

    from kiwi_stackbuild_typer_plugin import cli
    return {
        param.opts[0]: param for param in get_command(cli.typers[command]).params
    }


@needs_typer
@pytest.mark.parametrize('command', USAGES)
def test_options_are_those_of_the_usage_text(command: str) -> None:
    usage = USAGES[command]
    pattern = usage.partition('commands:')[0]
    found = parameters(command)
    assert sorted(n for n in found if n.startswith('-')) == usage_options(command)
    for name, told in option_help(usage).items():
        if not name.startswith('-'):
            continue
        shape = found[name]
        assert shape.help == told.text
        assert (shape.metavar or '') == told.metavar
        assert shape.is_flag == (told.metavar == '')
        assert shape.multiple == bool(re.search(rf'{name}=<[^>]*>\.\.\.', pattern))
        # "--root" is required, but not with "--list", "--target-dir" but not with
        # "--matrix": the callback checks it
        assert not shape.required
        assert not shape.default


@needs_typer
def test_nothing_else_is_imported_at_load() -> None:
    import subprocess
    told = subprocess.run([
        sys.executable, '-c',
        'import sys; import kiwi.kiwi, kiwi.cli; before = set(sys.modules);'
        'import kiwi_stackbuild_typer_plugin.cli;'
        'print(*(set(sys.modules) - before))'
    ], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    foreign = [
        name for name in told
        if name.partition('.')[0] not in ('typer', 'kiwi', 'kiwi_stackbuild_typer_plugin')
        and not name.startswith('kiwi_stackbuild_plugin.tasks')
    ]
    assert foreign == ['kiwi_stackbuild_plugin']


@needs_typer
@pytest.mark.parametrize('order', [1, -1], ids=['kiwi first', 'plugin first'])
@pytest.mark.parametrize('command', USAGES)
def test_order_of_entry_points_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, order: int, command: str
) -> None:
    entries = sorted(
        Cli._get_module_entries(None), key=lambda entry: str('plugin' in entry.value)
    )[::order]
    shown: List[Tuple[str, str]] = []
    monkeypatch.setattr(
        'kiwi_stackbuild_plugin.tasks.manual_page.show_manual',
        lambda page, usage: shown.append((page, usage))
    )
    monkeypatch.setattr(Cli, '_get_module_entries', lambda self: entries)
    monkeypatch.setattr(Cli, 'plugins', {})
    monkeypatch.setattr(Cli, 'global_args', {})
    monkeypatch.setattr(Cli, 'subcommand_args', {})
    monkeypatch.setattr(sys, 'argv', ['kiwi-ng', 'system', command, 'help'])
    kiwi.kiwi.main()
    assert shown == [(f'kiwi::system::{command}', USAGES[command])]


@needs_typer
def test_a_failure_inside_is_told_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from kiwi_stackbuild_typer_plugin import cli

    def broken() -> None:
        raise TypeError('unknown argument "metavar"')

    monkeypatch.setattr(cli, 'make_stash', broken)
    monkeypatch.setattr(logging.getLogger('kiwi'), 'propagate', True)
    assert cli.load() == {}
    assert 'kiwi_stackbuild_plugin is not available' in caplog.text
    assert 'unknown argument "metavar"' in caplog.text
