# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands leave on stdout."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest


def test_reader_that_has_gone_is_no_error() -> None:
    program = (
        'from kiwi_stackbuild_plugin.tasks.output import print_text\n'
        'for _ in range(9): print_text("x" * 100000)\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', program], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b''
    assert process.returncode == 0


@pytest.mark.parametrize('words', [['stash_list'], ['stash', '--list']])
def test_json_is_all_there_is_on_stdout(tmp_path: Path, words: list[str]) -> None:
    """kiwi says on stdout that it read a configuration file."""
    for name, said in (('podman', '[]'), ('skopeo', '')):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\necho '{said}'\n")
        tool.chmod(0o755)
    config = tmp_path / 'kiwi.yml'
    config.write_text('container:\n  - compress: none\n')
    kiwi = os.environ.get('KIWI_NG') or str(Path(sys.executable).parent / 'kiwi-ng')
    told = subprocess.run(
        [kiwi, f'--config={config}', 'system', *words], check=False, text=True,
        env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'},
        capture_output=True
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout == '{\n    "stashes": []\n}\n'
    assert 'kiwi.yml' in told.stderr


HOSTILE = [
    'a\x1b[2Jb', 'a\x07b', 'a\rb', 'a\x9b31mb', 'a\x7fb', 'a\u202eb', 'a\u2066b',
    'a\u200bb', 'a\u2028b', 'a\ufeffb', 'a\udcffb', 'a\ud800b', 'a\x00b', 'a\U000e0001b',
    # printable, but not in each encoding
    'a\xe4\u20ac\U0001f600b'
]
ENCODINGS = [
    {'PYTHONIOENCODING': 'latin-1'}, {'PYTHONIOENCODING': 'ascii'}, {'PYTHONIOENCODING': 'utf-8'},
    {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}, {'LC_ALL': 'C'}
]


def run(program: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program that has print_text, guard_output and the logger."""
    first = (
        'import logging, sys\n'
        'from kiwi_stackbuild_plugin.tasks.output import guard_output, print_text\n'
        'log = logging.getLogger("kiwi")\n'
        'log.addHandler(logging.StreamHandler(sys.__stdout__)); log.setLevel("INFO")\n'
    )
    return subprocess.run(
        [sys.executable, '-c', first + program], check=False, **{'capture_output': True, **more}
    )


@pytest.mark.parametrize('environment', ENCODINGS, ids=str)
@pytest.mark.parametrize('how', [
    'print_text(text)', 'log.info(text)', 'log.info("%s", text)', 'log.info("%(a)s", {"a": text})',
    # as kiwi itself shows an error
    'log.error("%s: %s", "KiwiError", KiwiError(text))'
])
def test_nothing_that_a_terminal_acts_on_is_shown(how: str, environment: Dict[str, str]) -> None:
    told = run(
        'from kiwi.exceptions import KiwiError\n'
        f'guard_output()\nfor text in {HOSTILE!a}:\n    {how}\n',
        env={**os.environ, **environment}
    )
    assert told.returncode == 0 and told.stderr == b''
    shown = told.stdout.decode(environment.get('PYTHONIOENCODING', 'utf-8'))
    assert shown.replace('\n', '').isprintable()
    assert len(shown.splitlines()) == len(HOSTILE)


def test_lines_and_tabs_of_a_text_stay() -> None:
    assert run(r'print_text("a\n\tb\n")').stdout == b'a\n\tb\n\n'


def test_closed_and_full_stdout() -> None:
    assert run('print_text("a")', preexec_fn=lambda: os.close(1)).returncode == 0
    with open('/dev/full', 'wb') as full:
        told = run('print_text("a")', capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert b'KiwiStashSystemFailed: standard output: No space left on device' in told.stderr


def test_guard_of_a_command_stays_for_the_last_line_of_kiwi() -> None:
    told = run(
        'from kiwi_stackbuild_plugin.host.signals import clean_exit\n'
        'guard_output()\nwith clean_exit():\n    pass\nlog.error("\\x1b[2J")\n'
    )
    assert told.stdout == b'\\x1b[2J\n'
