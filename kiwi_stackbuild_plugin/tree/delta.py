# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference of two trees: pure, two scans in, changes out."""
from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import (
    Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Set,
    Tuple
)

from kiwi_stackbuild_plugin.tree.entry import Entry, Inode
from kiwi_stackbuild_plugin.tree.scan import sort_key

ADDED, CHANGED, PARENT = 'A', 'C', 'P'
_SECOND = 10**9


class Change(NamedTuple):
    """One entry that a layer carries.

    kind is ADDED, CHANGED, or PARENT (an unchanged directory that holds one of
    the others: storage drivers make up the mode of a missing one); link is the
    path of the entry that this one is a hard link to, empty where it carries
    its own data.
    """

    kind: str
    entry: Entry
    link: bytes = b''


@dataclass(frozen=True)
class Delta:
    """What turns a base into a tree, in order of path.

    removed holds the topmost paths that are gone; kept_times has the mtimes
    (nanoseconds) of the base for what differs in nothing else and is to keep
    them: it is not changed, and changes that hold it have these times.
    """

    removed: Tuple[bytes, ...]
    changes: Tuple[Change, ...]
    kept_times: Mapping[bytes, int] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        """Return how many changes are of a kind."""
        return sum(1 for change in self.changes if change.kind == kind)

    @property
    def is_empty(self) -> bool:
        """Tell whether the tree equals its base."""
        return not self.removed and not self.changes


def parents_of(delta: Delta) -> Set[bytes]:
    """Return the directories that what a delta adds or changes is in."""
    found: Set[bytes] = set()
    for change in delta.changes:
        parent = change.entry.path.rpartition(b'/')[0]
        while change.kind != PARENT and parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition(b'/')[0]
    return found


def place_of(path: bytes, moved: Mapping[bytes, bytes]) -> bytes:
    """Return where a path of a delta goes.

    :param moved: directories of the delta to other ones, b'' for the root
    """
    prefix = path if moved else b''
    while prefix:
        if prefix in moved:
            parts = (moved[prefix], path[len(prefix) + 1:])
            return b'/'.join(part for part in parts if part)
        prefix = prefix.rpartition(b'/')[0]
    return path


@dataclass(frozen=True)
class Trust:
    """How far equal metadata may stand for equal content.

    :param touched_since: files of the tree with a ctime (ns) before this have
        the content of the base; None: no file is known to
    :param rounded: the base may hold mtimes without nanoseconds
    :param root_touched: the root directory has a ctime not before that
    """

    touched_since: Optional[int] = None
    rounded: bool = False
    root_touched: bool = True


class _Node(NamedTuple):
    """A directory of the tree on the way down to where the comparison is.

    moved: it, or one above it, may have come here by a rename, which leaves
    the ctimes of what is in it: a rename touches a directory and its parent.
    """

    entry: Entry
    prefix: bytes
    parent: Optional[_Node]
    touched: bool
    moved: bool


class _Linked(NamedTuple):
    """An entry with more than one link, on either side: judged at the end."""

    tree: Entry
    base: Optional[Entry]
    node: Optional[_Node]


def whole_tree(tree: Iterable[Entry]) -> Iterator[Change]:
    """Yield a tree as the changes of a first layer, in flat memory."""
    first: Dict[Inode, bytes] = {}
    for entry in tree:
        link = b''
        if entry.stat.st_nlink > 1 and not entry.is_dir:
            key = entry.inode
            link = first.setdefault(key, entry.path)
        yield Change(ADDED, entry, b'' if link == entry.path else link)


def compare(
    base: Iterable[Entry], tree: Iterable[Entry],
    same_content: Callable[[bytes], bool], trust: Trust = Trust(),
    time_matters: Optional[Callable[[Entry], bool]] = None
) -> Delta:
    """Return the changes that turn base into tree.

    An entry is unchanged if type, mode, owner, size, link target, device,
    xattrs, hard-link group and mtime agree, and the content where they cannot
    tell.

    :param base: entries in order of path
    :param tree: entries in order of path
    :param same_content: compares the files of both sides at a path
    :param time_matters: asked of an entry of the tree that may differ by its
        mtime alone; if it says no, such an entry is unchanged, and its time is
        in kept_times. None: all times matter
    """
    return _Comparison(same_content, trust, time_matters).run(iter(base), iter(tree))


