# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary directories that tell whether their owner lives."""
from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List, Tuple

from kiwi_stackbuild_plugin.command import remove_tree
from kiwi_stackbuild_plugin.errors import (
    KiwiStashTargetInvalid, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.locks import is_current

log = logging.getLogger('kiwi')

#: a note names something outside the directory that must be undone: a mounted
#: image, or an image that has no name yet; and the storage that has them
Note = Tuple[str, str]
MOUNT, IMAGE, STORAGE = 'mount', 'image', 'storage'
_IMAGE_ID = re.compile('[0-9a-f]{64}')

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
        with open(os.path.join(self.path, _JOURNAL), 'ab') as journal:
            journal.write(os.fsencode(f'{sign}{kind} {value}\n'))

    def open_notes(self) -> List[Note]:
        """Return what has not been undone, newest first."""
        notes: List[Note] = []
        try:
            with open(os.path.join(self.path, _JOURNAL), 'rb') as journal:
                lines = os.fsdecode(journal.read()).splitlines()
        except FileNotFoundError:
            return notes
        for line in lines:
            kind, _, value = line[1:].partition(' ')
            if kind != STORAGE and not _IMAGE_ID.fullmatch(value):
                continue  # cut off when the disk was full, or not ours
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
    path = os.path.join(parent, PREFIX + secrets.token_hex(8))
    owner = None
    try:
        owner = _make_owned(path)
        yield Workspace(path)
    finally:
        remove(path)
        if owner is not None:
            os.close(owner)


def _make_owned(path: str) -> int:
    """Make a directory and its lock, again where a sweep takes it for abandoned."""
    try:
        while True:
            try:
                _make_directory(path)
                owner = os.open(
                    os.path.join(path, _OWNER), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
                )
            except FileNotFoundError:
                if not os.path.isdir(os.path.dirname(path)):
                    raise
                continue
            fcntl.flock(owner, fcntl.LOCK_EX)
            if is_current(os.path.join(path, _OWNER), owner):
                return owner
            os.close(owner)
    except OSError as issue:
        raise KiwiStashTargetInvalid(
            f'{os.path.dirname(path)!r}: no temporary directory can be made '
            f'there: {issue.strerror}'
        ) from issue


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


def remove(path: str) -> None:
    """Remove a directory of ours; its lock goes last.

    A kill on the way leaves what the next sweep finds.
    """
    try:
        names = os.listdir(path)
    except OSError:
        return
    try:
        for name in sorted(names, key=lambda name: (name == _OWNER, name == _JOURNAL)):
            below = os.path.join(path, name)
            if os.path.isdir(below) and not os.path.islink(below):
                remove_tree(below)
            else:
                os.unlink(below)
        os.rmdir(path)
    except (OSError, KiwiStashToolFailed) as issue:
        log.warning('%s is left behind: %s', path, issue)


def find_abandoned(parent: str) -> Iterator[Workspace]:
    """Yield the directories whose owner was killed; they are locked meanwhile.

    Only what belongs to this user: others can write where temporary files are.
    """
    try:
        names = sorted(os.listdir(parent))
    except OSError:
        return
    for name in names:
        path = os.path.join(parent, name)
        if not name.startswith(PREFIX) or not _is_ours(path):
            continue
        try:
            # killed before the lock was there, or after it was removed
            os.rmdir(path)
            continue
        except OSError:
            pass
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


def _is_ours(path: str) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
