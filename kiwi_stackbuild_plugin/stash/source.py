# SPDX-License-Identifier: GPL-3.0-or-later
"""A root tree about to be read: is it one, what is left out, what is in it."""
from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable, Iterator, List, Optional, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.description.description import (
    BASE_FILES, EXCLUDE_FILES, read_excludes
)
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashNotStorable, KiwiStashRootInvalid,
    printable_path
)
from kiwi_stackbuild_plugin.host.mounts import find_mounts
from kiwi_stackbuild_plugin.overlay.root import opened_overlay
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.chance import EMPTIED, count_chance, without_chance
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import opened_tree
from kiwi_stackbuild_plugin.tree.scan import Exclusion
from kiwi_stackbuild_plugin.tree.selection import make_exclusion, storable

log = logging.getLogger('kiwi')

_SIGNS_OF_A_ROOT = ('image', 'etc', 'usr', 'bin')
#: what a rebuild needs, though kiwi puts it into no image
_NEEDED = (b'image', b'.profile', b'.kconfig')
_SHOWN = 10


@dataclass(frozen=True)
class RootTree:
    """An open root tree and what a stash of it leaves out.

    base_exclusion: what is not looked at in a base, if it is less
    is_overlay: what changed in it is beside it as well
    """

    path: str
    fd: int
    exclusion: Exclusion
    base_exclusion: Optional[Exclusion] = None
    is_overlay: bool = False

    @property
    def stored_exclusion(self) -> Exclusion:
        """What is not looked at in an image; all else that the tree has not is removed."""
        return self.base_exclusion or self.exclusion

    def without_chance(self) -> RootTree:
        """Leave out what differs by chance from one prepare to the next, and say so."""
        counts = list(count_chance(self.fd))
        if counts:
            log.info('Left out: %s', ', '.join(f'{count} of {name}' for name, count in counts))
        for path in sorted(EMPTIED):
            log.info('Stored empty: %s', printable_path(path))
        return replace(
            self, exclusion=without_chance(self.exclusion), base_exclusion=self.exclusion
        )

    def entries(
        self, findings: List[Tuple[bytes, str]], longest_path: Callable[[], int],
        found: Optional[Iterator[Entry]] = None
    ) -> Iterator[Entry]:
        """Scan what a layer can hold; the rest is added to the findings.

        :param longest_path: see selection.storable
        :param found: a scan that has begun, with what no layer can hold
        """
        return storable(
            found or scan_ahead(self.fd, self.exclusion),
            lambda path, why: findings.append((path, why)), longest_path
        )


@contextmanager
def open_root(path: str) -> Iterator[RootTree]:
    """Open a root tree for a block, after a look at whether it is one.

    :raises KiwiStashRootInvalid: with the reason
    """
    if not path:
        raise KiwiStashRootInvalid('--root: the directory name is empty')
    root = os.path.abspath(path)
    with opened_overlay(root) as is_overlay, opened_tree(root) as fd:
        _check_root(root, fd)
        yield RootTree(root, fd, _exclusion(root, fd), is_overlay=is_overlay)


def _check_root(root: str, fd: int) -> None:
    if os.path.samestat(os.fstat(fd), os.stat('/')):
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is the root of this machine',
            'stash a tree that kiwi prepared'
        )
    kinds = {}
    for name in _SIGNS_OF_A_ROOT:
        try:
            kinds[name] = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue
    if not kinds:
        raise KiwiStashRootInvalid(
            f'root tree {root!r} is not a root tree: none of '
            f'{", ".join(_SIGNS_OF_A_ROOT)} is in it'
        )
    if 'image' in kinds and not stat.S_ISDIR(kinds['image']):
        raise KiwiStashRootInvalid(
            f'root tree {root!r}: image is a link or file, not a directory'
        )


def _exclusion(root: str, fd: int) -> Exclusion:
    mounts = find_mounts(root)
    for path in sorted(mounts):
        log.warning(
            'mounted below the root tree, contents left out: %s', printable_path(path)
        )
    exclusion = make_exclusion(
        [
            # run/ and tmp/ stay: types differ in whether kiwi empties them
            *Defaults.get_exclude_list_for_root_data_sync(False),
            *_custom_patterns(fd)
        ], {b'dev', b'proc', b'sys', *mounts}, _NEEDED
    )
    return exclusion._replace(paths=exclusion.paths | set(BASE_FILES))


def _custom_patterns(fd: int) -> List[str]:
    """Read image/exclude_files.yaml where this kiwi knows it."""
    if not hasattr(Defaults, 'get_exclude_list_from_custom_exclude_files'):
        return []
    try:
        return read_excludes(fd, EXCLUDE_FILES[0])
    except KiwiStashDescriptionInvalid as issue:
        log.warning('passed over: %s', issue.summary)
        return []


def report_findings(findings: List[Tuple[bytes, str]], strict: bool) -> None:
    """Name what a layer cannot hold.

    :raises KiwiStashNotStorable: with strict, if there is anything
    """
    for path, why in findings:
        log.warning('left out: %s: %s', printable_path(path), why)
    if findings and strict:
        shown = ', '.join(os.fsdecode(path) for path, _ in findings[:_SHOWN])
        raise KiwiStashNotStorable(
            f'{len(findings)} entries that no layer can hold: {shown}',
            'remove them, or leave --strict away to leave them out'
        )
