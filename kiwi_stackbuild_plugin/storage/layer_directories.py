# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories in which the overlay driver keeps the layers of an image."""
from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import Iterator, List

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.tree.opening import DIRECTORY_FLAGS


#: containers/storage notes here the owner and mode of what it stores with others
_OVERRIDE = 'user.containers.override_stat'
#: beside a layer whose files are stored by their digests
_BY_DIGEST = 'composefs-data'


@contextmanager
def open_layers(info: ImageInfo) -> Iterator[List[int]]:
    """Open the layers of an image for a block, from the bottom up.

    They are neither mounted nor locked. None where another driver than overlay
    is in use, where they are not ours to read, are gone, or are not the files
    as they are.
    """
    with ExitStack() as stack:
        found: List[int] = []
        try:
            for path in info.directories:
                found.append(os.open(path, DIRECTORY_FLAGS))
                stack.callback(os.close, found[-1])
                if _is_other_than_seen(path, found[-1]):
                    found = []
                    break
        except OSError:
            found = []
        yield found if len(found) == len(info.layers) else []


def _is_other_than_seen(path: str, fd: int) -> bool:
    """Tell whether a layer is stored otherwise than a mount shows it."""
    return _OVERRIDE in os.listxattr(fd) or os.path.lexists(
        os.path.join(os.path.dirname(path), _BY_DIGEST)
    )
