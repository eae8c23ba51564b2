# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are a package data base in SQLite or alike, and what reading rewrites.

rpm -qa, which kiwi runs itself when it makes an image, rewrites rpmdb.sqlite-shm:
an index of the -wal that who opens the data base first makes anew. The -wal is a
part of the data base; an empty one says as much as none. The __db files of bdb
are its memory, shared while it is open.

A data base of rpm that was made anew differs from the one before by the times at which
the same packages were installed.
Sources: SQLite, "WAL-mode File Format"; rpm, lib/backend/sqlite.c, bdb_ro.c.
"""
from __future__ import annotations

import re
from dataclasses import replace
from typing import (
    Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Pattern, Set,
    Tuple
)

from kiwi_stackbuild_plugin.tree.delta import (
    ADDED, CHANGED, PARENT, Change, Delta, parents_of, same_metadata
)
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.scan import sort_key

#: gives the entry at a path of a tree
LookUp = Callable[[bytes], Optional[Entry]]


class _Files(NamedTuple):
    """Names in the directory of a data base.

    parts are it, together; passing is written by who only reads it
    """

    parts: Pattern[bytes]
    passing: Pattern[bytes]


def _sqlite(name: bytes, parts: bytes = b'', passing: bytes = b'') -> _Files:
    return _Files(
        re.compile(rb'%b(-wal|-journal)?%b' % (name, parts)),
        re.compile(rb'%b-shm%b' % (name, passing))
    )


#: rpm's sqlite; ndb, and bdb with its indexes: one may be made of the other
_RPM = _sqlite(
    rb'rpmdb\.sqlite',
    rb'|(Packages|Index)\.db|Packages|Pubkeys|Basenames|Installtid|Sigmd5|Sha1header|Group'
    rb'|[A-Z][a-z]+name', rb'|\.rpm\.lock|\.dbenv\.lock|__db\.\d+'
)
_DATABASES: Dict[bytes, _Files] = {
    b'usr/lib/sysimage/rpm': _RPM,
    b'var/lib/rpm': _RPM,
    b'usr/share/rpm': _RPM,
    b'var/lib/dnf': _sqlite(rb'history\.sqlite'),
    b'usr/lib/sysimage/dnf': _sqlite(rb'history\.sqlite'),
    b'usr/lib/sysimage/libdnf5': _sqlite(rb'transaction_history\.sqlite'),
}
#: where rpm's headers are, and the indexes made of them in other files
_HEADERS: Dict[bytes, Tuple[bytes, ...]] = {
    b'rpmdb.sqlite': (), b'Packages.db': (b'Index.db',)
}


def is_passing(path: bytes) -> bool:
    """Tell whether a path is rewritten by who only reads a package data base."""
    directory, _, name = path.rpartition(b'/')
    files = _DATABASES.get(directory)
    return files is not None and files.passing.fullmatch(name) is not None


def _is_part(path: bytes) -> bool:
    directory, _, name = path.rpartition(b'/')
    files = _DATABASES.get(directory)
    return files is not None and files.parts.fullmatch(name) is not None


def databases_in(delta: Delta) -> List[bytes]:
    """Return the directories of data bases of which a delta has a part."""
    return sorted({path.rpartition(b'/')[0] for path in _paths(delta) if _is_part(path)})


def _paths(delta: Delta) -> Iterator[bytes]:
    yield from delta.removed
    for change in delta.changes:
        if change.kind != PARENT:
            yield change.entry.path


def without_passing(delta: Delta, before: LookUp) -> Delta:
    """Leave out of a delta what reading a package data base did, and no more.

    What comes with a change of the data base itself stays.

    :param before: gives an entry of what the delta is a change of
    """
    touched = {
        place for path in _paths(delta)
        for place in (path, path.rpartition(b'/')[0]) if place in _DATABASES
    }
    if not touched:
        return delta
    gone: Set[bytes] = set()
    for directory in touched:
        gone.update(_only_read(delta, directory, before))
    return _without(delta, gone)


def _without(delta: Delta, gone: Set[bytes]) -> Delta:
    """Leave paths out of a delta, and directories that it has for them alone."""
    if not gone:
        return delta
    removed = tuple(path for path in delta.removed if path not in gone)
    kept = [
        change if change.entry.path not in gone else Change(PARENT, change.entry)
        for change in delta.changes
        if change.entry.path not in gone or change.entry.is_dir
    ]
    needed = parents_of(Delta((), tuple(kept))) | set(_parents(removed))
    return replace(delta, removed=removed, changes=tuple(
        change for change in kept
        if change.kind != PARENT or change.entry.path in needed
    ))


def _only_read(delta: Delta, directory: bytes, before: LookUp) -> Set[bytes]:
    """Return the paths that changed as the data base in a directory was read."""
    inside = {
        path: None for path in delta.removed if path.rpartition(b'/')[0] == directory
    }
    changes: Dict[bytes, Optional[Entry]] = {**inside, **{
        change.entry.path: change.entry for change in delta.changes
        if change.kind != PARENT and change.entry.path.rpartition(b'/')[0] == directory
    }}
    found: Set[bytes] = set()
    others = False
    for path, entry in changes.items():
        if _says_the_same(path, before(path), entry):
            found.add(path)
        elif _is_part(path):
            return set()
        else:
            others = True
    itself = next((
        change for change in delta.changes
        if change.kind == CHANGED and change.entry.path == directory
    ), None)
    # files came and went in it
    if itself and not others and itself.entry.is_dir:
        old = before(directory)
        if old is not None and old.is_dir and same_metadata(old, itself.entry):
            found.add(directory)
    return found


def without_install_times(
    delta: Delta, before: LookUp, may_differ: Callable[[Entry, Entry], bool],
    same_packages: Callable[[bytes, bytes], bool]
) -> Delta:
    """Leave out of a delta what differs by times of installation alone.

    The files of such a data base are left as before, all of them, with their times.

    :param before: gives an entry of what the delta is a change of
    :param may_differ: asked of a file before and after, of the same size and rights
    :param same_packages: asked of a directory and the file in it with rpm's headers
    """
    kept: Dict[bytes, int] = {}
    for directory in databases_in(delta):
        if _DATABASES[directory] is _RPM:
            kept.update(_installed_again(delta, directory, before, may_differ, same_packages))
    return _without(replace(delta, kept_times={**delta.kept_times, **kept}), set(kept))


def _installed_again(
    delta: Delta, directory: bytes, before: LookUp,
    may_differ: Callable[[Entry, Entry], bool],
    same_packages: Callable[[bytes, bytes], bool]
) -> Dict[bytes, int]:
    """Return the files of a data base and their times before, if only times differ."""
    parts: Dict[bytes, Optional[Entry]] = dict.fromkeys(delta.removed)
    parts.update((one.entry.path, one.entry) for one in delta.changes if one.kind != PARENT)
    kept: Dict[bytes, int] = {}
    for path, new in parts.items():
        if path.rpartition(b'/')[0] != directory or not _is_part(path):
            continue
        old = before(path)
        if _says_the_same(path, old, new):
            continue
        if not (old and new and _is_like(old, new) and may_differ(old, new)):
            return {}
        kept[path] = old.stat.st_mtime_ns
    names = {path.rpartition(b'/')[2] for path in kept}
    for head, more in _HEADERS.items():
        if head in names and names <= {head, *more} and same_packages(directory, head):
            return kept
    return {}


def _is_like(old: Entry, new: Entry) -> bool:
    """Tell whether two are files by themselves that differ in time and content alone."""
    return old.is_file and new.is_file and same_metadata(old, new) and (
        old.stat.st_nlink == new.stat.st_nlink == 1
    )


def _says_the_same(path: bytes, old: Optional[Entry], new: Optional[Entry]) -> bool:
    """Tell whether a file was made, rewritten or removed without a meaning."""
    if any(entry and not entry.is_file for entry in (old, new)):
        return False
    if old and new and not _same_rights(old, new):
        return False
    if is_passing(path):
        return True
    return path.endswith((b'-wal', b'-journal')) and _is_part(path) and not any(
        entry and entry.stat.st_size for entry in (old, new)
    )


def _same_rights(old: Entry, new: Entry) -> bool:
    one, two = old.stat, new.stat
    return (one.st_mode, one.st_uid, one.st_gid, old.xattrs) == (
        two.st_mode, two.st_uid, two.st_gid, new.xattrs
    )


def _parents(paths: Iterable[bytes]) -> Iterator[bytes]:
    for path in paths:
        for match in re.finditer(b'/', path):
            yield path[:match.start()]


def with_whole_database(
    delta: Delta, directory: bytes, source: LookUp, names: Iterable[bytes],
    here: Mapping[bytes, bool]
) -> Delta:
    """Have a delta bring all files of a data base, and remove those it has not.

    :param directory: of the data base
    :param source: gives an entry of the tree that the delta comes from
    :param names: in the directory of that tree
    :param here: names in the directory of the tree that the delta goes on; True
        for what is as it was before the delta
    """
    known = set(_paths(delta))
    own = {name for name in names if _is_of_it(directory, name)}
    missing = [
        source(directory + b'/' + name) for name in own
        if not here.get(name) and directory + b'/' + name not in known
    ]
    more = [
        Change(CHANGED if entry.path.rpartition(b'/')[2] in here else ADDED, entry)
        for entry in missing if entry is not None and entry.is_file
    ]
    gone = [
        directory + b'/' + name for name in here
        if name not in own and _is_of_it(directory, name)
        and directory + b'/' + name not in known
    ]
    return Delta(
        tuple(sorted((*delta.removed, *gone), key=sort_key)),
        tuple(sorted(
            (*delta.changes, *more), key=lambda change: sort_key(change.entry.path)
        ))
    )


def _is_of_it(directory: bytes, name: bytes) -> bool:
    files = _DATABASES[directory]
    return bool(files.parts.fullmatch(name) or files.passing.fullmatch(name))
