# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary directories that tell whether their owner lives."""
from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Iterator, List, Optional, Set, Tuple

from kiwi_stackbuild_plugin.host.command import remove_tree
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashTargetInvalid, KiwiStashToolFailed, is_absent
)
from kiwi_stackbuild_plugin.host.text import FULL_ID

log = logging.getLogger('kiwi')

#: a note names something outside the directory that must be undone: a mounted
#: image, or an image that has no name yet; and the storage that has them
Note = Tuple[str, str]
MOUNT, IMAGE, STORAGE = 'mount', 'image', 'storage'

_OWNER = 'owner.lock'
_JOURNAL = 'journal'
PREFIX = '.kiwi-stash-'
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: skopeo takes what follows a colon for a tag; nothing else needs to be quoted
_PLAIN = re.compile(r'[\w./+~=,@-]*', re.ASCII)
#: somebody takes away what we make as often as this only to hinder us
_ATTEMPTS = 100
#: removed meanwhile, or something else has the name
_TAKEN_AWAY = (errno.ENOENT, errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


@dataclass(frozen=True)
class Workspace:
    """A temporary directory of one run, with a journal of what to undo.

    path: how we and the tools reach it, not always its name
    name, parent_fd: where it is, to remove it
    held: what ends before the notes are undone
    used: images that other runs must not take back meanwhile
    """

    path: str
    name: str = ''
    parent_fd: int = -1
    held: ExitStack = field(default_factory=ExitStack, compare=False)
    used: Set[str] = field(default_factory=set, compare=False)

    def note(self, kind: str, value: str) -> None:
        """Remember that something must be undone, before it is done."""
        self._append('+', kind, value)

    def forget(self, kind: str, value: str) -> None:
        """Remember that it has been undone, or need not be."""
        self._append('-', kind, value)

    def _append(self, sign: str, kind: str, value: str) -> None:
        fd = os.open(
            os.path.join(self.path, _JOURNAL),
            _FILE | os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
        )
        with open(fd, 'ab') as journal:
            journal.write(os.fsencode(f'{sign}{kind} {_on_one_line(value)}\n'))

    def open_notes(self) -> List[Note]:
        """Return what has not been undone, newest first.

        :raises OSError: if that cannot be told
        """
        notes: List[Note] = []
        try:
            fd = os.open(os.path.join(self.path, _JOURNAL), _FILE | os.O_RDONLY)
        except OSError as issue:
            if not is_absent(issue):
                raise
            return notes
        with open(fd, 'rb') as journal:
            lines = os.fsdecode(journal.read()).split('\n')
        for line in lines:
            kind, _, value = line[1:].partition(' ')
            if kind != STORAGE and not FULL_ID.fullmatch(value):
                continue  # cut off when the disk was full, or not ours
            if line.startswith('+'):
                notes.insert(0, (kind, value))
            elif (kind, value) in notes:
                notes.remove((kind, value))
        return notes

    def is_of_storage(self, key: str) -> bool:
        """Tell whether what it notes is in the storage of a key."""
        return all(
            value == _on_one_line(key)
            for kind, value in self.open_notes() if kind == STORAGE
        )


def _on_one_line(value: str) -> str:
    return value.replace('\\', '\\\\').replace('\n', '\\n')


@contextmanager
def workspace(parent: str) -> Iterator[Workspace]:
    """Make a temporary directory for a block and remove it afterwards.

    :param parent: existing directory to make it in
    :raises KiwiStashTargetInvalid: if it cannot be written to
    """
    parent = os.path.abspath(parent)
    open_fds: List[int] = []
    space = None
    try:
        space = _make(parent, open_fds)
        yield space
    finally:
        if space is not None:
            remove(space)
        for fd in reversed(open_fds):
            os.close(fd)


def _make(parent: str, open_fds: List[int]) -> Workspace:
    """Make a directory and its lock, under another name where it is taken away.

    A sweep takes it for abandoned as long as it has no lock. A name is used
    once: what is there at a second try may be another user's.

    :param open_fds: gets what is open as long as the directory is ours
    """
    try:
        parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        open_fds.append(parent_fd)
        for _ in range(_ATTEMPTS):
            name = PREFIX + secrets.token_hex(8)
            try:
                os.mkdir(name, 0o700, dir_fd=parent_fd)
            except FileExistsError:
                continue
            fds = _take(parent_fd, name, os.O_CREAT | os.O_EXCL, fcntl.LOCK_EX)
            if fds:
                open_fds += fds
                return Workspace(_path(parent, name, parent_fd, fds[0]), name, parent_fd)
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent_fd)
        raise OSError(errno.EPERM, 'what is made there does not stay ours')
    except OSError as issue:
        raise KiwiStashTargetInvalid(
            f'{parent!r}: no temporary directory can be made there: {issue.strerror}'
        ) from issue


