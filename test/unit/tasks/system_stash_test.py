# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of "system stash" typed at the kiwi installed, docopt's or typer's."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List

import pytest

from kiwi_stackbuild_plugin.stash.export import ExportRequest
from kiwi_stackbuild_plugin.stash.prune import PruneRequest
from kiwi_stackbuild_plugin.stash.stash import StashRequest
from kiwi_stackbuild_plugin.storage.access import Access, Signing

Kiwi = Callable[..., int]
COPY = ['--export=oci:d:t', '--container-name=name']
FULL_STASH = [
    '--root=/r', '--container-name', 'name', '--tag=v1', '--base=oci:/x:y',
    '--label=a=b', '--label', 'c=d=e', '--export=docker://h/n:t',
    '--export', 'oci-archive:f', '--strict', '--verify', '--dry-run'
]


@pytest.mark.parametrize(('words', 'expected'), [
    (['--root=/r'], StashRequest('/r')),
    (['--root', '/r', '--no-base'], StashRequest('/r', no_base=True)),
    (['--root=/r', '--ignore-times'], StashRequest('/r', ignore_times=True)),
    (['--root=/r', '--reproducible', '--clamp-mtime'],
     StashRequest('/r', clamp_mtime=True, reproducible=True)),
    (['--root=/r', '--tag='], StashRequest('/r', tag='')),
    (['--root=/r', '--sbom'], StashRequest('/r', sbom=True)),
    (['--root=/r', '--sign-by=AB12', '--sign-passphrase-file=/etc/passwd'], StashRequest(
        '/r', signing=Signing('AB12', '/etc/passwd', 'sign-by')
    )),
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
    (COPY, ExportRequest('name', exports=('oci:d:t',))),
    ([*COPY, '--sbom', '--sign-by', 'AB12'], ExportRequest(
        'name', exports=('oci:d:t',), sbom=True, signing=Signing('AB12', None, 'sign-by')
    )),
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
    assert kiwi_ng('system', 'stash', '--root=/r', *words) == 0
    assert kiwi_ng('system', 'stash', *COPY, *words) == 0
    assert [made.access for made in requests] == [Access(str(logins), True, str(tmp_path))] * 2


@pytest.mark.parametrize(('words', 'expected'), [
    (['--prune'], PruneRequest()),
    (['--prune', '--keep-last=3'], PruneRequest('3')),
    (['--prune', '--keep-weekly', '4', '--dry-run'], PruneRequest(None, '4', None, True)),
    (['--container-name=a', '--keep-last=', '--prune'], PruneRequest('', None, 'a')),
    (['--root=/r', '--dry-run', '--format=json'], StashRequest('/r', dry_run=True, form='json')),
])
def test_prune_and_dry_run(
    kiwi_ng: Kiwi, requests: List[Any], words: List[str], expected: Any
) -> None:
    assert kiwi_ng('system', 'stash', *words) == 0
    assert requests == [expected]


def test_what_prune_did_is_printed(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kiwi_ng('system', 'stash', '--prune', '--keep-last=1')
    assert capsys.readouterr().out.splitlines()[-1] == 'pruned'


def test_what_a_dry_run_says_is_printed(
    kiwi_ng: Kiwi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.stash.stash', lambda request: 'a\x1bb')
    assert kiwi_ng('system', 'stash', '--root=/r', '--dry-run') == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'a\\x1bb'


def test_stash_with_list_is_stash_list(
    kiwi_ng: Kiwi, requests: List[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kiwi_ng('system', 'stash', '--list') == 0
    assert capsys.readouterr().out.splitlines()[-1] == "json ('list', None)"


@pytest.mark.parametrize(('words', 'said'), [
    (['--root=/r', '--format=json'], '--format says how --dry-run shows'),
    (['--root=/r', '--dry-run', '--format=x'], "--format 'x' is not known"),
    (['--root=/r', '--authfile=/nowhere'], 'no such file'),
    ([*COPY, '--cert-dir=/nowhere'], 'no such directory'),
    ([*COPY, '--tls-verify=maybe'], 'true or false'),
])
def test_words_that_do_not_go_together(
    kiwi_ng: Kiwi, requests: List[Any], caplog: pytest.LogCaptureFixture,
    words: List[str], said: str
) -> None:
    assert kiwi_ng('system', 'stash', *words) == 1
    assert requests == []
    assert said in caplog.text
