# SPDX-License-Identifier: GPL-3.0-or-later
"""Give back the disk of a file while a tool reads it, once and from the start.

skopeo copies each blob to a temporary file of its own before the storage
unpacks it. What it has read of ours is needed no more: without this a first
stash takes the disk of two blobs.
"""
from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from typing import Iterator, List, Optional

from kiwi_stackbuild_plugin.host.holes import punch_hole

_EVERY = 0.05
_BLOCK = 1 << 20
#: smaller files are not worth the looking
_WORTH = 16 << 20


@contextmanager
def consumed(path: Optional[str]) -> Iterator[None]:
    """For a block, free what a child process has read of a file.

    Whatever does not work here (no /proc, a file system without holes) only
    costs disk: the block runs all the same.

    :param path: file that is read in the block and not used after it
    """
    if path is None or os.path.getsize(path) < _WORTH:
        yield
        return
    done = threading.Event()
    worker = threading.Thread(target=_free, args=(path, done), daemon=True)
    worker.start()
    try:
        yield
    finally:
        done.set()
        worker.join()


def _free(path: str, done: threading.Event) -> None:
    freed = 0
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while not done.wait(_EVERY):
            offset = _read_so_far(path) // _BLOCK * _BLOCK
            if offset > freed and _punch(fd, freed, offset - freed):
                freed = offset
    finally:
        os.close(fd)


def _punch(fd: int, offset: int, length: int) -> bool:
    try:
        punch_hole(fd, offset, length)
    except OSError:
        return False
    return True


def _read_so_far(path: str) -> int:
    """Return the least offset at which a child process has a file open."""
    offsets: List[int] = []
    for child in _children():
        try:
            for name in os.listdir(f'/proc/{child}/fd'):
                if os.readlink(f'/proc/{child}/fd/{name}') == path:
                    with open(f'/proc/{child}/fdinfo/{name}', encoding='ascii') as info:
                        found = re.search(r'^pos:\s*(\d+)', info.read(), re.MULTILINE)
                    offsets.append(int(found[1]) if found else 0)
        except OSError:
            continue
    return min(offsets, default=0)


def _children() -> List[str]:
    found: List[str] = []
    for task in os.listdir('/proc/self/task'):
        try:
            with open(f'/proc/self/task/{task}/children', encoding='ascii') as listed:
                found += listed.read().split()
        except OSError:
            continue
    return found
