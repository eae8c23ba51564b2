# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that have to do with registries, typed at the kiwi installed."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List

import pytest

from kiwi_stackbuild_plugin.stash.export import ExportRequest
from kiwi_stackbuild_plugin.storage.access import Access

Kiwi = Callable[..., int]
COPY = ['--export=oci:d:t', '--container-name=name']


@pytest.mark.parametrize(('words', 'expected'), [
    (COPY, ExportRequest('name', exports=('oci:d:t',))),
    (
        [*COPY, '--export', 'docker://h/n', '--tag=v2', '--tls-verify=false'],
        ExportRequest(
            'name', 'v2', ('oci:d:t', 'docker://h/n'), Access(tls_verify=False)
        )
    ),
])
def test_stash_without_a_root_is_a_copy(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], expected: ExportRequest
) -> None:
    assert kiwi_ng('system', 'stash', *words) == 0
    assert requests == [expected]


def test_how_registries_are_reached(
    kiwi_ng: Kiwi, requests: List[Any], tmp_path: Path
) -> None:
    logins = tmp_path / 'auth.json'
    logins.touch()
    words = [f'--authfile={logins}', f'--cert-dir={tmp_path}', '--tls-verify=true']
    access = Access(str(logins), True, str(tmp_path))
    assert kiwi_ng('system', 'stash', '--root=/r', *words) == 0
    assert kiwi_ng('system', 'stash', *COPY, *words) == 0
    assert kiwi_ng(
        'system', 'stackbuild', '--stash=a', '--target-dir=/t', '--pull=newer',
        '--max-age=7d', *words
    ) == 0
    assert [made.access for made in requests] == [access] * 3
    assert (requests[2].pull, requests[2].max_age) == ('newer', '7d')


@pytest.mark.parametrize(('words', 'says'), [
    ('--authfile=/nowhere', 'no such file'), ('--cert-dir=/nowhere', 'no such directory'),
    ('--tls-verify=maybe', 'true or false'),
])
def test_registries_cannot_be_reached_so(
    kiwi_ng: Kiwi, requests: List[Any], caplog: pytest.LogCaptureFixture,
    words: str, says: str
) -> None:
    assert kiwi_ng('system', 'stash', '--root=/r', words) == 1
    assert requests == []
    assert says in caplog.text


def test_list_of_a_registry(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kiwi_ng(
        'system', 'stash_list', '--remote=h/p', '--tls-verify=false', 'name'
    ) == 0
    assert requests == [('h/p', 'name', Access(tls_verify=False))]
    assert capsys.readouterr().out.splitlines()[-1] == "json ('h/p', 'name')"
