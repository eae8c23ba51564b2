# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed in a root tree since its base: by the base's index, or its mount."""
from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from functools import partial
from tempfile import TemporaryDirectory
from typing import Callable, Iterator, Optional

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid, KiwiStashVerifyFailed, printable_path
)
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import (
    ImageInfo, extras_of, source_date
)
from kiwi_stackbuild_plugin.layer.extras import amend, read_entry
from kiwi_stackbuild_plugin.overlay.changed import find_changed
from kiwi_stackbuild_plugin.packages.database_files import (
    without_install_times, without_passing
)
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.stash.index import IndexDamaged, read_index
from kiwi_stackbuild_plugin.stash.source import RootTree
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.local import longest_path
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import PARENT, Delta, Trust, compare
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.opening import open_shown, opened_tree
from kiwi_stackbuild_plugin.tree.selection import storable
from kiwi_stackbuild_plugin.tree.times import TREE_TIMES, ByteCode, Times

log = logging.getLogger('kiwi')


def last_time(ignore_times: bool, no_base: bool, clamp_mtime: bool) -> Optional[int]:
    """Check the options about times.

    :returns: the last mtime (nanoseconds) that is stored, None for any
    :raises KiwiStashArgumentInvalid: for what does not go together
    """
    if ignore_times and no_base:
        raise KiwiStashArgumentInvalid(
            '--ignore-times: with --no-base there is no base whose times are kept',
            'leave one of the two away'
        )
    seconds = source_date() if clamp_mtime else None
    if clamp_mtime and seconds is None:
        raise KiwiStashArgumentInvalid(
            '--clamp-mtime: SOURCE_DATE_EPOCH is not set',
            'export SOURCE_DATE_EPOCH=<seconds since 1970>'
        )
    return None if seconds is None else seconds * 10**9


def find_changes(
    space: Workspace, tree: RootTree, base: Base,
    entries: Callable[..., Iterator[Entry]], use_index: bool = True,
    ignore_times: bool = False, looks_at_all: bool = False
) -> Delta:
    """Return what turns the base into the tree.

    :param entries: begins a scan of the tree, or passes on what is given to it of one
    :param use_index: False looks at what the storage has, damage included
    :param ignore_times: what differs by its time alone keeps that of the base, but
        for sources whose time Python's byte code names; so does rpm's data base where
        only the times of installation differ
    :param looks_at_all: at what an overlay root has not changed, too
    """
    matters = ByteCode(tree.fd).names_time_of if ignore_times else None
    trust = _trust_in(base, tree)
    with ExitStack() as stack:
        files = _BaseFiles(stack, space, base.info, tree.fd)
        both = find_changed(
            tree.path, tree.fd, files.fd, base.info, tree.exclusion
        ) if tree.is_overlay and not looks_at_all else None
        if both is not None:
            return without_passing(compare(
                both[0], entries(iter(both[1])), files.same_content, Trust(None, base.rounded)
            ), files.entry)
        known = read_index(base.info.image_id, tree.exclusion) if use_index else None
        # it has all that was in the tree, also what no layer can hold
        if known is not None:
            try:
                return _settled(compare(
                    storable(known, lambda path, why: None, longest_path),
                    entries(), files.same_content, trust, matters
                ), files, ignore_times)
            except IndexDamaged as issue:
                log.debug('index of %s: %s', base.info.image_id[:12], issue)
        there = amend(scan_ahead(files.fd, tree.stored_exclusion), extras_of(base.info))
        found = compare(there, entries(), files.same_content, trust, matters)
        return _settled(found, files, ignore_times)


def _settled(delta: Delta, files: _BaseFiles, ignore_times: bool) -> Delta:
    """Leave out what says the same of packages as the base."""
    if not ignore_times:
        return without_passing(delta, files.entry)
    result = without_install_times(
        delta, files.entry, _at_another_time, files.same_packages
    )
    for path in result.kept_times.keys() - delta.kept_times.keys():
        log.info(
            '%s differs from the base by times of installation alone: the image has '
            'that of the base', printable_path(path)
        )
    return without_passing(result, files.entry)


def _at_another_time(old: Entry, new: Entry) -> bool:
    """Tell whether an index would show that the base's content was kept."""
    return old.stat.st_mtime_ns // 10**9 != new.stat.st_mtime_ns // 10**9


def _trust_in(base: Base, tree: RootTree) -> Trust:
    return Trust(
        base.touched_since, base.rounded, base.touched_since is None
        or os.fstat(tree.fd).st_ctime_ns >= base.touched_since
    )


class _BaseFiles:
    """The files of the base, mounted until the stack ends if they are asked for."""

    def __init__(
        self, stack: ExitStack, space: Workspace, info: ImageInfo, tree_fd: int
    ) -> None:
        self._stack = stack
        self._space = space
        self._info = info
        self._tree_fd = tree_fd
        self._fd: Optional[int] = None

    @property
    def fd(self) -> int:
        """The mounted image."""
        if self._fd is None:
            self._fd = open_shown(self._stack, local.tree_of(self._space, self._info))
        return self._fd

    def entry(self, path: bytes) -> Optional[Entry]:
        """Return an entry of the base, as it was in its tree."""
        return read_entry(self.fd, path, extras_of(self._info))

    def same_packages(self, directory: bytes, name: bytes) -> bool:
        """Compare data bases of rpm, see RpmDatabase.same_but_times."""
        return _same_packages(self._space, self.fd, self._tree_fd, directory, name)

    def same_content(self, path: bytes) -> bool:
        """Compare a file of the base with that of the tree."""
        try:
            return ContentComparer(self.fd, self._tree_fd)(path)
        except FileNotFoundError:
            # the index knows a file that went while it was stashed
            return False


def _same_packages(
    space: Workspace, one: int, two: int, directory: bytes, name: bytes
) -> bool:
    path = directory + b'/' + name
    read = RpmDatabase(lambda: TemporaryDirectory(dir=space.path))
    try:
        return read.same_but_times(LayeredTree([one]), LayeredTree([two]), path)
    except (OSError, KiwiStackBuildError) as issue:
        log.debug('%s: %s', printable_path(path), issue)
        return False


def verify(
    space: Workspace, tree: RootTree, name: str, image_id: str, rounded: bool,
    times: Times = TREE_TIMES
) -> None:
    """Mount an image and compare it with a tree.

    :param name: the stash, for the messages
    :param rounded: see delta.Trust
    :param times: those of the image, where they are not the tree's
    :raises KiwiStashVerifyFailed: with the first path that differs
    """
    info = local.find_image(image_id)
    extras = extras_of(info) if info else {}
    with local.mounted(space, image_id) as path, opened_tree(path) as fd:
        delta = compare(
            amend(scan_ahead(fd, tree.stored_exclusion), extras),
            times.apply(tree.entries([], longest_path)),
            ContentComparer(fd, tree.fd), Trust(None, rounded)
        )
        entry_of = partial(read_entry, fd, extras=extras)
        delta = without_passing(without_install_times(
            delta, entry_of, lambda old, new: new.path in times.kept,
            partial(_same_packages, space, fd, tree.fd)
        ), entry_of)
    paths = [*delta.removed, *(
        change.entry.path for change in delta.changes if change.kind != PARENT
    )]
    if paths:
        raise KiwiStashVerifyFailed(
            f'{name}: {len(paths)} paths in the storage differ from the '
            f'tree, the first is {os.fsdecode(paths[0])!r}',
            'nothing was stored; if nothing writes to the tree, the storage is '
            'damaged: --no-base stores the whole tree anew'
        )
    log.info('Verified: what is stored equals the tree')
