# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between two images, or would be stored: packages, then files."""
from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, Optional, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.packages.changes import (
    PackageChanges, compare_packages, describe_packages, packages_document
)
from kiwi_stackbuild_plugin.packages.database import (
    Packages, concerns_packages, read_packages
)
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.image import extras_of
from kiwi_stackbuild_plugin.layer.extras import amend
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.stash.report import describe_delta, describe_sizes, files_document
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.borrow import borrow_image
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.storage.find import Policy, Sources
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Change, Trust, compare
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.opening import open_shown


@dataclass(frozen=True)
class Difference:
    """What turns one tree into another.

    before, after: names to show, before empty for a whole tree; removed: the
    topmost paths that are gone; kept_times: see delta.Delta, how many
    """

    before: str
    after: str
    packages: PackageChanges
    removed: Tuple[bytes, ...]
    changes: Tuple[Change, ...]
    kept_times: int = 0


def compare_images(before: str, after: str, policy: Policy) -> Difference:
    """Compare two images, stored or not, stash or not.

    What has to be fetched for that is removed again.

    :raises KiwiStashImageNotFound: if one of them is nowhere
    """
    local.require_storage_tools()
    temp_dir = Defaults.get_temp_location()
    with clean_exit(), ExitStack() as stack:
        sweep([temp_dir])
        space = stack.enter_context(open_space(temp_dir))
        sources = Sources(space, policy)
        infos = [
            borrow_image(before, '--diff', sources),
            borrow_image(after, '<name>', sources)
        ]
        roots = [open_shown(stack, local.tree_of(space, info)) for info in infos]
        read_rpm = RpmDatabase(lambda: TemporaryDirectory(dir=space.path))
        packages = compare_packages(*(
            read_packages(LayeredTree([fd]), read_rpm) for fd in roots
        ))
        sides = [_Side(info, fd) for info, fd in zip(infos, roots)]
        delta = compare(
            sides[0].entries(), sides[1].entries(), _SameContent(*sides),
            Trust(None, any(Base(info, '').rounded for info in infos))
        )
        return Difference(before, after, packages, delta.removed, delta.changes)
    raise AssertionError('not reached: clean_exit() swallows nothing')


class _Side:
    """A mounted image; newest is the entry that its scan has come to."""

    def __init__(self, info: ImageInfo, fd: int) -> None:
        self.fd = fd
        self.newest: Optional[Entry] = None
        self._info = info

    def entries(self) -> Iterator[Entry]:
        """Scan it."""
        for entry in amend(scan_ahead(self.fd), extras_of(self._info)):
            self.newest = entry
            yield entry


class _SameContent:
    """Compares contents, but for files that both images have from one layer.

    overlayfs shows the inode of the file below: no other file of the same
    storage has its number, and none of another one its ctime as well.
    """

    def __init__(self, one: _Side, two: _Side) -> None:
        self._one = one
        self._two = two
        self._compare = ContentComparer(one.fd, two.fd)

    def __call__(self, path: bytes) -> bool:
        one, two = self._one.newest, self._two.newest
        if one is not None and two is not None and one.path == two.path == path and (
            one.stat.st_ino, one.stat.st_ctime_ns
        ) == (two.stat.st_ino, two.stat.st_ctime_ns):
            return True
        return self._compare(path)


def compare_with_base(
    space: Workspace, name: str, tree_fd: int, base: Optional[Base],
    removed: Tuple[bytes, ...], changes: Tuple[Change, ...], kept_times: int = 0
) -> Difference:
    """Return what a stash would store.

    The base is mounted only if something changed where packages are noted.

    :param name: name:tag of the stash
    """
    paths = [*removed, *(change.entry.path for change in changes)]
    packages = PackageChanges()
    # a directory that is gone may have been above them
    if removed or any(map(concerns_packages, paths)):
        packages = _packages_since(space, tree_fd, base)
    return Difference(
        base.info.display_name if base else '', name, packages, removed, changes,
        kept_times
    )


def _packages_since(
    space: Workspace, tree_fd: int, base: Optional[Base]
) -> PackageChanges:
    read_rpm = RpmDatabase(lambda: TemporaryDirectory(dir=space.path))
    after = read_packages(LayeredTree([tree_fd]), read_rpm)
    if base is None:
        return compare_packages(Packages(), after)
    with ExitStack() as stack:
        fd = open_shown(stack, local.tree_of(space, base.info))
        return compare_packages(read_packages(LayeredTree([fd]), read_rpm), after)


def format_difference(difference: Difference) -> str:
    """Return packages, then files, for people."""
    # the table of directories begins with an empty line of its own
    files = describe_sizes(difference.removed, difference.changes)
    return '\n'.join([
        f'from {difference.before} to {difference.after}', '',
        *describe_packages(difference.packages), *([] if len(files) > 1 else ['']), *files
    ])


def format_dry_run(difference: Difference, base: Optional[Base]) -> str:
    """Return what a stash would store, each path of it, for people."""
    return describe_delta(
        difference.after, base, difference.removed, difference.changes,
        describe_packages(difference.packages), difference.kept_times
    )


def difference_document(difference: Difference) -> str:
    """Return packages and files as one JSON document."""
    document: Dict[str, Any] = {
        'from': difference.before or None, 'to': difference.after,
        'packages': packages_document(difference.packages),
        'files': {
            **files_document(difference.removed, difference.changes),
            'kept_times': difference.kept_times
        }
    }
    return json.dumps(document, indent=4)
