# SPDX-License-Identifier: GPL-3.0-or-later
"""Shell completion on kiwi 11, which has it for bash, zsh and fish."""
from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kiwi.version import __version__ as kiwi_version

pytestmark = pytest.mark.skipif(
    int(kiwi_version.partition('.')[0]) < 11, reason='kiwi 11 only'
)


def complete(shell: str, line: str) -> str:
    """Ask as the shell's completion function does."""
    kiwi = os.environ.get('KIWI_NG') or str(Path(sys.executable).parent / 'kiwi-ng')
    return subprocess.run(
        [kiwi], check=True, text=True, stdout=subprocess.PIPE, env={
            **os.environ, '_KIWI_NG_COMPLETE': f'complete_{shell}',
            'COMP_WORDS': line, 'COMP_CWORD': str(len(line.split(' ')) - 1),
            '_TYPER_COMPLETE_ARGS': line, '_TYPER_COMPLETE_FISH_ACTION': 'get-args'
        }
    ).stdout


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_commands(shell: str) -> None:
    told = complete(shell, 'kiwi-ng system st')
    assert all(name in told for name in ('stash', 'stackbuild', 'stash_list'))


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
@pytest.mark.parametrize('command', ['stash', 'stackbuild', 'stash_list'])
def test_options(shell: str, command: str) -> None:
    told = complete(shell, f'kiwi-ng system {command} --')
    task = importlib.import_module(f'kiwi_stackbuild_plugin.tasks.system_{command}')
    options = re.findall(r'^ {4}(--[a-z-]+)', task.__doc__ or '', re.MULTILINE)
    assert options
    assert [option for option in options if option not in told] == []
