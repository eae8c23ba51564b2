# SPDX-License-Identifier: GPL-3.0-or-later
"""What other processes do for us: in a process, with jobs as ahead writes them."""
from __future__ import annotations

import io
import marshal
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator, List, Set, Tuple

import pytest

from kiwi_stackbuild_plugin.tree import worker
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.rows import LENGTH, receive
from kiwi_stackbuild_plugin.tree.scan import Exclusion, scan
from zoo import write

PROGRAM = 'from kiwi_stackbuild_plugin.tree import worker; worker.%s()'


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    """Give a tree with files in two directories, and with others."""
    root = tmp_path / 'root'
    for name in ('below/deep/1', 'below/deep/2', 'etc/a', 'etc/b', 'var/x'):
        write(root / name, b'x' * 8192)
    os.mkfifo(root / 'below/fifo')
    write(tmp_path / 'outside', b'')
    os.symlink(tmp_path / 'outside', root / 'link')
    os.symlink(tmp_path, root / 'up')
    fd = open_tree(str(root))
    yield fd
    os.close(fd)


def run(task: str, root_fd: int, *job: Any, stdout: int) -> Tuple[int, bytes, bytes]:
    """Run one of the two with its job; status, output, errors."""
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM % task], input=marshal.dumps(([root_fd], *job)),
        pass_fds=(root_fd,), stdout=stdout, stderr=subprocess.PIPE, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(('paths', 'contents', 'pattern', 'flags'), [
    ((), (), None, None),
    ((b'below', b'etc/a'), (b'var',), None, None),
    ((), (), rb'etc/.', 0), ((), (), rb'ETC/a|v.*', re.IGNORECASE | re.DOTALL),
    ((b'link',), (b'etc',), rb'below/deep.*', re.DOTALL)
])
def test_scan_is_that_of_the_job(
    root_fd: int, paths: Any, contents: Any, pattern: Any, flags: Any
) -> None:
    status, output, said = run(
        'work', root_fd, paths, contents, pattern, pattern and int(flags), stdout=subprocess.PIPE
    )
    assert (status, said) == (0, b'')
    stream = io.BytesIO(output)
    found = list(receive(stream.read(LENGTH), stream))
    assert stream.read() == b'', 'nothing else is sent'
    exclusion = Exclusion(
        frozenset(paths), frozenset(contents),
        re.compile(pattern, flags) if pattern else None
    )
    expected = list(scan(root_fd, exclusion))
    assert [(entry.path, entry.stat, entry.xattrs, entry.target) for entry in found] == [
        (entry.path, entry.stat, entry.xattrs, entry.target) for entry in expected
    ]
    assert expected


def test_who_does_not_listen_ends_it_quietly(root_fd: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    gone = run('work', root_fd, (), (), None, None, stdout=writer)
    os.close(writer)
    assert gone == (0, None, b'')


def warm_here(
    fds: List[int], parent: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Any
) -> None:
    """Run warm() in this process."""
    monkeypatch.setattr(worker, '_ask_for', ask)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'job').write_bytes(marshal.dumps((fds, parent)))
    with open(tmp_path / 'job', 'rb') as job:
        monkeypatch.setattr(worker.sys, 'stdin', SimpleNamespace(buffer=job))
        worker.warm()


@pytest.mark.parametrize('fails', [False, True])
def test_reading_ahead_asks_for_regular_files_only_and_for_each(
    root_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    asked: Set[bytes] = set()

    def ask(path: bytes) -> None:
        asked.add(path)
        if fails:
            raise PermissionError(13, 'not for you')
    warm_here([root_fd], os.getppid(), monkeypatch, tmp_path, ask)
    assert asked == {
        b'./below/deep/1', b'./below/deep/2', b'./etc/a', b'./etc/b', b'./var/x'
    }


def test_reading_ahead_asks_the_first_that_has_a_file(
    root_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: List[bytes] = []
    for name in ('etc/a', 'etc/new'):
        write(tmp_path / 'upper' / name, b'x')
    fd = open_tree(str(tmp_path / 'upper'))
    warm_here([fd, root_fd], os.getppid(), monkeypatch, tmp_path, asked.append)
    os.close(fd)
    assert set(asked[:2]) == {b'./etc/a', b'./etc/new'}
    assert sorted(asked[2:]) == [b'./below/deep/1', b'./below/deep/2', b'./etc/b', b'./var/x']


def test_reading_ahead_ends_with_its_parent(
    root_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: List[bytes] = []
    warm_here([root_fd], os.getppid() + 1, monkeypatch, tmp_path, asked.append)
    assert asked == []


@pytest.mark.parametrize('kind', ['link', 'missing', 'fifo'])
def test_what_is_no_file_any_more_does_not_hold_up(tmp_path: Path, kind: str) -> None:
    """It is opened without waiting, and not through a link; nothing stays open."""
    write(tmp_path / 'outside', b'')
    (tmp_path / 'link').symlink_to('outside')
    os.mkfifo(tmp_path / 'fifo')
    before = os.listdir('/proc/self/fd')
    with pytest.raises(OSError):
        worker._ask_for(os.fsencode(tmp_path / kind))
    assert os.listdir('/proc/self/fd') == before
