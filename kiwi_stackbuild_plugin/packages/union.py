# SPDX-License-Identifier: GPL-3.0-or-later
"""The package data base of a stack of trees: what it does not know, and making it whole."""
from __future__ import annotations

import io
import stat
import time
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory, mkdtemp
from typing import (
    BinaryIO, Callable, Dict, FrozenSet, Iterator, List, Optional, Protocol, Sequence, Set, Tuple
)

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid, on_one_line, printable_path
)
from kiwi_stackbuild_plugin.packages import dpkg_merging, rpm_merging
from kiwi_stackbuild_plugin.packages.alternatives import Group
from kiwi_stackbuild_plugin.packages.database import (
    TEXT_LIMIT, Package, Packages, read_limited, read_packages
)
from kiwi_stackbuild_plugin.packages.merging import (
    Brought, Files, bring_together, file_clashes
)
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.tree.entry import Entry, Status
from kiwi_stackbuild_plugin.tree.layered import TreeFiles

OPTION = '--merge-packages'
_SHOWN = 10
#: packages and what data base they are in; that of pacman has a directory for
#: each package, which come together by themselves
_MERGED = ('deb', 'rpm')


class StackTree(TreeFiles, Protocol):
    """The tree of a stack, before it is made."""

    def entry(self, path: bytes) -> Optional[Entry]:
        """Return what is at a path, None behind a link."""

    def place(self, path: bytes) -> Optional[bytes]:
        """Return a path behind the links on its way, None for a directory."""

    def directory(self, path: bytes) -> Optional[bytes]:
        """Return the directory that a path leads to, None if to none."""


@dataclass(frozen=True)
class Layer:
    """A stash of a stack: its tree, and what it is a change of (None for a union)."""

    name: str
    before: Optional[TreeFiles]
    after: TreeFiles


@dataclass(frozen=True)
class Write:
    """A file or link to be put into the root; without an entry it goes.

    :param open: gives the content of a file
    """

    path: bytes
    entry: Optional[Entry] = None
    open: Optional[Callable[[], BinaryIO]] = None


@dataclass(frozen=True)
class PackagePlan:
    """What is to be said of the packages of a stack, and to be written.

    :param merged: whether the data base will be complete
    """

    lines: Tuple[str, ...] = ()
    merged: bool = False
    writes: Tuple[Write, ...] = ()


def plan_packages(
    layers: Sequence[Layer], result: StackTree, scratch: str, merge: bool
) -> PackagePlan:
    """Look which packages the data base of a stack does not know.

    :param scratch: directory for what is made, which the plan reads
    :param merge: make one that knows them
    :raises KiwiStashArgumentInvalid: if they are to be merged and cannot be
    """
    stack = _Stack(layers, result, scratch)
    if not merge:
        return PackagePlan(tuple(stack.describe()))
    try:
        stack.check()
        writes = [*stack.merge_dpkg(), *stack.merge_rpm()]
    except ValueError as issue:
        raise refused(str(issue)) from issue
    except OSError as issue:
        name = issue.filename
        where = f'{printable_path(name)}: ' if isinstance(name, bytes) else ''
        raise refused(f'{where}{issue.strerror or issue}') from issue
    return PackagePlan(tuple(stack.describe_merged()), True, tuple(writes))


def refused(why: str) -> KiwiStackBuildError:
    """Return the error for what cannot be merged."""
    return KiwiStashArgumentInvalid(
        f'{OPTION}: {why}',
        'stack without it, and let an extension that names the packages install them'
    )


