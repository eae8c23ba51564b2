# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a tree in a process of its own, ahead of who needs it."""
from __future__ import annotations

import marshal
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Sequence

from kiwi_stackbuild_plugin.host.errors import KiwiStashSystemFailed
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.rows import LENGTH, Sink, Truncated, receive
from kiwi_stackbuild_plugin.tree.scan import EVERYTHING, Exclusion, scan

#: a new interpreter, not a fork: a fork of a process that has had threads can
#: hang; with our module path and nothing else of the environment. Python's own
#: modules come first in it: there may be old ones of the same name beside us
_PROGRAM = (
    'import marshal, sys; sys.path += marshal.load(sys.stdin.buffer); '
    'from kiwi_stackbuild_plugin.tree import worker; worker.%s()'
)


class ScanAhead:
    """A scan by a child process that begins at once, and again if need be.

    The pipe between us bounds its lead. The child ends with its parent.

    :param at_once: False: when the entries are asked for
    """

    def __init__(
        self, root_fd: int, exclusion: Exclusion = EVERYTHING, at_once: bool = True
    ) -> None:
        self._root_fd = root_fd
        self._exclusion = exclusion
        self._child: Optional[subprocess.Popen[bytes]] = (
            _start(root_fd, exclusion) if at_once else None
        )

    def entries(self, copy: Optional[Sink] = None) -> Iterator[Entry]:
        """Yield what tree.scan yields.

        :param copy: gets what the child sends, as packing.receive reads it
        :raises OSError: as scan does
        """
        child, self._child = self._child, None
        child = child or _start(self._root_fd, self._exclusion)
        head = b''
        try:
            if child is not None:
                assert child.stdout
                head = child.stdout.read(LENGTH)
            # an installation that a bare interpreter cannot find: no lead then
            if child is not None and head:
                yield from _received(head, child, copy)
            else:
                yield from scan(self._root_fd, self._exclusion)
        finally:
            _stop(child)

    def close(self) -> None:
        """End a scan that nobody asked for."""
        child, self._child = self._child, None
        _stop(child)


def _received(
    head: bytes, child: subprocess.Popen[bytes], copy: Optional[Sink]
) -> Iterator[Entry]:
    """Yield what a child sends.

    :raises KiwiStashSystemFailed: if it ended on the way
    """
    assert child.stdout
    try:
        yield from receive(head, child.stdout, copy)
    except Truncated as issue:
        status = child.wait()
        raise KiwiStashSystemFailed(
            'the process that scans was ended '
            + (f'by signal {-status}' if status < 0 else f'with exit status {status}'),
            'signal 9 may be that of the kernel, short of memory' if status == -9 else ''
        ) from issue


def scan_ahead(root_fd: int, exclusion: Exclusion = EVERYTHING) -> Iterator[Entry]:
    """Yield what tree.scan yields, from a child process that runs ahead.

    :raises OSError: as scan does
    """
    yield from ScanAhead(root_fd, exclusion).entries()


@contextmanager
def read_ahead(fds: Sequence[int]) -> Iterator[None]:
    """Have files read into the page cache while a block reads the same trees.

    What reads one file after the other waits for the disk, and for the storage
    to find each file in its layers. It costs nothing but the work of a process
    that the end of the block ends.

    :param fds: directories, only regular files below them are opened; what one
        has is not read in those that follow
    """
    child = _begin('warm', fds, os.getpid())
    try:
        yield
    finally:
        if child is not None:
            child.kill()
        _stop(child)


class LinksAhead:
    """A search by a child process for files with several names.

    :param fds: directories, of which each is searched by itself
    """

    def __init__(self, fds: Sequence[int]) -> None:
        self._child = _begin('link', fds)

    def names(self) -> Optional[List[List[List[bytes]]]]:
        """Wait for what it finds: for each directory, the names of each such file.

        :returns: None if it cannot tell
        """
        child, self._child = self._child, None
        if child is None:
            return None
        assert child.stdout
        told = child.stdout.read()
        _stop(child)
        return marshal.loads(told) if told and not child.returncode else None

    def close(self) -> None:
        """End a search that nobody asked for."""
        child, self._child = self._child, None
        _stop(child)


def _start(root_fd: int, exclusion: Exclusion) -> Optional[subprocess.Popen[bytes]]:
    pattern = exclusion.pattern
    return _begin(
        'work', [root_fd], tuple(exclusion.paths), tuple(exclusion.contents),
        pattern and pattern.pattern, pattern and pattern.flags
    )


def _begin(
    task: str, fds: Sequence[int], *job: Any
) -> Optional[subprocess.Popen[bytes]]:
    """Start a function of worker; directories and values are its job.

    :returns: None where Python itself cannot be started again
    """
    if not sys.executable:
        return None
    try:
        child = subprocess.Popen(
            [sys.executable, '-I', '-S', '-c', _PROGRAM % task],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            pass_fds=fds, bufsize=1 << 18
        )
    except OSError:
        return None
    assert child.stdin
    try:
        child.stdin.write(marshal.dumps(_module_path()) + marshal.dumps((list(fds), *job)))
        child.stdin.close()
    except BrokenPipeError:
        pass
    return child


def _stop(child: Optional[subprocess.Popen[bytes]]) -> None:
    if child is None:
        return
    assert child.stdout
    child.stdout.close()
    child.wait()


def _module_path() -> List[str]:
    """Return where we are, for an editable install is not in sys.path, and that."""
    here = os.path.abspath(f'{os.path.dirname(__file__)}/../..')
    return [here, *(path for path in sys.path if isinstance(path, str))]
