# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold that nothing kiwi writes below a directory ends up outside of it.

Kiwi works from outside on trees whose links strangers made: an absolute one
leads it to the files of this machine. Python tells an audit hook of each file
that is opened, made, renamed or removed and of each command before it runs
(PEP 578), so whatever kiwi does, in whatever version, is seen here. What leads
out is refused there; links.py says it earlier where that can be known.
"""
from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.host.mounts import is_mounted_on_itself
from kiwi_stackbuild_plugin.host.tool_writes import Write, find_writes

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: events with the paths among their arguments, and those of directories that
#: they are relative to; the name itself is made or removed
_NAMES: Dict[str, Tuple[Tuple[int, int], ...]] = {
    'os.remove': ((0, 1),), 'os.rmdir': ((0, 1),),
    # below it works with descriptors of directories
    'shutil.rmtree': ((0, 1),),
    'os.rename': ((0, 2), (1, 3)), 'os.link': ((1, 3),), 'os.symlink': ((1, 2),),
}
#: events that change what a path leads to
_CHANGES = {
    'os.chmod': 2, 'os.chown': 3, 'os.removexattr': -1, 'os.setxattr': -1,
    'os.truncate': -1, 'os.utime': 3,
}


class Guard:
    """Directories in whose entries all writes have to stay.

    :param parents: with the beginnings of the names of entries
    :param root: the root tree, for package managers that read it in a file
    """

    def __init__(
        self, parents: Sequence[Tuple[str, Tuple[str, ...]]], root: str = ''
    ) -> None:
        self._parents = [
            (each, names) for parent, names in parents
            for each in dict.fromkeys((os.path.abspath(parent), os.path.realpath(parent)))
        ]
        self._root = root
        self._real: Dict[str, str] = {}
        self._mounted: Set[str] = set()
        self._busy = False
        self.refused: Optional[KiwiStashRootInvalid] = None

    def see(self, event: str, args: Tuple[Any, ...]) -> None:
        """Look at what is about to happen.

        :raises KiwiStashRootInvalid: if it would write outside
        """
        find = _EVENTS.get(event)
        if find is None or self._busy:
            return
        self._busy = True
        try:
            for write in find(args, self._root):
                self._check(write)
        finally:
            self._busy = False

    def _check(self, write: Write) -> None:
        base, below = self._base(write.path)
        if not base:
            return
        if write.follow or not below:
            real = os.path.realpath(write.path)
        else:
            head, tail = os.path.split(write.path.rstrip('/'))
            real = os.path.join(os.path.realpath(head), tail)
        allowed = self._real.get(base)
        if allowed is None:
            allowed = self._real[base] = os.path.realpath(base)
        if (real + '/').startswith(allowed + '/') or self._on_itself(write, real):
            return
        refused = KiwiStashRootInvalid(
            f'kiwi is stopped: it would write through a link at {below!r} in '
            f'{base!r} to {real!r}, a file of this machine',
            'nothing was written there; the image is not to be trusted'
        )
        self.refused = self.refused or refused
        raise refused

    def _base(self, path: str) -> Tuple[str, str]:
        """Return the guarded directory that a path names, and the rest."""
        words = [word for word in path.split('/') if word not in ('', '.')]
        clean = '/' + '/'.join(words)
        for parent, names in self._parents:
            if clean.startswith(parent + '/'):
                name, _, below = clean[len(parent) + 1:].partition('/')
                if name.startswith(names):
                    return f'{parent}/{name}', below
        return '', ''

    def _on_itself(self, write: Write, real: str) -> bool:
        """Tell whether a directory is mounted on itself, or that is taken back.

        Kiwi does so with /run/dbus where var/run of the root leads to /run. What is
        mounted so before, by a kiwi that was killed or one that works beside this one,
        it only takes back.
        """
        if not write.bound_to:
            return False
        if os.path.realpath(write.bound_to) == real and write.bound_to != write.path:
            self._mounted.add(real)
        return real in self._mounted or is_mounted_on_itself(real)


_active: List[Guard] = []
_hooked: List[bool] = []


def _hook(event: str, args: Tuple[Any, ...]) -> None:
    for guard in _active:
        guard.see(event, args)


@contextmanager
def guarded(
    parents: Sequence[Tuple[str, Tuple[str, ...]]], root: str = ''
) -> Iterator[None]:
    """Stop what would write out of the entries of directories, for a block.

    :param parents: each with the beginnings of the names that are guarded
    :raises KiwiStashRootInvalid: also where the block made another error of it
    """
    if not _hooked:
        # it cannot be removed, and does nothing while no guard is active
        sys.addaudithook(_hook)
        _hooked.append(True)
    guard = Guard(parents, root)
    _active.append(guard)
    try:
        yield
    finally:
        _active.remove(guard)
        if guard.refused:
            raise guard.refused


def _opened(args: Tuple[Any, ...], root: str) -> Iterator[Write]:
    path, _, flags = args[:3]
    if isinstance(path, (str, bytes, os.PathLike)) and flags & _WRITING:
        closed = os.O_CREAT | os.O_EXCL
        yield Write(
            _absolute(path), not flags & os.O_NOFOLLOW and flags & closed != closed
        )


def _names(places: Tuple[Tuple[int, int], ...]) -> Callable[..., Iterator[Write]]:
    def find(args: Tuple[Any, ...], root: str) -> Iterator[Write]:
        for path, directory in places:
            if _is_from_here(args, path, directory):
                yield Write(_absolute(args[path]), follow=False)
    return find


def _made(args: Tuple[Any, ...], root: str) -> Iterator[Write]:
    """Give a directory that is made; one that is there stays as it is."""
    for write in _names(((0, 2),))(args, root):
        if not os.path.isdir(write.path):
            yield write


def _changed(directory: int) -> Callable[..., Iterator[Write]]:
    def find(args: Tuple[Any, ...], root: str) -> Iterator[Write]:
        if _is_from_here(args, 0, directory):
            yield Write(_absolute(args[0]))
    return find


def _is_from_here(args: Tuple[Any, ...], path: int, directory: int) -> bool:
    """Tell whether an argument is a path that is not relative to a descriptor."""
    return isinstance(args[path], (str, bytes, os.PathLike)) and (
        directory < 0 or directory >= len(args) or args[directory] in (-1, None)
        or os.path.isabs(args[path])
    )


def _absolute(path: Any) -> str:
    return os.path.join(os.getcwd(), os.fsdecode(path))


def _command(args: Tuple[Any, ...], root: str) -> Iterator[Write]:
    words, directory = args[1], args[2] if len(args) > 3 else None
    if isinstance(words, (str, bytes, os.PathLike)):
        words = [words]
    return find_writes(
        [os.fsdecode(word) for word in words], _absolute(directory or '.'), root
    )


def _shell(args: Tuple[Any, ...], root: str) -> Iterator[Write]:
    return find_writes(['sh', '-c', os.fsdecode(args[0])], os.getcwd(), root)


_EVENTS: Dict[str, Callable[[Tuple[Any, ...], str], Iterator[Write]]] = {
    'open': _opened, 'os.mkdir': _made,
    **{event: _names(places) for event, places in _NAMES.items()},
    **{event: _changed(directory) for event, directory in _CHANGES.items()},
    'subprocess.Popen': _command, 'os.posix_spawn': _command, 'os.exec': _command,
    'os.system': _shell,
}
