# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories in which the overlay driver keeps the layers of an image."""
from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import Iterator, List

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.tree.opening import DIRECTORY_FLAGS


@contextmanager
def open_layers(info: ImageInfo) -> Iterator[List[int]]:
    """Open the layers of an image for a block, from the bottom up.

    They are neither mounted nor locked. None where another driver than overlay
    is in use, where they are not ours to read, or are gone.
    """
    with ExitStack() as stack:
        found: List[int] = []
        try:
            for path in info.directories:
                found.append(os.open(path, DIRECTORY_FLAGS))
                stack.callback(os.close, found[-1])
        except OSError:
            found = []
        yield found if len(found) == len(info.layers) else []
