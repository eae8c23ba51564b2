# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of --prune, --diff and --format typed at the kiwi installed."""
from __future__ import annotations

from typing import Any, Callable, List, Tuple

import pytest

from kiwi_stackbuild_plugin.stash.prune import PruneRequest
from kiwi_stackbuild_plugin.stash.stash import StashRequest

Kiwi = Callable[..., int]
USAGE_ERROR = (1, 2)


@pytest.fixture
def asked(requests: List[Any], monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """What the use cases were called with; they do nothing."""
    def compare(*words: Any) -> Tuple[Any, ...]:
        requests.append(words)
        return words

    def prune(request: PruneRequest) -> str:
        requests.append(request)
        return 'pruned'

    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.prune.prune', prune)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.diff.compare_images', compare)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.diff.difference_document', 'json {}'.format)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.diff.format_difference', 'table {}'.format)
    return requests


@pytest.mark.parametrize(('words', 'expected'), [
    (['--prune'], PruneRequest()),
    (['--prune', '--keep-last=3'], PruneRequest('3')),
    (['--prune', '--keep-weekly', '4', '--dry-run'], PruneRequest(None, '4', None, True)),
    (['--container-name=a', '--keep-last=', '--prune'], PruneRequest('', None, 'a')),
    (['--root=/r', '--dry-run', '--format=json'], StashRequest('/r', dry_run=True, form='json')),
])
def test_stash(kiwi_ng: Kiwi, asked: List[Any], words: List[str], expected: Any) -> None:
    assert kiwi_ng('system', 'stash', *words) == 0
    assert asked == [expected]


def test_what_prune_did_is_printed(
    kiwi_ng: Kiwi, asked: List[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kiwi_ng('system', 'stash', '--prune', '--keep-last=1')
    assert capsys.readouterr().out.splitlines()[-1] == 'pruned'


@pytest.mark.parametrize('words', [
    ['--keep-last=1'], ['--prune', '--root=/r'], ['--prune', '--keep-last=1', '--tag=x'],
    ['--root=/r', '--keep-weekly=1'], ['--prune', '--list'], ['--prune', '--export=oci:d:t'],
    ['--prune', '--format=json'], ['--prune', '--keep-last=1', 'stray'],
])
def test_usage_errors(kiwi_ng: Kiwi, asked: List[Any], words: List[str]) -> None:
    assert kiwi_ng('system', 'stash', *words) in USAGE_ERROR
    assert asked == []


@pytest.mark.parametrize(('words', 'said'), [
    (['stash', '--root=/r', '--format=json'], '--format says how --dry-run shows'),
    (['stash', '--root=/r', '--dry-run', '--format=x'], "--format 'x' is not known"),
    (['stash_list', '--diff=a'], "--diff 'a': with which image is it compared?"),
])
def test_words_that_do_not_go_together(
    kiwi_ng: Kiwi, asked: List[Any], caplog: pytest.LogCaptureFixture,
    words: List[str], said: str
) -> None:
    assert kiwi_ng('system', *words) == 1
    assert asked == []
    assert said in caplog.text


@pytest.mark.parametrize(('words', 'form', 'registry'), [
    (['--diff=a', 'b'], 'json', None),
    (['--diff', 'a', '--format=table', 'b'], 'table', None),
    (['b', '--diff=a', '--remote=host:5000'], 'json', 'host:5000'),
])
def test_diff(
    kiwi_ng: Kiwi, asked: List[Any], capsys: pytest.CaptureFixture[str],
    words: List[str], form: str, registry: Any
) -> None:
    assert kiwi_ng('system', 'stash_list', *words) == 0
    (before, after, lookup), = asked
    assert (before, after, lookup.registry) == ('a', 'b', registry)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f'{form} ')
