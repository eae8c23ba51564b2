# SPDX-License-Identifier: GPL-3.0-or-later
"""Running tools: what they say, how they end, where they leave files."""
from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from kiwi_stackbuild_plugin.host.command import require_tools, run_command, tool_files
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed


def test_tools_that_fail_say_why() -> None:
    assert run_command(['sh', '-c', 'echo out; echo err >&2']).stdout == 'out\n'
    assert run_command(['sh', '-c', 'exit 3'], check=False).returncode == 3
    assert run_command(['sh', '-c', 'echo $X'], env={'X': '5'}).stdout == '5\n'
    for script, why in (
        ('echo first >&2; echo last >&2; exit 3', 'last'), ('exit 3', '3'),
        ('kill -9 $$', 'signal 9')
    ):
        with pytest.raises(KiwiStashToolFailed, match=why):
            run_command(['sh', '-c', script])
    with pytest.raises(KiwiStashToolFailed, match='no-such-tool'):
        run_command(['no-such-tool'])
    with pytest.raises(KiwiStashToolFailed, match='no-such-tool'):
        require_tools(['sh', 'no-such-tool'])
    require_tools(['sh'])


def test_only_what_is_missing_is_to_be_installed(tmp_path: Path) -> None:
    (tmp_path / 'tool').touch(0o644)
    for argv, hint in (['no-such-tool'], 'install the package'), ([str(tmp_path / 'tool')], ''):
        with pytest.raises(KiwiStashToolFailed, match='cannot be run') as told:
            run_command(argv)
        assert told.value.hint.startswith(hint) and bool(told.value.hint) == bool(hint)


def test_slow_tools_are_ended_with_their_children() -> None:
    start = time.monotonic()
    with pytest.raises(KiwiStashToolFailed, match='no end after'):
        run_command(['sh', '-c', 'sleep 60 & sleep 60'], timeout=0.3)
    assert time.monotonic() - start < 30


def test_tools_make_their_temporary_files_where_they_are_told(tmp_path: Path) -> None:
    words = ['sh', '-c', 'echo "$TMPDIR"']
    before = run_command(words).stdout
    with tool_files(str(tmp_path)):
        assert run_command(words).stdout == f'{tmp_path}\n'
        assert run_command(words, env={'TMPDIR': '/other'}).stdout == '/other\n'
    assert run_command(words).stdout == before


def test_skopeo_is_told_by_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'skopeo').write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / 'skopeo').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    with tool_files('/place'):
        assert run_command(['skopeo', 'copy', 'a']).stdout == 'copy a --tmpdir=/place\n'
    assert run_command(['skopeo', 'copy', 'a']).stdout == 'copy a\n'


def test_interrupt_ends_the_tool() -> None:
    # a shell has a job in the background ignore it, and all that job starts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_command(['sleep', '60'])
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
