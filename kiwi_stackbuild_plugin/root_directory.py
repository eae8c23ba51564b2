# SPDX-License-Identifier: GPL-3.0-or-later
"""Open a root directory, or say why not."""
from __future__ import annotations

import os

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid


def open_tree(root: str) -> int:
    """Open a root directory.

    :returns: file descriptor, to be closed by the caller
    :raises KiwiStashRootInvalid: if it is missing or no directory
    """
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as issue:
        raise KiwiStashRootInvalid(
            f'root tree {root!r}: {issue.strerror}'
        ) from issue
