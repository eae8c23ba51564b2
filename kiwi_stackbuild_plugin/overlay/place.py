# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the changes of an overlay root are: in a directory beside it."""
from __future__ import annotations

import os

_SUFFIX = '.overlay'


def overlay_of(root: str) -> str:
    """Return the directory beside a root, whether the root is an overlay or not."""
    return os.path.abspath(root) + _SUFFIX


def upper_of(root: str) -> str:
    """Return the directory that takes the changes."""
    return os.path.join(overlay_of(root), 'upper')


def passing_of(root: str) -> str:
    """Return the file that is there as long as a run has it mounted that will unmount it."""
    return os.path.join(overlay_of(root), 'passing')


def work_of(root: str) -> str:
    """Return the directory that the kernel needs besides."""
    return os.path.join(overlay_of(root), 'work')
