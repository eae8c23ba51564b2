# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system of its own for a run: ext4 with a journal, in a sparse file.

All parties then work on the same, freshly made file system. It matters: ext4
without a journal, as some virtual machines have it, does not reuse an inode
for up to 300 s after its file was deleted; a program that deletes a tree then
slows down whatever creates files after it, be it its own next run or another's.
"""
from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import Iterator, List

from stackbench.meter import BenchFailed

_SIZE = '100G'     # sparse: only what is used takes disk space
# nothing that initialises tables later, while we measure
_OPTIONS = {
    'ext4': ('-O', 'has_journal', '-E', 'lazy_itable_init=1,lazy_journal_init=0')
}


@contextmanager
def alone(cache: str) -> Iterator[None]:
    """Keep other runs from the cache and the machine for a block.

    :raises BenchFailed: if another one is at work
    """
    with open(f'{cache}/lock', 'w', encoding='ascii') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchFailed(f'another run works in {cache}') from None
        yield


@contextmanager
def open_arena(cache: str, kind: str = 'ext4') -> Iterator[str]:
    """Give an empty directory below cache; nothing of it is left at the end.

    :param kind: of file system: ext4, xfs or btrfs
    """
    place = f'{cache}/arena'
    image = f'{cache}/arena.disk'
    _remove(place, image)
    os.makedirs(place)
    try:
        _mount(place, image, kind)
        yield place
    finally:
        _remove(place, image)


def _mount(place: str, image: str, kind: str) -> None:
    commands: List[List[str]] = [
        ['truncate', f'--size={_SIZE}', image],
        [f'mkfs.{kind}', '-q', *_OPTIONS.get(kind, ()), image],
        ['mount', '-o', 'loop,noinit_itable' if kind == 'ext4' else 'loop', image, place]
    ]
    for command in commands:
        try:
            subprocess.run(command, check=True, stderr=subprocess.PIPE)
        except (OSError, subprocess.CalledProcessError) as issue:
            print(
                f'bench: no file system of its own ({issue}): using the one '
                f'of {place}', file=sys.stderr
            )
            return


def _remove(place: str, image: str) -> None:
    if os.path.ismount(place):
        subprocess.run(['umount', place], check=True)
    shutil.rmtree(place, ignore_errors=True)
    if os.path.exists(image):
        os.unlink(image)
