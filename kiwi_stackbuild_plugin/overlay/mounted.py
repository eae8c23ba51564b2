# SPDX-License-Identifier: GPL-3.0-or-later
"""What an overlay root is mounted on at present, by what the kernel tells."""
from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional

from kiwi_stackbuild_plugin.host.mounts import read_mounts, unescape
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.overlay.place import upper_of
from kiwi_stackbuild_plugin.storage.directories import open_layers
from kiwi_stackbuild_plugin.tree.opening import opened_tree

#: options that change nothing of what is in the upper directory
_KNOWN = re.compile(
    r'rw|index=off|metacopy=off|redirect_dir=(off|nofollow)|xino=\w+|uuid=\w+|nfs_export=off'
)


@contextmanager
def opened_layers(root: str, root_fd: int, info: ImageInfo) -> Iterator[List[int]]:
    """Open, for a block, all layers that only one of a root and an image has.

    :param root_fd: the root, mounted
    :returns: its upper directory, then what the image has above what it is mounted
        on; nothing where that is not known, or the mount is not as ours are
    """
    options = _options(os.fstat(root_fd).st_dev)
    is_ours = os.path.realpath(options.get('upperdir', '')) == os.path.realpath(upper_of(root))
    count = _shared(options, info) if is_ours else None
    if count is None:
        yield []
        return
    with open_layers(info) as layers, opened_tree(upper_of(root)) as upper:
        yield [upper, *layers[count:]] if layers else []


def _options(device: int) -> Dict[str, str]:
    """Return the options of the overlay mount of a device.

    :returns: nothing where there is none, or it has one that is not known here
    """
    number = b'%d:%d' % (os.major(device), os.minor(device))
    for mount in read_mounts():
        if mount.device != number or mount.kind != b'overlay':
            continue
        options = [os.fsdecode(unescape(word)) for word in mount.options.split(b',')]
        own = dict(
            word.split('=', 1) for word in options
            if word.startswith(('lowerdir=', 'upperdir=', 'workdir='))
        )
        known = sum(_KNOWN.fullmatch(word) is not None for word in options)
        return own if len(own) + known == len(options) else {}
    return {}


def _shared(options: Dict[str, str], info: ImageInfo) -> Optional[int]:
    """Return how many layers of an image a mount is on, if it is on no other ones."""
    if not info.directories:
        return None
    # mounted from there, by short names
    driver = os.path.dirname(os.path.dirname(info.directories[0]))
    lower = [
        os.path.realpath(os.path.join(driver, name))
        for name in reversed(options['lowerdir'].split(':'))
    ]
    directories = list(map(os.path.realpath, info.directories))
    return len(lower) if lower == directories[:len(lower)] else None
