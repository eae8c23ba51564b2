# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands leave on stdout."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
