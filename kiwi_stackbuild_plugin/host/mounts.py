# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted below a directory, and who holds it."""
from __future__ import annotations

import os
import re
from typing import Dict, FrozenSet, Iterator, List

_LINKS = ('root', 'cwd', 'exe')


def mount_points(directory: str) -> List[bytes]:
    """Return all mount points at a directory and below it, the newest last.

    A point is told as often as something is mounted there. Source: proc(5),
    /proc/self/mountinfo, field 5.
    """
    top = os.fsencode(os.path.realpath(directory)).rstrip(b'/')
    return [fields[4] for fields in _mountinfo() if _is_within(fields[4], top)]


def _mountinfo() -> Iterator[List[bytes]]:
    """Yield the fields of each mount up to its point, the newest last."""
    with open('/proc/self/mountinfo', 'rb') as mountinfo:
        for line in mountinfo:
            yield [
                re.sub(rb'\\([0-7]{3})', lambda match: bytes([int(match[1], 8)]), field)
                for field in line.split(b' ')[:5]
            ]


def is_mounted_on_itself(directory: str) -> bool:
    """Tell whether a directory is where it is also mounted from: mount --bind x x.

    Source: proc(5), fields 1 to 5: ID, parent, device, root in the file system, point.
    """
    top = os.fsencode(os.path.realpath(directory))
    mounts: Dict[bytes, List[bytes]] = {fields[0]: fields for fields in _mountinfo()}
    here = [fields for fields in mounts.values() if fields[4] == top]
    parent = mounts.get(here[-1][1]) if here else None
    if parent is None:
        return False
    below = top[len(parent[4].rstrip(b'/')):]
    return here[-1][2:4] == [parent[2], (parent[3].rstrip(b'/') + below) or b'/']


def find_mounts(root: str) -> FrozenSet[bytes]:
    """Return the paths below a root on which other file systems are mounted."""
    top = os.fsencode(os.path.realpath(root)).rstrip(b'/') + b'/'
    return frozenset(
        point[len(top):] for point in mount_points(root) if point.startswith(top)
    )


def processes_in(directory: str, chrooted_only: bool = False) -> List[str]:
    """Return the processes that a directory keeps busy, such as '17 (dpkg)'.

    :param chrooted_only: only those that have their root there
    """
    top = os.fsencode(os.path.realpath(directory)).rstrip(b'/')
    return [
        f'{pid} ({_name(pid)})'
        for pid in sorted(map(int, filter(str.isdigit, os.listdir('/proc'))))
        if any(_is_within(place, top) for place in _places(pid, chrooted_only))
    ]


def _places(pid: int, chrooted_only: bool) -> Iterator[bytes]:
    """Yield where a process is, until it ends."""
    process = b'/proc/%d/' % pid
    try:
        yield os.readlink(process + b'root')
        if chrooted_only:
            return
        for name in _LINKS[1:]:
            yield os.readlink(process + name.encode())
        for number in os.listdir(process + b'fd'):
            yield os.readlink(process + b'fd/' + number)
    except OSError:
        return


def _is_within(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top + b'/')


def _name(pid: int) -> str:
    try:
        with open(f'/proc/{pid}/comm', encoding='utf-8', errors='replace') as name:
            return name.read().strip()
    except OSError:
        return '?'
