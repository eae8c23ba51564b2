# SPDX-License-Identifier: GPL-3.0-or-later
"""What an overlay root may have changed of an image, found without a scan of both."""
from __future__ import annotations

import logging
from contextlib import closing
from typing import Iterable, Optional, Sequence

from kiwi_stackbuild_plugin.image.image import ImageInfo, extras_of, is_own_stash
from kiwi_stackbuild_plugin.layer.extras import amend
from kiwi_stackbuild_plugin.overlay.mounted import opened_layers
from kiwi_stackbuild_plugin.overlay.root import is_overlay
from kiwi_stackbuild_plugin.overlay.upper import Both, touched
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.scan import (
    EVERYTHING, Exclusion, TreeReader, without_excluded
)
from kiwi_stackbuild_plugin.tree.selection import directories_of

log = logging.getLogger('kiwi')


def find_changed(
    path: str, root_fd: int, base_fd: int, info: ImageInfo, exclusion: Exclusion,
    named: Iterable[bytes] = ()
) -> Optional[Both]:
    """Return the entries of an image and of an overlay root on it that may differ.

    :param path: the root
    :param base_fd: where the image is mounted
    :param exclusion: what is left out, of both
    :param named: paths that may differ besides
    :returns: None where only a scan of all of it tells; the log says why
    """
    if not is_own_stash(info):
        return None
    extras = extras_of(info)
    with opened_layers(path, root_fd, info) as layers:
        try:
            if layers:
                old, new = touched(base_fd, root_fd, layers, exclusion, [*extras, *named])
                return list(amend(old, extras)), new
            reason = 'the mount is none on layers of the base, or has other options'
        except Unreadable as issue:
            reason = str(issue)
    log.info('All of %s is looked at, not only its changes: %s', path, reason)
    return None


def find_changed_and_excluded(
    path: str, root_fd: int, base_fd: int, info: ImageInfo, patterns: Sequence[str],
    exclusion: Exclusion
) -> Optional[Both]:
    """Return what find_changed does, and of the image also what the root leaves out.

    :param patterns: what the exclusion is made of, besides contents of directories
    :returns: None for another root as well
    """
    directories = directories_of(patterns)
    if directories is None or not is_overlay(path):
        return None
    with closing(TreeReader(base_fd)) as base:
        named = [
            directory + b'/' + name if directory else name
            for directory in sorted({*directories, *exclusion.contents})
            for name in base.names(directory)
        ]
    both = find_changed(path, root_fd, base_fd, info, EVERYTHING, named)
    return both and (both[0], list(without_excluded(both[1], exclusion)))
