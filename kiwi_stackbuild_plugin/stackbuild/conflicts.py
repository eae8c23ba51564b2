# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree that several stashes make, looked up and never made.

Where each change goes in it, and what contradicts what is there. A directory
may go where a link of a stash below leads: files in /lib of a container belong
into /usr/lib of a base that has /lib as a link to it.
"""
from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import Dict, Iterator, Mapping, Optional, Set, Tuple

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid, printable_path
from kiwi_stackbuild_plugin.packages.database_files import is_passing
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import (
    ADDED, PARENT, Change, Delta, parents_of, place_of, same_metadata
)
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.scan import TreeReader, resolve_links

#: what each stash has of its own; which one is built is another matter
_OWN = (b'image', b'.profile', b'.kconfig')
#: directories that became links to where their contents moved: merged /usr
#: and /run. A stash made on the directory means the place behind the link
_MERGED = frozenset((
    b'bin', b'sbin', b'lib', b'lib32', b'lib64', b'libo32', b'libx32', b'usr/sbin',
    b'usr/lib64', b'var/run', b'var/lock', b'var/mail'
))


#: an entry, and the tree that it comes from
Found = Tuple[TreeReader, Optional[Entry]]


@dataclass(frozen=True)
class Placement:
    """Where the change of a stash goes in the tree of those below it.

    :param delta: the change, without what would be there twice
    :param moved: directories of it to where the link in their place leads
    :param made: paths of the directories that are not there, or no directories
    :param conflicts: paths of the tree that are neither as they were nor as they
        will be; what is below a lost directory is named one by one
    """

    delta: Delta
    moved: Mapping[bytes, bytes] = field(default_factory=dict)
    made: Set[bytes] = field(default_factory=set)
    conflicts: Tuple[bytes, ...] = ()


class _Node:
    """What the stashes so far made of a path; where they did not, the base has it.

    covers: nothing of the base is seen here and below; without an entry the
    path is gone
    """

    __slots__ = ('children', 'covers', 'entry', 'source')

    def __init__(self) -> None:
        self.children: Dict[bytes, _Node] = {}
        self.covers = False
        self.entry: Optional[Entry] = None
        self.source: Optional[TreeReader] = None

    def cover(self, source: Optional[TreeReader], entry: Optional[Entry]) -> None:
        """Replace whatever is here and below."""
        self.children, self.covers = {}, True
        self.source, self.entry = source, entry


class StackState:
    """The tree that the stashes so far make, looked up and never made."""

    def __init__(self, base: TreeReader) -> None:
        self.base = base
        self._top = _Node()

    def apply(self, source: TreeReader, placement: Placement) -> None:
        """Put the change of one more stash on top, see apply.apply_delta."""
        delta, moved = placement.delta, placement.moved
        for path in delta.removed:
            self._node(place_of(path, moved)).cover(None, None)
        needed = parents_of(delta)
        # two directories of a stash may be one here: it is made once
        covered: Set[bytes] = set()
        for change in delta.changes:
            entry = change.entry
            where = place_of(entry.path, moved)
            made = where in placement.made and entry.path in needed
            if entry.path in moved or (change.kind == PARENT and not made):
                continue
            node = self._node(where)
            if not entry.is_dir or (
                where in placement.made and where not in covered
            ):
                node.cover(source, entry)
                covered.add(where)
            node.source, node.entry = source, entry

    def _node(self, path: bytes) -> _Node:
        node = self._top
        for name in path.split(b'/'):
            node = node.children.setdefault(name, _Node())
        return node

    def look_up(self, path: bytes) -> Found:
        """Return the entry at a path; no link on the way is followed."""
        node = self._top
        covered = False
        for name in path.split(b'/'):
            if node.entry is not None and not node.entry.is_dir:
                return self.base, None
            below = node.children.get(name)
            if below is None:
                return self.base, None if covered else self.base.entry(path)
            node = below
            covered = covered or node.covers
        if node.entry is not None and node.source is not None:
            return node.source, node.entry
        return self.base, None if covered else self.base.entry(path)

    def resolve(self, path: bytes) -> Optional[bytes]:
        """Return the directory that a path leads to, in this tree as its root."""
        def link_at(where: bytes) -> Optional[bytes]:
            _, here = self.look_up(where)
            return here.target if here and stat.S_ISLNK(here.stat.st_mode) else None

        place = resolve_links(path, link_at)
        if not place:
            return place
        _, here = self.look_up(place)
        return place if here is not None and here.is_dir else None

    def files_in(self, directory: bytes) -> Iterator[Tuple[bytes, Found]]:
        """Yield name and entry of what is in a directory, or where it leads."""
        place = self.resolve(directory)
        for name in () if place is None else self.names(place):
            found = self.look_up(place + b'/' + name if place else name)
            if found[1] is not None:
                yield name, found

    def below(self, top: bytes, with_base: bool = True) -> Iterator[Tuple[bytes, Found]]:
        """Yield path and entry of what is below a directory (b'' the root), unsorted.

        :param with_base: with what only the base has
        """
        pending = [top]
        while pending:
            folder = pending.pop()
            for name in self.names(folder, with_base):
                path = folder + b'/' + name if folder else name
                found = self.look_up(path)
                if found[1] is None:
                    continue
                yield path, found
                if found[1].is_dir:
                    pending.append(path)

    def names(self, folder: bytes, with_base: bool = True) -> Set[bytes]:
        """Return names in a directory, of which some may be gone."""
        node: Optional[_Node] = self._top
        covered = False
        for name in folder.split(b'/') if folder else ():
            node = node.children.get(name) if node else None
            covered = covered or bool(node and node.covers)
        names = set(node.children) if node else set()
        if not covered and with_base:
            names.update(self.base.names(folder))
        return names

    def place(
        self, ancestor: Optional[TreeReader], source: TreeReader, delta: Delta,
        name: str = ''
    ) -> Placement:
        """Find where a delta goes, and what of the tree it contradicts.

        :param ancestor: what the delta is a change of, None for a whole tree
        :param source: tree of the delta
        :param name: of its stash, for messages
        :raises KiwiStashArgumentInvalid: if it cannot be put on this tree
        """
        moved: Dict[bytes, bytes] = {}
        made: Set[bytes] = set()
        for change in delta.changes:
            if not change.entry.is_dir:
                continue
            where = place_of(change.entry.path, moved)
            _, here = self.look_up(where)
            if here is not None and here.is_dir:
                continue
            target = self.resolve(where) if here is not None and _may_follow(
                change, here, ancestor
            ) else None
            if target is None:
                made.add(where)
            else:
                moved[change.entry.path] = target
        if moved:
            delta = _without_doubles(delta, moved, source, name)
        found = _Comparison(self, ancestor, source, delta, moved, name).conflicts()
        return Placement(delta, moved, made, tuple(dict.fromkeys(found)))


class _Comparison:
    """The conflicts of one delta with the tree that it goes on."""

    def __init__(
        self, state: StackState, ancestor: Optional[TreeReader], source: TreeReader,
        delta: Delta, moved: Mapping[bytes, bytes], name: str
    ) -> None:
        self.state = state
        self.ancestor = ancestor
        self.source = source
        self.delta = delta
        self.moved = moved
        self.name = name

    def conflicts(self) -> Iterator[bytes]:
        """Yield what is neither as it was nor as it will be."""
        needed = parents_of(self.delta)
        for change in self.delta.changes:
            path = change.entry.path
            if _is_own(path) or is_passing(path) or path in self.moved or (
                change.kind == PARENT and path not in needed
            ):
                continue
            where = place_of(path, self.moved)
            if change.entry.is_dir:
                yield from self._of_directory(change, where)
            else:
                yield from self._of_entry(change.entry, where)
        for path in self.delta.removed:
            where = place_of(path, self.moved)
            found = self.state.look_up(where)
            if _is_own(path) or is_passing(path) or found[1] is None:
                continue
            if found[1].is_dir:
                yield from self._lost(where, path)
            elif not _same(found, self._before(path)):
                yield where

    def _of_directory(self, change: Change, where: bytes) -> Iterator[bytes]:
        found = self.state.look_up(where)
        if found[1] is not None and found[1].is_dir:
            return
        if found[1] is None and change.kind == PARENT:
            return
        if not _same(found, self._before(change.entry.path)):
            yield where

    def _of_entry(self, entry: Entry, where: bytes) -> Iterator[bytes]:
        found = self.state.look_up(where)
        if found[1] is not None and found[1].is_dir:
            self._refuse_to_hide(entry, where)
            yield from self._lost(where, entry.path)
        elif not _same(found, (self.source, entry)) and not _same(
            found, self._before(entry.path)
        ):
            yield where

    def _lost(self, where: bytes, path: bytes) -> Iterator[bytes]:
        """Yield what is not as it was in a directory that goes."""
        unchanged = self.ancestor is self.state.base and where == path
        told = False
        for place, found in self.state.below(where, with_base=not unchanged):
            before = self._before(path + place[len(where):])
            was_directory = before[1] is not None and before[1].is_dir
            if found[1] is not None and found[1].is_dir:
                lost = not was_directory and not any(self.state.below(place))
            else:
                lost = not _same(found, before)
            if lost:
                told = True
                yield place
        before = self._before(path)
        if not told and not (before[1] is not None and before[1].is_dir):
            yield where

    def _refuse_to_hide(self, entry: Entry, where: bytes) -> None:
        """Refuse a link in place of a directory of which the system lives."""
        if not stat.S_ISLNK(entry.stat.st_mode) or self._before(entry.path)[1]:
            return
        if (where in _MERGED or b'/' not in where) and any(self.state.below(where)):
            raise KiwiStashArgumentInvalid(
                f'--stash {self.name}: {printable_path(entry.path)} is a link to '
                f'{printable_path(entry.target)}, in a stash below it a directory '
                'that is not empty',
                'name the stash with the link first: what later ones have in such '
                'a directory goes where the link leads'
            )

    def _before(self, path: bytes) -> Found:
        if self.ancestor is None:
            return self.source, None
        return self.ancestor, self.ancestor.entry(path)


def _is_own(path: bytes) -> bool:
    return path.partition(b'/')[0] in _OWN


def _may_follow(
    change: Change, here: Entry, ancestor: Optional[TreeReader]
) -> bool:
    """Tell whether a directory may be meant to be where a link leads.

    Not where its stash itself, or the one below, made it of the other.
    """
    if not stat.S_ISLNK(here.stat.st_mode) or _is_own(change.entry.path):
        return False
    if change.kind == ADDED or ancestor is None:
        return True
    before = ancestor.entry(change.entry.path)
    return change.entry.path in _MERGED and before is not None and before.is_dir


def _without_doubles(
    delta: Delta, moved: Mapping[bytes, bytes], source: TreeReader, name: str
) -> Delta:
    """Leave out what has its place taken by the same file of the same stash.

    Where /bin is a directory, /usr/bin often has links to what is in it.

    :raises KiwiStashArgumentInvalid: for two files of one place
    """
    taken = {
        moved[change.entry.path]: change
        for change in delta.changes if change.entry.path in moved
    }
    dropped: Set[bytes] = set()
    for change in delta.changes:
        path = change.entry.path
        if change.kind == PARENT or path in moved:
            continue
        where = place_of(path, moved)
        other = taken.setdefault(where, change)
        if other is change or (change.entry.is_dir and other.entry.is_dir):
            continue
        if _leads_to(source, other.entry, path):
            dropped.add(other.entry.path)
            taken[where] = change
        elif _leads_to(source, change.entry, other.entry.path) or _same(
            (source, change.entry), (source, other.entry)
        ):
            dropped.add(path)
        else:
            raise KiwiStashArgumentInvalid(
                f'--stash {name}: {printable_path(other.entry.path)} and '
                f'{printable_path(path)} are one place in the stashes below it, '
                f'{printable_path(where)}',
                'name this stash first, or take one of the two out of it'
            )
    return Delta(delta.removed, tuple(
        change._replace(link=b'') if change.link in dropped else change
        for change in delta.changes if change.entry.path not in dropped
    ))


def _leads_to(source: TreeReader, link: Entry, path: bytes) -> bool:
    def link_at(where: bytes) -> Optional[bytes]:
        entry = source.entry(where)
        return entry.target if entry and stat.S_ISLNK(entry.stat.st_mode) else None

    return bool(link.target) and resolve_links(link.path, link_at) == path


def _same(one: Found, two: Found) -> bool:
    """Tell whether two entries, each of a tree and maybe of other paths, agree."""
    (one_tree, left), (two_tree, right) = one, two
    if left is None or right is None:
        return left is right
    if one_tree is two_tree and left.path == right.path:
        return True
    if not same_metadata(left, right) or (
        not left.is_dir and left.stat.st_mtime_ns != right.stat.st_mtime_ns
    ):
        return False
    return not left.is_file or ContentComparer(one_tree.fd, two_tree.fd)(
        left.path, right.path
    )
