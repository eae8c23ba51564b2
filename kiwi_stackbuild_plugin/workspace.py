# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary directories that tell whether their owner lives, and locks."""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List, Tuple

from kiwi_stackbuild_plugin.errors import (
    KiwiStashLocked, KiwiStashTargetInvalid
)

#: a note names something outside the directory that must be undone: a mounted
#: image, or an image that has no name yet
Note = Tuple[str, str]
MOUNT, IMAGE = 'mount', 'image'

_LOCK_DIR = '/run/lock/kiwi-stackbuild'
_OWNER = 'owner.lock'
_JOURNAL = 'journal'
PREFIX = '.kiwi-stash-'


@dataclass(frozen=True)
class Workspace:
    """A temporary directory of one run, with a journal of what to undo."""

    path: str

    def note(self, kind: str, value: str) -> None:
        """Remember that something must be undone, before it is done."""
        self._append('+', kind, value)

    def forget(self, kind: str, value: str) -> None:
        """Remember that it has been undone, or need not be."""
        self._append('-', kind, value)

    def _append(self, sign: str, kind: str, value: str) -> None:
        with open(os.path.join(self.path, _JOURNAL), 'a', encoding='ascii') as journal:
            journal.write(f'{sign}{kind} {value}\n')

    def open_notes(self) -> List[Note]:
        """Return what has not been undone, newest first."""
        notes: List[Note] = []
        try:
            with open(os.path.join(self.path, _JOURNAL), encoding='ascii') as journal:
                lines = journal.read().splitlines()
        except FileNotFoundError:
            return notes
        for line in lines:
            kind, _, value = line[1:].partition(' ')
            if line.startswith('+'):
                notes.insert(0, (kind, value))
            elif (kind, value) in notes:
                notes.remove((kind, value))
        return notes


@contextmanager
def workspace(parent: str) -> Iterator[Workspace]:
    """Make a temporary directory for a block and remove it afterwards.

    :param parent: existing directory to make it in
    :raises KiwiStashTargetInvalid: if it cannot be written to
    """
    try:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    except OSError as issue:
        raise KiwiStashTargetInvalid(
            f'{parent!r}: no temporary directory can be made there: {issue.strerror}'
        ) from issue
    owner = os.open(os.path.join(path, _OWNER), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield Workspace(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(owner)


def find_abandoned(parent: str) -> Iterator[Workspace]:
    """Yield the directories whose owner was killed; they are locked meanwhile."""
    try:
        names = sorted(os.listdir(parent))
    except OSError:
        return
    for name in names:
        path = os.path.join(parent, name)
        if not name.startswith(PREFIX) or os.path.islink(path):
            continue
        try:
            owner = os.open(os.path.join(path, _OWNER), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(os.path.join(path, _OWNER)):
                yield Workspace(path)
        except BlockingIOError:
            continue
        finally:
            os.close(owner)


@contextmanager
def locked(what: str, key: str, scope: str = '') -> Iterator[None]:
    """Hold a lock for a block; the kernel drops it if we are killed.

    :param what: what is locked, for the message of whoever meets the lock
    :param key: tells one lock from another
    :param scope: tells apart what has the same key, such as two storages
    :raises KiwiStashLocked: if another run holds it, naming that run
    """
    os.makedirs(_LOCK_DIR, mode=0o700, exist_ok=True)
    digest = hashlib.sha256(f'{what}\0{key}\0{scope}'.encode(errors='surrogateescape'))
    path = os.path.join(_LOCK_DIR, digest.hexdigest()[:32])
    fd = _take(path, f'{what} {key!r}')
    try:
        holder = {'pid': os.getpid(), 'since': time.strftime('%Y-%m-%d %H:%M:%S')}
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.unlink(path)
        os.close(fd)


def _take(path: str, what: str) -> int:
    while True:
        fd = os.open(
            path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as issue:
            holder = _holder(fd)
            os.close(fd)
            raise KiwiStashLocked(
                f'{what} is in use by {holder}', 'try again when it has ended'
            ) from issue
        if _is_current(path, fd):
            return fd
        os.close(fd)


def _is_current(path: str, fd: int) -> bool:
    """Tell whether the lock file was not removed while we waited for it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _holder(fd: int) -> str:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        return f'process {holder["pid"]} since {holder["since"]}'
    except (ValueError, KeyError, TypeError):
        return 'another process'