def _take(parent_fd: int, name: str, flags: int, how: int) -> Optional[List[int]]:
    """Open a directory of ours and lock it.

    :param flags: more flags for the opening of the lock
    :param how: of flock(2)
    :returns: directory and lock, to be closed; None if it is not ours, or gone
    :raises OSError: if it cannot be locked; EAGAIN if its owner lives
    """
    fds: List[int] = []
    try:
        fds.append(os.open(name, _DIRECTORY, dir_fd=parent_fd))
        if _is_private(fds[0]):
            fds.append(os.open(_OWNER, _FILE | os.O_RDWR | flags, 0o600, dir_fd=fds[0]))
            fcntl.flock(fds[1], how)
            if os.fstat(fds[1]).st_nlink:
                found, fds = fds, []
                return found
    except OSError as issue:
        if issue.errno not in _TAKEN_AWAY:
            raise
    finally:
        for fd in fds:
            os.close(fd)
    return None


def _is_private(fd: int) -> bool:
    """Tell whether only this user can have made, and can write, a directory."""
    status = os.fstat(fd)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _path(parent: str, name: str, parent_fd: int, fd: int) -> str:
    """Return a path that nobody can turn, and no tool misreads.

    That is the plain one, but for a parent where others can rename what is
    ours (no sticky bit) or one with a colon in its name, say.
    """
    mode = os.fstat(parent_fd).st_mode
    if _PLAIN.fullmatch(parent) and (not mode & stat.S_IWOTH or mode & stat.S_ISVTX):
        return os.path.join(parent, name)
    return f'/proc/{os.getpid()}/fd/{fd}'


def remove(space: Workspace) -> None:
    """Remove a directory of ours; its lock goes last.

    A kill on the way leaves what the next sweep finds. So do notes of what
    could not be undone: lock and journal stay for another try.
    """
    try:
        names = os.listdir(space.path)
    except OSError:
        return
    kept = (_OWNER, _JOURNAL) if _is_open(space) else ()
    try:
        for name in sorted(names, key=lambda name: (name == _OWNER, name == _JOURNAL)):
            below = os.path.join(space.path, name)
            if name in kept:
                continue
            if os.path.isdir(below) and not os.path.islink(below):
                remove_tree(below)
            else:
                os.unlink(below)
        if not kept:
            os.rmdir(space.name, dir_fd=space.parent_fd)
    except (OSError, KiwiStashToolFailed) as issue:
        log.warning('%s is left behind: %s', space.path, issue)


def _is_open(space: Workspace) -> bool:
    return any(kind != STORAGE for kind, _ in space.open_notes())


def find_abandoned(parent: str) -> Iterator[Workspace]:
    """Yield the directories whose owner was killed; they are locked meanwhile.

    Only what belongs to this user: others can write where temporary files are.
    """
    parent = os.path.abspath(parent)
    try:
        parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for name in sorted(os.listdir(parent_fd)):
            if name.startswith(PREFIX) and not _remove_empty(parent_fd, name):
                yield from _abandoned(parent, name, parent_fd)
    finally:
        os.close(parent_fd)


def _remove_empty(parent_fd: int, name: str) -> bool:
    """Remove what was killed before the lock was there, or after it was removed."""
    with suppress(OSError):
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if status.st_uid == os.geteuid():
            os.rmdir(name, dir_fd=parent_fd)
            return True
    return False


def _abandoned(parent: str, name: str, parent_fd: int) -> Iterator[Workspace]:
    try:
        fds = _take(parent_fd, name, 0, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    if fds:
        try:
            yield Workspace(_path(parent, name, parent_fd, fds[0]), name, parent_fd)
        finally:
            for fd in fds:
                os.close(fd)
