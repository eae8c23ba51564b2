# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of "system stackbuild" typed at the kiwi installed, docopt's or typer's."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from kiwi.cli import Cli

from kiwi_stackbuild_plugin.runs.matrix import MatrixRequest
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.storage.access import Access

TYPER = hasattr(Cli, 'main')
Kiwi = Callable[..., int]


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


@pytest.mark.parametrize(('words', 'expected'), [([], False), (['--merge-packages'], True)])
def test_packages_are_merged_where_asked(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], expected: bool
) -> None:
    assert kiwi_ng('system', 'stackbuild', '--stash=a', '--target-dir=/t', *words) == 0
    assert requests[0].merge_packages is expected


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


def test_arguments_for_kiwi_without_dashes(
    kiwi_ng: Kiwi, requests: List[Any], capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture
) -> None:
    assert kiwi_ng(
        'system', 'stackbuild', '--stash=a', '--target-dir=/t', 'stray'
    ) in (1, 2)
    assert requests == []
    assert "'stray'" in caplog.text + capfd.readouterr().err


def test_how_registries_are_reached(
    kiwi_ng: Kiwi, requests: List[Any], tmp_path: Path
) -> None:
    logins = tmp_path / 'auth.json'
    logins.touch()
    assert kiwi_ng(
        'system', 'stackbuild', '--stash=a', '--target-dir=/t', '--pull=newer', '--max-age=7d',
        f'--authfile={logins}', f'--cert-dir={tmp_path}', '--tls-verify=true'
    ) == 0
    made, = requests
    assert made.access == Access(str(logins), True, str(tmp_path))
    assert (made.pull, made.max_age) == ('newer', '7d')


@pytest.mark.parametrize(('words', 'says'), [
    ('--authfile=/nowhere', 'no such file'), ('--cert-dir=/nowhere', 'no such directory'),
    ('--tls-verify=maybe', 'true or false'),
])
def test_registries_cannot_be_reached_so(
    kiwi_ng: Kiwi, requests: List[Any], caplog: pytest.LogCaptureFixture,
    words: str, says: str
) -> None:
    assert kiwi_ng('system', 'stackbuild', '--stash=a', '--target-dir=/t', words) == 1
    assert requests == []
    assert says in caplog.text


@pytest.mark.parametrize(('words', 'expected'), [
    ([], (None, ())), (['--stash-as=web:v1'], ('web:v1', ())),
    (['--stash-as', 'web', '--export=oci:/tmp:a', '--export', 'docker://h/b'],
     ('web', ('oci:/tmp:a', 'docker://h/b'))),
])
def test_stash_as(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], expected: Tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        'kiwi_stackbuild_plugin.runs.one_run.run_stackbuild', requests.append
    )
    assert kiwi_ng('system', 'stackbuild', '--stash=a', '--target-dir=/t', *words) == 0
    made, = requests
    assert (made.stash_as, made.exports) == expected


@pytest.mark.parametrize('words', [
    ['--dry-run'], ['--keep-scripts'], ['--root-only'], ['--if-changed'], ['--overlay'], []
])
def test_switches(kiwi_ng: Kiwi, requests: List[Any], words: List[str]) -> None:
    assert kiwi_ng('system', 'stackbuild', '--target-dir=/t', *words) == 0
    made, = requests
    assert made.stashes == (), 'an extension may name it'
    assert made.dry_run is ('--dry-run' in words)
    assert made.keep_scripts is ('--keep-scripts' in words)
    assert made.root_only is ('--root-only' in words)
    assert made.if_changed is ('--if-changed' in words)
    assert made.overlay is ('--overlay' in words)


def test_what_a_dry_run_says_is_printed(
    kiwi_ng: Kiwi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        'kiwi_stackbuild_plugin.stackbuild.stackbuild.stackbuild', lambda request: 'a\x1bb'
    )
    assert kiwi_ng('system', 'stackbuild', '--target-dir=/t', '--dry-run') == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'a\\x1bb'


@pytest.mark.parametrize(('words', 'expected'), [
    ([], (None, (), None, None, False)),
    (['--target-dir=/t', '--only=a', '--only', 'b', '--jobs=3', '--if-changed'],
     ('/t', ('a', 'b'), '3', None, True)),
    (['--print=make'], (None, (), None, 'make', False)),
])
def test_matrix(
    kiwi_ng: Kiwi, words: List[str], expected: Tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: List[MatrixRequest] = []
    monkeypatch.setattr(
        'kiwi_stackbuild_plugin.runs.matrix.run_matrix', requests.append
    )
    assert kiwi_ng('--type=oci', 'system', 'stackbuild', '--matrix=m.yaml', *words) == 0
    made, = requests
    assert (made.target_dir, made.only, made.jobs, made.form, made.if_changed) == expected
    assert made.file == 'm.yaml' and made.global_args['--type'] == 'oci'
    assert {'root-only', 'keep-scripts'} <= set(made.kinds.flags)
    assert {'description', 'stash-as', 'pull'} <= set(made.kinds.single)
    assert {'stash', 'export'} == set(made.kinds.repeated)
    assert not {'dry-run', 'if-changed', 'matrix', 'target-dir'} & {
        *made.kinds.flags, *made.kinds.single
    }


@pytest.mark.parametrize('words', [
    ['--stash=a'], ['--matrix=m', '--stash=a'], ['--matrix=m', '--dry-run'],
    ['--target-dir=/t', '--stash=a', '--only=b'], ['--target-dir=/t', '--print=make'],
])
def test_what_does_not_go_together(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('kiwi_stackbuild_plugin.runs.matrix.run_matrix', requests.append)
    assert kiwi_ng('system', 'stackbuild', *words) != 0
    assert requests == []
