# SPDX-License-Identifier: GPL-3.0-or-later
"""What a root tree itself has of the container kiwi derived it from."""
from __future__ import annotations

import os
import stat
from typing import Dict

from kiwi_stackbuild_plugin import labels
from kiwi_stackbuild_plugin.archive import read_archive_config
from kiwi_stackbuild_plugin.tree import open_below

IMPORTED_ROOT = b'image/imported_root'

#: a config is a few kB; what is longer would make that of the stash too long
_CONFIG_LIMIT = 1 << 18


def imported_label(root_fd: int) -> Dict[str, str]:
    """Return the label for the container that a root tree was derived from."""
    try:
        fd = open_below(root_fd, IMPORTED_ROOT, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return {}
        config = read_archive_config(f'/proc/{os.getpid()}/fd/{fd}')
    finally:
        os.close(fd)
    return {labels.IMPORTED_ROOT: config} if len(config) < _CONFIG_LIMIT else {}
