# SPDX-License-Identifier: GPL-3.0-or-later
"""Take back what is mounted at a directory and below it."""
from __future__ import annotations

import logging
import os
from typing import List, Set

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.host.mounts import mount_points, processes_in

log = logging.getLogger('kiwi')

_SHOWN = 10


def take_back_mounts(directory: str, level: int = logging.INFO) -> List[bytes]:
    """Unmount all that is mounted at a directory and below it, the newest first.

    :param level: how loud each mount point is named
    :returns: what stays mounted
    """
    told: Set[bytes] = set()
    before, points = 0, mount_points(directory)
    while points and len(points) != before:
        for point in reversed(points):
            if point not in told:
                log.log(level, 'Unmounting %s', printable_path(point))
            told.add(point)
            run_command(['umount', '--', os.fsdecode(point)], check=False)
        before, points = len(points), mount_points(directory)
    return points


def in_use_by(directory: str) -> str:
    """Return what a message says of who keeps a directory busy; '' if nobody does."""
    holders = processes_in(directory)
    return f', in use by process {", ".join(holders[:_SHOWN])}' if holders else ''