class _Comparison:
    """State of one comparison: the walk down both trees, and what was found."""

    def __init__(
        self, same_content: Callable[[bytes], bool], trust: Trust,
        time_matters: Optional[Callable[[Entry], bool]]
    ) -> None:
        self.same_content = same_content
        self.trust = trust
        self.time_matters = time_matters
        self.kept_times: Dict[bytes, int] = {}
        self.removed: List[bytes] = []
        self.found: Dict[bytes, Change] = {}
        self.linked: List[_Linked] = []
        self.node: Optional[_Node] = None

    def run(self, base: Iterator[Entry], tree: Iterator[Entry]) -> Delta:
        """Merge both streams, then judge the hard links."""
        old, new = next(base, None), next(tree, None)
        gone = None
        while old is not None or new is not None:
            if old is not None and gone and old.path.startswith(gone):
                old = next(base, None)
            elif old is not None and new is not None and old.path == new.path:
                self._climb(new.path)
                self._pair(old, new)
                if old.is_dir and not new.is_dir:
                    gone = old.path + b'/'
                old, new = next(base, None), next(tree, None)
            elif new is None or (
                old is not None and sort_key(old.path) < sort_key(new.path)
            ):
                assert old is not None
                gone = old.path + b'/'
                self._climb(old.path)
                self.removed.append(old.path)
                self._add_parents(self.node)
                old = next(base, None)
            else:
                self._climb(new.path)
                self._single(new)
                new = next(tree, None)
        self._judge_links()
        changes = sorted(
            self.found.values(), key=lambda change: sort_key(change.entry.path)
        )
        return Delta(tuple(self.removed), tuple(changes), self.kept_times)

    def _climb(self, path: bytes) -> None:
        while self.node is not None and not path.startswith(self.node.prefix):
            self.node = self.node.parent

    def _descend(self, new: Entry) -> None:
        if not new.is_dir:
            return
        since, parent = self.trust.touched_since, self.node
        touched = since is None or new.stat.st_ctime_ns >= since
        if parent is None:
            moved = touched and self.trust.root_touched
        else:
            moved = parent.moved or (touched and parent.touched)
        self.node = _Node(new, new.path + b'/', parent, touched, moved)

    def _pair(self, old: Entry, new: Entry) -> None:
        linked = old.stat.st_nlink > 1 or new.stat.st_nlink > 1
        if linked and not new.is_dir:
            self.linked.append(_Linked(new, old, self.node))
        elif not self._same(old, new, self.node):
            self._add(Change(CHANGED, new), self.node)
        else:
            new = self._keep_time(old, new)
        self._descend(new)

    def _keep_time(self, old: Entry, new: Entry) -> Entry:
        """Return an unchanged entry with the time that it keeps."""
        mtime = old.stat.st_mtime_ns
        if self.time_matters is None or mtime == new.stat.st_mtime_ns:
            return new
        self.kept_times[new.path] = mtime
        return new._replace(stat=new.stat._replace(st_mtime_ns=mtime))

    def _single(self, new: Entry) -> None:
        if new.stat.st_nlink > 1 and not new.is_dir:
            self.linked.append(_Linked(new, None, self.node))
        else:
            self._add(Change(ADDED, new), self.node)
        self._descend(new)

    def _add(self, change: Change, node: Optional[_Node]) -> None:
        self.found[change.entry.path] = change
        self._add_parents(node)

    def _add_parents(self, node: Optional[_Node]) -> None:
        while node is not None and node.entry.path not in self.found:
            self.found[node.entry.path] = Change(PARENT, node.entry)
            node = node.parent

    def _same(self, old: Entry, new: Entry, node: Optional[_Node]) -> bool:
        # the same inode, untouched: most entries of a tree that was stashed before
        if old != new and not same_metadata(old, new):
            return False
        exact = old.stat.st_mtime_ns == new.stat.st_mtime_ns
        if not exact and not (self.trust.rounded and same_but_rounded(old, new)):
            if self.time_matters is None or self.time_matters(new):
                return False
            # the content of both was found to be the same, or it was touched since
            exact = True
        if not new.is_file or new.stat.st_size == 0:
            return True
        since = self.trust.touched_since
        untouched = since is not None and new.stat.st_ctime_ns < since and not (
            node is not None and node.moved
        )
        return (exact and untouched) or self.same_content(new.path)

    def _judge_links(self) -> None:
        """Decide on every group of hard links as a whole.

        Of the groups whose members all come from one inode of the base, only
        the first can stay: the others were split off from it.
        """
        groups: Dict[Inode, List[_Linked]] = {}
        for item in self.linked:
            groups.setdefault(item.tree.inode, []).append(item)
        kept: Set[Inode] = set()
        for group in groups.values():
            source = self._common_source(group)
            if source is not None and source not in kept and self._same_group(group):
                kept.add(source)
                continue
            head = group[0].tree.path
            for item in group:
                kind = ADDED if item.base is None else CHANGED
                link = b'' if item.tree.path == head else head
                self._add(Change(kind, item.tree, link), item.node)

    def _same_group(self, group: List[_Linked]) -> bool:
        """Tell whether a group that has one source is unchanged."""
        matters = self.time_matters
        first = group[0]
        old = first.base or first.tree
        if matters and old.stat.st_mtime_ns != first.tree.stat.st_mtime_ns and any(
            matters(item.tree) for item in group[1:]
        ):
            return False
        if not self._same(old, first.tree, first.node):
            return False
        for item in group:
            self._keep_time(old, item.tree)
        return True

    @staticmethod
    def _common_source(group: List[_Linked]) -> Optional[Inode]:
        """Return the one inode of the base that all members come from."""
        sources = {
            item.base.inode if item.base is not None
            and not item.base.is_dir else None for item in group
        }
        return sources.pop() if len(sources) == 1 else None


def same_metadata(old: Entry, new: Entry) -> bool:
    """Tell whether two entries agree in all but mtime and content."""
    one, two = old.stat, new.stat
    if one.st_mode != two.st_mode or one.st_uid != two.st_uid \
            or one.st_gid != two.st_gid or old.xattrs != new.xattrs:
        return False
    if stat.S_ISDIR(two.st_mode):
        return True
    return (
        one.st_size == two.st_size and old.target == new.target
        and one.st_rdev == two.st_rdev
    )


def same_but_rounded(old: Entry, new: Entry) -> bool:
    """Tell whether mtimes differ only by a lost fraction of a second."""
    one, two = old.stat.st_mtime_ns, new.stat.st_mtime_ns
    return abs(one - two) < _SECOND and (
        one % _SECOND == 0 or two % _SECOND == 0
    )
