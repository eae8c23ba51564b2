# SPDX-License-Identifier: GPL-3.0-or-later
"""What a child process has read of a file is given back to the disk."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kiwi_stackbuild_plugin.storage import consume
from kiwi_stackbuild_plugin.storage.consume import consumed

SIZE = 32 << 20


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / 'blob'
    path.write_bytes(os.urandom(1 << 20) * 32)
    return path


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def read_half(path: Path, first: str = '') -> subprocess.Popen[bytes]:
    """Have a child read half of a file, then wait to be told to go on."""
    return subprocess.Popen([
        sys.executable, '-c',
        f'import sys\n{first}blob = open(sys.argv[1], "rb", buffering=0)\n'
        f'half = blob.read({SIZE // 2})\nprint("half", flush=True)\n'
        'sys.stdin.read()\nrest = blob.read()\n'
        f'assert len(half) == len(rest) == {SIZE // 2} and rest == half\n',
        str(path)
    ], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_was_read_is_freed_and_the_rest_is_there(blob: Path) -> None:
    with consumed(str(blob)):
        child = read_half(blob)
        assert child.stdout is not None and child.stdout.readline() == b'half\n'
        deadline = time.monotonic() + 20
        while blocks(blob) > SIZE * 0.6 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert SIZE * 0.4 < blocks(blob) < SIZE * 0.6
        child.communicate()
        assert child.returncode == 0
    assert blob.stat().st_size == SIZE


def test_second_reader_at_the_start_keeps_all(blob: Path) -> None:
    with consumed(str(blob)):
        child = read_half(blob, 'other = open(sys.argv[1], "rb")\n')
        assert child.stdout is not None and child.stdout.readline() == b'half\n'
        time.sleep(0.3)
        assert blocks(blob) >= SIZE
        child.communicate()
        assert child.returncode == 0


def test_small_files_and_failing_holes_change_nothing(
    blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / 'small'
    small.write_bytes(b'1')
    with consumed(str(small)), consumed(None):
        pass
    monkeypatch.setattr(consume, '_punch', lambda *arguments: False)
    with consumed(str(blob)):
        child = read_half(blob)
        assert child.stdout is not None and child.stdout.readline() == b'half\n'
        time.sleep(0.2)
        child.communicate()
        assert child.returncode == 0
    assert blocks(blob) >= SIZE
