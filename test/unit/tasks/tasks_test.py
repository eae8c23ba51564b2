# SPDX-License-Identifier: GPL-3.0-or-later
"""The three commands typed at the kiwi installed, docopt's or typer's."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from kiwi.cli import Cli

from kiwi_stackbuild_plugin.stackbuild.stackbuild import StackbuildRequest
from kiwi_stackbuild_plugin.stash.stash import StashRequest

TYPER = hasattr(Cli, 'main')
#: exit status of a usage error: docopt's, kiwi 11.0's, kiwi 11.1's
USAGE_ERROR = (1, 2)
FULL_STASH = [
    '--root=/r', '--container-name', 'name', '--tag=v1', '--base=oci:/x:y',
    '--label=a=b', '--label', 'c=d=e', '--export=docker://h/n:t',
    '--export', 'oci-archive:f', '--strict', '--verify', '--dry-run'
]

Kiwi = Callable[..., int]


@pytest.mark.parametrize(('words', 'expected'), [
    (['--root=/r'], StashRequest('/r')),
    (['--root', '/r', '--no-base'], StashRequest('/r', no_base=True)),
    (['--root=/r', '--tag='], StashRequest('/r', tag='')),
    (FULL_STASH, StashRequest(
        root='/r', container_name='name', tag='v1', base='oci:/x:y',
        labels=('a=b', 'c=d=e'), exports=('docker://h/n:t', 'oci-archive:f'),
        strict=True, verify=True, dry_run=True
    )),
])
def test_stash(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], expected: StashRequest
) -> None:
    assert kiwi_ng('system', 'stash', *words) == 0
    assert requests == [expected]


@pytest.mark.parametrize(('words', 'expected'), [
    (['--stash=a', '--target-dir=/t'], (('a',), '/t', None, None, ())),
    (
        ['--stash', 'a:v1', '--target-dir', '/t', '--stash=b'],
        (('a:v1', 'b'), '/t', None, None, ())
    ),
    (
        ['--stash=a', '--target-dir=/t', '--description=/d', '--from-registry=docker://h'],
        (('a',), '/t', '/d', 'docker://h', ())
    ),
    (
        ['--stash=a', '--target-dir=/t', '--', '--add-package', 'x', '--stash=y', '-z'],
        (('a',), '/t', None, None, ('--add-package', 'x', '--stash=y', '-z'))
    ),
    (
        ['--stash=a', '--target-dir=/t', '--', '--help'],
        (('a',), '/t', None, None, ('--help',))
    ),
    (
        ['--stash=a', '--target-dir=/t', '--', 'kiwi', 'help'],
        (('a',), '/t', None, None, ('kiwi', 'help'))
    ),
])
def test_stackbuild(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], expected: Tuple[Any, ...]
) -> None:
    assert kiwi_ng('--profile=p', '--type=oci', 'system', 'stackbuild', *words) == 0
    made: StackbuildRequest = requests[0]
    assert (
        made.stashes, made.target_dir, made.description, made.from_registry,
        made.kiwi_args
    ) == expected
    assert made.global_args['--type'] == 'oci'
    assert set(made.global_args['--profile']) == {'p'}


@pytest.mark.skipif(not TYPER, reason='kiwi 11 only')
def test_stackbuild_takes_kiwi_for_two_dashes(
    kiwi_ng: Kiwi, requests: List[Any]
) -> None:
    assert kiwi_ng(
        'system', 'stackbuild', '--stash=kiwi', '--target-dir=/t', 'kiwi',
        '--add-package', 'x', 'y'
    ) == 0
    assert requests[0].stashes == ('kiwi',)
    assert requests[0].kiwi_args == ('--add-package', 'x', 'y')


@pytest.mark.parametrize(('words', 'expected'), [
    ([], "json ('list', None)"),
    (['name'], "json ('list', 'name')"),
    (['--format=table'], "table ('list', None)"),
    (['--format', 'json', 'name'], "json ('list', 'name')"),
    (['name', '--format=table'], "table ('list', 'name')"),
])
def test_stash_list(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str],
    words: List[str], expected: str
) -> None:
    assert kiwi_ng('system', 'stash_list', *words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_stash_with_list_is_stash_list(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kiwi_ng('system', 'stash', '--list') == 0
    assert capsys.readouterr().out.splitlines()[-1] == "json ('list', None)"


def test_stash_list_is_a_table_on_a_terminal(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    assert kiwi_ng('system', 'stash_list') == 0
    assert capsys.readouterr().out.splitlines()[-1] == "table ('list', None)"


@pytest.mark.parametrize('words', [
    ['stash'], ['stash', '--tag=x'], ['stash', '--container-name=a'],
    ['stash', '--export=oci:d:t'],
    ['stash', '--export=oci:d:t', '--container-name=name', '--dry-run'],
    ['stash', '--list', '--root=/r'],
    ['stash', '--root=/r', '--base=a', '--no-base'], ['stash', '--root=/r', 'stray'],
    ['stash', '--root=/r', '--bogus'], ['stash', '--root'],
    ['stackbuild'], ['stackbuild', '--stash=a'],
    ['stackbuild', '--stash=a', '--target-dir=/t', '--bogus'],
    ['stash_list', 'a', 'b'], ['stash_list', '--bogus'],
], ids=' '.join)
def test_usage_error(
    kiwi_ng: Kiwi, requests: List[Any], capfd: pytest.CaptureFixture[str],
    words: List[str]
) -> None:
    assert kiwi_ng('system', *words) in USAGE_ERROR
    assert requests == []
    said = capfd.readouterr()
    assert f'kiwi-ng system {words[0]}' in said.out + said.err or words[-1] in said.err
    assert 'Traceback' not in said.out + said.err


def test_arguments_for_kiwi_without_dashes(
    kiwi_ng: Kiwi, requests: List[Any], capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture
) -> None:
    assert kiwi_ng(
        'system', 'stackbuild', '--stash=a', '--target-dir=/t', 'stray'
    ) in USAGE_ERROR
    assert requests == []
    assert "'stray'" in caplog.text + capfd.readouterr().err


def test_unknown_format(
    kiwi_ng: Kiwi, requests: List[Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert kiwi_ng('system', 'stash_list', '--format=xml') == 1
    assert requests == []
    assert "--format 'xml' is not known" in caplog.text


@pytest.mark.parametrize('words', [
    ['stash', '--root=/nowhere', '--tag=-'],
    ['stackbuild', '--stash=A', '--target-dir=/nowhere'],
])
def test_root_is_asked_for_before_anything_else(
    kiwi_ng: Kiwi, requests: List[Any], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, words: List[str]
) -> None:
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    assert kiwi_ng('system', *words) == 1
    assert requests == []
    assert 'root permissions' in caplog.text


@pytest.mark.parametrize('command', ['stash', 'stackbuild', 'stash_list'])
def test_help_is_the_usage_text_without_a_page(
    kiwi_ng: Kiwi, requests: List[Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv('MANPATH', str(tmp_path))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert kiwi_ng('system', command, 'help') == 0
    assert capsys.readouterr().out.startswith(f'usage: kiwi-ng system {command} ')
    assert requests == []


@pytest.mark.parametrize('command', ['stash', 'stackbuild', 'stash_list'])
def test_help_is_the_page_where_installed(
    kiwi_ng: Kiwi, requests: List[Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    tool = tmp_path / 'man'
    tool.write_text('#!/bin/sh\necho "man $*"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    assert kiwi_ng('system', command, 'help') == 0
    assert capfd.readouterr().out == f'man 8 kiwi::system::{command}\n'
    assert requests == []


def test_tasks_are_light_at_import() -> None:
    """Kiwi loads them at each of its calls."""
    import subprocess
    told = subprocess.run([
        sys.executable, '-c',
        'import sys; import kiwi.kiwi, kiwi.help, kiwi.privileges;'
        'before = set(sys.modules);'
        'import kiwi_stackbuild_plugin.tasks.system_stash;'
        'import kiwi_stackbuild_plugin.tasks.system_stackbuild;'
        'import kiwi_stackbuild_typer_plugin.system_stash_list;'
        'print(*sorted(set(sys.modules) - before))'
    ], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    assert told == [
        'kiwi_stackbuild_plugin', 'kiwi_stackbuild_plugin.tasks',
        'kiwi_stackbuild_plugin.tasks.output',
        'kiwi_stackbuild_plugin.tasks.stashes',
        'kiwi_stackbuild_plugin.tasks.system_stackbuild',
        'kiwi_stackbuild_plugin.tasks.system_stash',
        'kiwi_stackbuild_plugin.tasks.system_stash_list',
        'kiwi_stackbuild_typer_plugin',
        'kiwi_stackbuild_typer_plugin.system_stash_list'
    ]
