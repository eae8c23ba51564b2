# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between real processes, killed ones too, and directories for them."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from kiwi_stackbuild_plugin.host import locks
from kiwi_stackbuild_plugin.host.errors import KiwiStashLocked, KiwiStashSystemFailed
from kiwi_stackbuild_plugin.host.locks import in_use, locked, unless_in_use

HOLDER = '''
import sys
from kiwi_stackbuild_plugin.host import locks
locks._LOCK_DIRS = (sys.argv[1],)
with getattr(locks, sys.argv[2])('the stash', 'a'):
    print('ready', flush=True)
    sys.stdin.readline()
'''


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks of a test are."""
    monkeypatch.setattr(locks, '_LOCK_DIRS', (str(tmp_path / 'run'),))
    return tmp_path / 'run'


@contextmanager
def held_by_another(run: Path, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """Hold a lock in another process, which is killed at the end."""
    with subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(run), kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b'ready\n'
            yield process
        finally:
            process.kill()


def test_holder_is_named_and_a_killed_one_holds_nothing(run: Path) -> None:
    with held_by_another(run, 'locked') as process:
        with pytest.raises(KiwiStashLocked) as raised, locked('the stash', 'a'):
            pass
        assert re.fullmatch(
            rf"the stash 'a' is in use by process {process.pid} since "
            r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', raised.value.summary
        )
        process.kill()
        process.wait()
        assert len(os.listdir(run)) == 1, 'its file is left'
        with locked('the stash', 'a'):
            pass
    assert os.listdir(run) == []


@pytest.mark.parametrize('note', [
    b'', b'{', b'5', b'[]', b'{"pid": 1}', b'\xff', b'null', b'{"since": "x"}'
])
def test_holder_that_left_no_name(run: Path, note: bytes) -> None:
    with locked('the stash', 'a'):
        (run / os.listdir(run)[0]).write_bytes(note)
        with pytest.raises(KiwiStashLocked) as raised, locked('the stash', 'a'):
            pass
        assert raised.value.summary == "the stash 'a' is in use by another process"


@pytest.mark.parametrize(('what', 'key', 'scope'), [
    ('the root', 'a', ''), ('the stash', 'b', ''), ('the stash', 'a', 'x'),
    ('the stash', 'a\udcff', ''), ('the stash', '../../x', ''), ('the stash', 'x' * 5000, '')
])
def test_other_locks_are_free(run: Path, what: str, key: str, scope: str) -> None:
    with locked('the stash', 'a'), locked(what, key, scope):
        names = os.listdir(run)
        assert len(names) == 2 and all(len(name) == 32 for name in names)
        assert run.stat().st_mode & 0o777 == 0o700
    assert os.listdir(run) == []


def test_failing_work_ends_the_lock(run: Path) -> None:
    for kind in (locked, in_use, unless_in_use):
        with pytest.raises(ZeroDivisionError), kind('the stash', 'a'):
            raise ZeroDivisionError
        assert os.listdir(run) == []


@pytest.mark.parametrize('users', [0, 1, 3])
def test_what_somebody_uses_is_not_free(run: Path, users: int) -> None:
    with ExitStack() as stack:
        for _ in range(users):
            stack.enter_context(in_use('the image', 'a'))
        with unless_in_use('the image', 'a') as free:
            assert free == (users == 0)
        assert len(os.listdir(run)) == min(users, 1), 'asking takes no lock away'
    with unless_in_use('the image', 'a') as free:
        assert free
    assert os.listdir(run) == []


def test_who_was_killed_uses_nothing(run: Path) -> None:
    with held_by_another(run, 'in_use') as process:
        with unless_in_use('the stash', 'a') as free:
            assert not free
        process.kill()
        process.wait()
        with unless_in_use('the stash', 'a') as free:
            assert free


def is_waiting(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process waits for a lock: proc(5), /proc/locks."""
    waiting = rf'-> FLOCK .* {process.pid} '
    return re.search(waiting, Path('/proc/locks').read_text()) is not None


def test_use_waits_for_who_makes_sure_that_there_is_none(run: Path) -> None:
    """Otherwise it would use what is removed at this moment."""
    with ExitStack() as stack:
        with unless_in_use('the stash', 'a') as free:
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, '-c', HOLDER, str(run), 'in_use'],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ))
            stack.callback(process.kill)
            end = time.monotonic() + 60
            while not is_waiting(process) and time.monotonic() < end:
                assert process.poll() is None
                time.sleep(0.02)
            assert free and is_waiting(process)
        assert process.stdout and process.stdout.readline() == b'ready\n'
        with unless_in_use('the stash', 'a') as free:
            assert not free, 'its lock is one that others find'
        assert len(os.listdir(run)) == 1


def make_file(path: Path) -> None:
    path.touch()


def make_open(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def make_link(path: Path) -> None:
    path.symlink_to('/tmp')


def make_parent_a_file(path: Path) -> None:
    path.parent.touch()


LOCK_DIRS = [
    (make_file, 'not a directory'), (make_open, 'others can write'),
    (make_link, 'not a directory'), (make_parent_a_file, 'Not a directory')
]


@pytest.mark.parametrize(('make', 'why'), LOCK_DIRS)
def test_lock_directory_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], why: str
) -> None:
    """/run may be read-only, or not ours; the second place will do, or it is said."""
    first, second = tmp_path / 'first/run', tmp_path / 'second'
    if make is not make_parent_a_file:
        first.parent.mkdir()
    make(first)
    monkeypatch.setattr(locks, '_LOCK_DIRS', (str(first), str(second)))
    with locked('the stash', 'a'):
        assert len(os.listdir(second)) == 1
        with pytest.raises(KiwiStashLocked), locked('the stash', 'a'):
            pass
    assert os.listdir(second) == []
    monkeypatch.setattr(locks, '_LOCK_DIRS', (str(first),))
    with pytest.raises(KiwiStashSystemFailed, match=f'no lock can be made: .*{why}'), \
            locked('the stash', 'a'):
        pass


@pytest.mark.parametrize('another', [False, True])
@pytest.mark.parametrize('kind', [locked, in_use, unless_in_use])
def test_lock_that_was_tidied_away(run: Path, kind: Callable[..., Any], another: bool) -> None:
    """The work is done all the same; a lock that another run made stays."""
    left: List[str] = []
    with kind('the stash', 'a'):
        name = os.listdir(run)[0]
        (run / name).unlink()
        if another:
            (run / name).touch()
            left = [name]
    assert os.listdir(run) == left
