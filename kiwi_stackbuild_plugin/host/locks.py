# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between runs; the kernel drops those of a killed one."""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import Iterator, Tuple

from kiwi_stackbuild_plugin.host.errors import KiwiStashLocked, KiwiStashSystemFailed

#: below /run/lock anybody may make directories, in these only root; the second
#: where there is no /run, or none to write to
_LOCK_DIRS = ('/run/kiwi-stackbuild', '/var/lib/kiwi-stackbuild')
_FLAGS = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def locked(what: str, key: str, scope: str = '') -> Iterator[None]:
    """Hold a lock for a block; the kernel drops it if we are killed.

    :param what: what is locked, for the message of whoever meets the lock
    :param key: tells one lock from another
    :param scope: tells apart what has the same key, such as two storages
    :raises KiwiStashLocked: if another run holds it, naming that run
    """
    path = _lock_path(what, key, scope)
    fd = _take(path, f'{what} {key!r}')
    try:
        holder = {'pid': os.getpid(), 'since': time.strftime('%Y-%m-%d %H:%M:%S')}
        with suppress(OSError):  # a full /run: whoever meets the lock gets no name
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(holder).encode(), 0)
        yield
    finally:
        _remove(path, fd)
        os.close(fd)


@contextmanager
def in_use(what: str, key: str, scope: str = '') -> Iterator[None]:
    """Say for a block that something is in use; others may say so too."""
    path = _lock_path(what, key, scope)
    fd = None
    try:
        while fd is None:
            fd = os.open(path, _FLAGS, 0o600)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if not _is_current(path, fd):
                os.close(fd)
                fd = None
        yield
    finally:
        if fd is not None:
            _let_go(path, fd)


@contextmanager
def unless_in_use(what: str, key: str, scope: str = '') -> Iterator[bool]:
    """Tell whether no other run uses something, nor will before the block ends."""
    path = _lock_path(what, key, scope)
    fd = os.open(path, _FLAGS, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = _is_current(path, fd)
        except BlockingIOError:
            free = False
        yield free
    finally:
        _let_go(path, fd)


def _let_go(path: str, fd: int) -> None:
    """Drop a lock; whoever is the last to hold it removes its file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path, fd)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)


def _remove(path: str, fd: int) -> None:
    """Remove the file of a lock that we hold, unless it is another's by now.

    Somebody may have tidied it away. The lock ends with fd in any case.
    """
    with suppress(OSError):
        if _is_current(path, fd):
            os.unlink(path)


def _lock_path(what: str, key: str, scope: str) -> str:
    digest = hashlib.sha256(f'{what}\0{key}\0{scope}'.encode(errors='surrogateescape'))
    return os.path.join(_lock_directory(_LOCK_DIRS), digest.hexdigest()[:32])


def _lock_directory(candidates: Tuple[str, ...]) -> str:
    """Return the first directory that only we can write to, made if need be.

    :raises KiwiStashSystemFailed: if there is none
    """
    reasons = []
    for directory in candidates:
        try:
            with suppress(FileExistsError):
                os.makedirs(directory, 0o700)
            status = os.lstat(directory)
            if not stat.S_ISDIR(status.st_mode):
                reasons.append(f'{directory}: not a directory')
            elif not os.access(directory, os.W_OK | os.X_OK):
                reasons.append(f'{directory}: cannot be written to')
            elif status.st_uid != os.geteuid() or status.st_mode & 0o022:
                reasons.append(f'{directory}: others can write to it')
            else:
                return directory
        except OSError as issue:
            reasons.append(f'{directory}: {issue.strerror}')
    raise KiwiStashSystemFailed(
        f'no lock can be made: {", ".join(reasons)}',
        'runs find out about one another there: make one of them writable'
    )


def _take(path: str, what: str) -> int:
    while True:
        fd = os.open(path, _FLAGS, 0o600)
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