class _Stack:
    """The trees of a stack, and the packages that they have.

    unknown, stale: what the data base of the result lacks, and has too much
    """

    def __init__(self, layers: Sequence[Layer], result: StackTree, scratch: str) -> None:
        self.layers = layers
        self.result = result
        self.scratch = scratch
        self.read_rpm = RpmDatabase(lambda: TemporaryDirectory(dir=scratch))
        self.unread: Dict[str, str] = {}
        seen: Dict[int, Packages] = {}
        for tree in (result, *(each for one in layers for each in (one.before, one.after))):
            if tree is not None and id(tree) not in seen:
                seen[id(tree)] = read_packages(tree, self.read_rpm)
                self.unread.update(seen[id(tree)].unread)
        self.brought = [
            Brought(one.name, self._of(one.before, seen), self._of(one.after, seen))
            for one in layers
        ]
        known = self._of(result, seen)
        self.together = bring_together(self.brought)
        self.unknown = [one for one in self.together.found if one not in known]
        self.stale = sorted(known - set(self.together.found))

    def _of(
        self, tree: Optional[TreeFiles], seen: Dict[int, Packages]
    ) -> FrozenSet[Package]:
        found = seen[id(tree)].found if tree is not None else frozenset()
        return frozenset(one for one in found if one.format not in self.unread)

    def describe(self) -> Iterator[str]:
        """Say what is wrong with the data base as it is."""
        yield from _listed('The package data base of the result does not know', self._from())
        yield from _listed(
            'It has, though they are not there or in another version',
            list(map(_named, self.stale))
        )
        yield from _listed('The packages contradict one another', self.together.clashes)
        if (self.unknown or self.stale) and not self.together.clashes:
            yield f'{OPTION} makes it one that knows what is there'

    def describe_merged(self) -> Iterator[str]:
        """Say what is done to the data base."""
        yield from _listed('Entered into the package data base', self._from())
        yield from _listed(
            'Taken out of the package data base', list(map(_named, self.stale))
        )

    def _from(self) -> List[str]:
        return [
            f'{_named(one)} of {self.brought[self.together.found[one]].name}'
            for one in self.unknown
        ]

    def check(self) -> None:
        """Refuse what cannot be merged."""
        for kind, why in self.unread.items():
            raise ValueError(f'the {kind} packages cannot be read: {why}')
        for line in self.together.clashes:
            raise ValueError(line)
        for package in (*self.unknown, *self.stale):
            if package.format not in _MERGED:
                raise ValueError(f'data bases of {package.format} are not merged')
        for layer in self.layers:
            if dpkg_merging.is_unfinished(layer.after):
                raise ValueError(
                    f'dpkg was interrupted in {layer.name} (var/lib/dpkg/updates)'
                )
        for line in file_clashes(self.together, self.brought, self._files()):
            raise ValueError(line)

    def _files(self) -> Callable[[Package, int], Files]:
        """Return what gives the files of a package of a stash."""
        wanted: Dict[int, Set[Package]] = {}
        for package, number in self.together.found.items():
            wanted.setdefault(number, set()).add(package)
        of_rpm: Dict[int, Dict[Package, Files]] = {}

        def files(package: Package, number: int) -> Files:
            tree = self.layers[number].after
            if package.format == 'deb':
                return dpkg_merging.owned_files(tree, package, self.result.place)
            if package.format == 'rpm':
                if number not in of_rpm:
                    of_rpm[number] = rpm_merging.owned_files(
                        tree, self.read_rpm, wanted[number], self.result.place
                    )
                return of_rpm[number].get(package, {})
            return {}

        return files

    def merge_rpm(self) -> Iterator[Write]:
        """Make the data base of rpm, if it is not complete."""
        if not any(one.format == 'rpm' for one in (*self.unknown, *self.stale)):
            return
        made = rpm_merging.merge_rpm(
            self.result, [(one.before, one.after) for one in self.layers], self.read_rpm,
            mkdtemp(dir=self.scratch)
        )
        for path, source in made.files.items():
            yield Write(path, self._new(path), partial(_open, source))
        for path in made.gone:
            yield Write(path)

    def merge_dpkg(self) -> Iterator[Write]:
        """Make the files of dpkg that hold records of many packages."""
        merged = dpkg_merging.merge_dpkg([
            dpkg_merging.Change(one.before, one.after) for one in self.layers
        ])
        for path, content in merged.contents.items():
            there = read_limited(self.result, path, TEXT_LIMIT)
            if there == content or (there is None and not content):
                continue
            yield Write(path, self._new(path), partial(io.BytesIO, content))
            name = path.rpartition(b'/')[2]
            if path.startswith(dpkg_merging.ALTERNATIVES) and name in merged.groups:
                yield from self._link(name, merged.groups[name])

    def _link(self, name: bytes, group: Group) -> Iterator[Write]:
        """Let the links of a group lead to its best choice."""
        for link, (middle, target) in group.links(name).items():
            parent, _, last = link.strip(b'/').rpartition(b'/')
            folder = self.result.directory(parent)
            if folder is None:
                continue
            for path, leads in (
                (middle, target), (folder + b'/' + last if folder else last, b'/' + middle)
            ):
                there = self.result.entry(path)
                if there is not None and not stat.S_ISLNK(there.stat.st_mode):
                    continue  # neither does update-alternatives replace a file
                if target and self._is_there(target):
                    if there is None or there.target != leads:
                        yield Write(path, _entry(path, stat.S_IFLNK | 0o777, target=leads))
                elif there is not None:
                    yield Write(path)

    def _is_there(self, path: bytes) -> bool:
        place = self.result.place(path.strip(b'/'))
        return place is None or self.result.entry(place) is not None

    def _new(self, path: bytes) -> Entry:
        """Return the metadata of a file that is made anew: that of the one there was."""
        there = self.result.entry(path)
        if there is None or not there.is_file:
            return _entry(path, stat.S_IFREG | 0o644)
        return there._replace(stat=there.stat._replace(st_mtime_ns=time.time_ns()))


def _open(path: str) -> BinaryIO:
    return open(path, 'rb')


def _entry(path: bytes, mode: int, target: bytes = b'') -> Entry:
    now = time.time_ns()
    return Entry(path, Status(mode, 0, 0, 1, 0, 0, 0, now, now, 0, 0), (), target)


def _named(package: Package) -> str:
    return f'{package.name} {package.version} {package.architecture}'


def _listed(title: str, names: Sequence[str]) -> List[str]:
    """Return a title with the number of names, and the first of them."""
    if not names:
        return []
    lines = [f'{title} ({len(names)}):', *(f'    {on_one_line(name)}' for name in names[:_SHOWN])]
    if len(names) > _SHOWN:
        lines.append(f'    and {len(names) - _SHOWN} more')
    return lines
