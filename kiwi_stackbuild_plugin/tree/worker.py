# SPDX-License-Identifier: GPL-3.0-or-later
"""What prefetch has other processes do; imports little, so that they start quickly."""
from __future__ import annotations

import marshal
import os
import sys
from contextlib import suppress
from typing import Set

from kiwi_stackbuild_plugin.tree.rows import send
from kiwi_stackbuild_plugin.tree.scan import Exclusion, linked_names, scan_rows, walk_files

#: no more of a file, in bytes; the kernel reads ahead of who has begun
_BEGINNING = 1 << 24


def work() -> None:
    """Scan and send, until done or nobody listens; the job comes by stdin."""
    (root_fd,), paths, contents, pattern, flags = marshal.load(sys.stdin.buffer)
    if pattern:
        import re
        pattern = re.compile(pattern, flags)
    exclusion = Exclusion(frozenset(paths), frozenset(contents), pattern)
    try:
        send(sys.stdout.buffer, scan_rows(root_fd, exclusion))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)


def warm() -> None:
    """Ask for the beginning of each file, until done or our parent is gone.

    Of several directories the first that has a file is asked for it.
    """
    fds, parent = marshal.load(sys.stdin.buffer)
    seen: Set[bytes] = set()
    for fd in fds:
        os.fchdir(fd)
        for entry in walk_files(b'.'):
            if os.getppid() != parent:
                return
            if entry.path in seen:
                continue
            if fd != fds[-1]:
                seen.add(entry.path)
            with suppress(OSError):
                _ask_for(entry.path)


def link() -> None:
    """Send, for each of several directories, the names of each file that has several."""
    (fds,) = marshal.load(sys.stdin.buffer)
    found = []
    for fd in fds:
        os.fchdir(fd)
        found.append(linked_names(b'.'))
    sys.stdout.buffer.write(marshal.dumps(found))


def _ask_for(path: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, _BEGINNING, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(fd)
