# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of "system stash_list" typed at the kiwi installed, docopt's or typer's."""
from __future__ import annotations

import os
import sys
from typing import Any, Callable, List

import pytest

from kiwi_stackbuild_plugin.storage.access import Access

Kiwi = Callable[..., int]


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


def test_stash_list_is_a_table_on_a_terminal(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    assert kiwi_ng('system', 'stash_list') == 0
    assert capsys.readouterr().out.splitlines()[-1] == "table ('list', None)"


def test_unknown_format(
    kiwi_ng: Kiwi, requests: List[Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert kiwi_ng('system', 'stash_list', '--format=xml') == 1
    assert requests == []
    assert "--format 'xml' is not known" in caplog.text


def test_list_of_a_registry(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kiwi_ng(
        'system', 'stash_list', '--remote=h/p', '--tls-verify=false', 'name'
    ) == 0
    assert requests == [('h/p', 'name', Access(tls_verify=False))]
    assert capsys.readouterr().out.splitlines()[-1] == "json ('h/p', 'name')"


@pytest.mark.parametrize(('words', 'form', 'registry'), [
    (['--diff=a', 'b'], 'json', None),
    (['--diff', 'a', '--format=table', 'b'], 'table', None),
    (['b', '--diff=a', '--remote=host:5000'], 'json', 'host:5000'),
])
def test_diff(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str],
    words: List[str], form: str, registry: Any
) -> None:
    assert kiwi_ng('system', 'stash_list', *words) == 0
    (before, after, lookup), = requests
    assert (before, after, lookup.registry) == ('a', 'b', registry)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f'{form} ')


def test_difference_to_nothing(
    kiwi_ng: Kiwi, requests: List[Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert kiwi_ng('system', 'stash_list', '--diff=a') == 1
    assert requests == []
    assert "--diff 'a': with which image is it compared?" in caplog.text


def test_list_needs_no_root_and_a_difference_does(
    kiwi_ng: Kiwi, requests: List[Any], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture
) -> None:
    """What has to be fetched for it would be another user's."""
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    assert kiwi_ng('system', 'stash_list') == 0
    assert kiwi_ng('system', 'stash_list', '--diff=a', 'b') == 1
    assert requests == [('list', None)]
    assert 'root permissions' in caplog.text
