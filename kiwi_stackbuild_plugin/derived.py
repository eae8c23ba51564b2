# SPDX-License-Identifier: GPL-3.0-or-later
"""What a root tree itself has of the container kiwi derived it from."""
from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import Dict, Iterator, Optional

from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.storage.documents import read_archive_config
from kiwi_stackbuild_plugin.tree.opening import open_below

_IMPORTED_ROOT = b'image/imported_root'

#: a config is a few kB; what is longer would make that of the stash too long
_CONFIG_LIMIT = 1 << 18


@contextmanager
def imported_archive(root_fd: int) -> Iterator[Optional[str]]:
    """Give a path to the archive in a root tree for a block, None if there is none."""
    try:
        fd = open_below(root_fd, _IMPORTED_ROOT, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        yield None
        return
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        yield f'/proc/{os.getpid()}/fd/{fd}' if regular else None
    finally:
        os.close(fd)


def imported_label(root_fd: int) -> Dict[str, str]:
    """Return the label for the container that a root tree was derived from."""
    with imported_archive(root_fd) as path:
        if path is None:
            return {}
        config = read_archive_config(path)
    return {labels.IMPORTED_ROOT: config} if len(config) < _CONFIG_LIMIT else {}
