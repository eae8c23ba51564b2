# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all three commands, typed at the kiwi installed, docopt's or typer's."""
from __future__ import annotations

import os
import sys
from typing import Any, Callable, List

import pytest

#: exit status of a usage error: docopt's, kiwi 11.0's, kiwi 11.1's
USAGE_ERROR = (1, 2)
Kiwi = Callable[..., int]


@pytest.mark.parametrize('words', [
    ['stash'], ['stash', '--tag=x'], ['stash', '--container-name=a'],
    ['stash', '--export=oci:d:t'],
    ['stash', '--export=oci:d:t', '--container-name=name', '--dry-run'],
    ['stash', '--list', '--root=/r'],
    ['stash', '--root=/r', '--base=a', '--no-base'], ['stash', '--root=/r', 'stray'],
    ['stash', '--root=/r', '--bogus'], ['stash', '--root'],
    ['stackbuild'], ['stackbuild', '--stash=a'],
    ['stackbuild', '--stash=a', '--target-dir=/t', '--bogus'],
    ['stash', '--keep-last=1'], ['stash', '--prune', '--root=/r'],
    ['stash', '--prune', '--keep-last=1', '--tag=x'], ['stash', '--root=/r', '--keep-weekly=1'],
    ['stash', '--prune', '--list'], ['stash', '--prune', '--export=oci:d:t'],
    ['stash', '--prune', '--format=json'], ['stash', '--prune', '--keep-last=1', 'stray'],
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
