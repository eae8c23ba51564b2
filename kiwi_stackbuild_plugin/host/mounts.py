# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted below a directory, and who holds it."""
from __future__ import annotations

import os
import re
from typing import Dict, FrozenSet, Iterator, List, NamedTuple

_LINKS = ('root', 'cwd', 'exe')


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo; proc(5) has the fields.

    device: major:minor
    root: directory of the file system that is at the point
    options: of the file system, in its own words; see unescape
    """

    mount_id: bytes
    parent: bytes
    device: bytes
    root: bytes
    point: bytes
    kind: bytes
    options: bytes


def mount_points(directory: str) -> List[bytes]:
    """Return all mount points at a directory and below it, the newest last.

    A point is told as often as something is mounted there.
    """
    top = os.fsencode(os.path.realpath(directory)).rstrip(b'/')
    return [mount.point for mount in read_mounts() if _is_within(mount.point, top)]


def read_mounts() -> Iterator[Mount]:
    """Yield what is mounted, the newest last."""
    with open('/proc/self/mountinfo', 'rb') as mountinfo:
        for line in mountinfo:
            place, _, system = line.rstrip(b'\n').partition(b' - ')
            number, parent, device, root, point = map(unescape, place.split(b' ')[:5])
            kind, _, rest = system.partition(b' ')
            yield Mount(number, parent, device, root, point, kind, rest.partition(b' ')[2])


def unescape(word: bytes) -> bytes:
    """Return a word of mountinfo as it was before the kernel escaped it."""
    return re.sub(rb'\\([0-7]{3})', lambda match: bytes([int(match[1], 8)]), word)


def mounted_on(path: str) -> Mount:
    """Return the mount that a path is in."""
    real = os.fsencode(os.path.realpath(path))
    inside = (mount for mount in read_mounts() if _is_within(real, mount.point.rstrip(b'/')))
    # of those at one point the newest
    return max(enumerate(inside), key=lambda pair: (len(pair[1].point), pair[0]))[1]


def is_mounted_on_itself(directory: str) -> bool:
    """Tell whether a directory is where it is also mounted from: mount --bind x x."""
    top = os.fsencode(os.path.realpath(directory))
    mounts: Dict[bytes, Mount] = {mount.mount_id: mount for mount in read_mounts()}
    here = [mount for mount in mounts.values() if mount.point == top]
    parent = mounts.get(here[-1].parent) if here else None
    if parent is None:
        return False
    below = top[len(parent.point.rstrip(b'/')):]
    return (here[-1].device, here[-1].root) == (
        parent.device, (parent.root.rstrip(b'/') + below) or b'/'
    )


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
