# SPDX-License-Identifier: GPL-3.0-or-later
"""The data bases of rpm of several trees, made one by "rpmdb --importdb".

What is imported are the headers as they are in the data bases, into an empty
one: what rpm offers to convert data bases. Nothing is installed or checked by
it, no script or plugin is run, and the tree is not looked at.

Sources: rpmdb(8); rpm, lib/rpmdb.c (rpmtsImportHeader), lib/header.c and
lib/rpmfi.c (rpmfilesCompare).
"""
from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import Dict, Hashable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from kiwi_stackbuild_plugin.host.command import reason_of, require_tools, run_command
from kiwi_stackbuild_plugin.packages.database import Package
from kiwi_stackbuild_plugin.packages.merging import Files, Place, merge_records
from kiwi_stackbuild_plugin.packages.rpm import (
    RpmDatabase, find_databases, read_headers
)
from kiwi_stackbuild_plugin.tree.layered import TreeFiles

#: what rpm puts before a header outside of a data base
_MAGIC = bytes.fromhex('8eade80100000000')
#: backends by their file, and what else belongs to the data base
_BACKENDS: Mapping[bytes, Tuple[str, Tuple[bytes, ...]]] = {
    b'rpmdb.sqlite': ('sqlite', (b'rpmdb.sqlite-wal', b'rpmdb.sqlite-shm')),
    b'Packages.db': ('ndb', (b'Index.db',))
}
_SECONDS = 600
_INDEX = struct.Struct('>iIII')
_MODES, _DIGESTS, _LINKS, _FLAGS = 1030, 1035, 1036, 1037
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118
_GHOST = 1 << 6
_TEXTS = (_DIGESTS, _LINKS, _BASE_NAMES, _DIR_NAMES)
_NUMBERS = {_MODES: 'H', _FLAGS: 'I', _DIR_INDEXES: 'I'}

#: what each tree is a change of (None for a union), and the tree
Change = Tuple[Optional[TreeFiles], TreeFiles]
Headers = Dict[Package, bytes]


@dataclass(frozen=True)
class NewDatabase:
    """A data base that was made, outside of the tree.

    :param files: path in the tree to a file with the content
    :param gone: paths that must not be there beside it
    """

    files: Mapping[bytes, str]
    gone: Tuple[bytes, ...]


def find_place(result: TreeFiles, changes: Sequence[Change]) -> Tuple[bytes, bytes]:
    """Return the directory and the file of the one data base that there is.

    :raises ValueError: if there are several, or it is of a kind that is only read
    """
    there = {
        (place, names[0]) for tree in (result, *(after for _, after in changes))
        for place, names in find_databases(tree)
    }
    if len(there) != 1:
        raise ValueError('there are several data bases of rpm: ' + ', '.join(
            sorted(os.fsdecode(b'/'.join(one)) for one in there)
        ))
    place, name = there.pop()
    if name not in _BACKENDS:
        raise ValueError(f'{os.fsdecode(place)}: Berkeley DB, which rpm of today only reads')
    return place, name


def merge_rpm(
    result: TreeFiles, changes: Sequence[Change], read: RpmDatabase, scratch: str
) -> NewDatabase:
    """Make a data base of what all trees have, by their changes.

    :param scratch: empty directory, for what is made
    :raises ValueError: if that cannot be done
    :raises OSError: where a data base cannot be read
    :raises KiwiStashToolFailed: from rpmdb
    """
    place, name = find_place(result, changes)
    wanted = _merge(changes, read)
    listed = os.path.join(scratch, 'headers')
    with open(listed, 'xb') as stream:
        for number, (_, after) in enumerate(changes):
            for package, blob in read.headers(after):
                if wanted.get(package) == (number, _digest(blob)):
                    stream.write(_MAGIC + blob)
    made = os.path.join(scratch, 'made')
    os.mkdir(made, 0o755)
    _import(made, name, listed)
    path = os.path.join(made, os.fsdecode(name))
    if not os.path.isfile(path) or {one for one, _ in read_headers(path)} != set(wanted):
        raise ValueError(_none_made(name))
    if name == b'rpmdb.sqlite':
        _check_indexes(path, read, result)
    also = _BACKENDS[name][1]
    files = {
        place + b'/' + each: os.path.join(made, os.fsdecode(each)) for each in (name, *also)
        if os.path.isfile(os.path.join(made, os.fsdecode(each)))
    }
    gone = (place + b'/' + each for each in also)
    return NewDatabase(files, tuple(path for path in gone if path not in files))


def _merge(
    changes: Sequence[Change], read: RpmDatabase
) -> Mapping[Package, Tuple[int, bytes]]:
    """Return which header is wanted: the number of its tree, and its digest."""
    each = [_digests(after, read) for _, after in changes]
    merged = each[0]
    for (before, _), theirs in zip(changes[1:], each[1:]):
        merged = merge_records(_digests(before, read) if before else {}, merged, theirs)
    return {
        package: (max(
            number for number, headers in enumerate(each) if headers.get(package) == digest
        ), digest) for package, digest in merged.items()
    }


def _digests(tree: TreeFiles, read: RpmDatabase) -> Headers:
    return {package: _digest(blob) for package, blob in read.headers(tree)}


def _digest(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()


def _import(directory: str, name: bytes, listed: str) -> None:
    """Have rpmdb make a data base of a list of headers, outside of any root."""
    require_tools(['rpmdb'])
    done = run_command([
        'sh', '-c', 'exec rpmdb --dbpath "$1" --define "_db_backend $2" --importdb < "$3"',
        'rpmdb', directory, _BACKENDS[name][0], listed
    ], check=False, timeout=_SECONDS, env={'LC_ALL': 'C'})
    if done.returncode:
        raise ValueError(f'{_none_made(name)}: {reason_of(done)}')
    if name == b'rpmdb.sqlite':
        with closing(sqlite3.connect(os.path.join(directory, os.fsdecode(name)))) as made:
            # all of it into the one file
            made.execute('PRAGMA wal_checkpoint(TRUNCATE)')


def _none_made(name: bytes) -> str:
    return f'rpmdb --importdb of this machine makes no data base of {_BACKENDS[name][0]}'


def _check_indexes(path: str, read: RpmDatabase, result: TreeFiles) -> None:
    """Refuse where the rpm of the tree has indexes that ours does not make."""
    with read.copied(result) as there:
        missing = sorted(_tables(there) - _tables(path))
    if missing:
        raise ValueError(
            'rpm of this machine is older than that of the root: it does not make the '
            f'indexes {", ".join(missing)}'
        )


def _tables(path: str) -> Set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {
            str(name) for name, in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND "
                "name NOT LIKE 'sqlite%'"
            )
        }


def owned_files(
    tree: TreeFiles, read: RpmDatabase, packages: Set[Package], place: Place
) -> Dict[Package, Files]:
    """Return the files of packages; two that rpm lets share a path are the same.

    :raises ValueError: for a header that is none
    """
    found: Dict[Package, Files] = {}
    for package, blob in read.headers(tree):
        if package in packages:
            try:
                found[package] = dict(_files(_arrays(blob), place))
            except (struct.error, LookupError) as issue:
                raise ValueError(f'the header of {package.name} is damaged') from issue
    return found


@dataclass(frozen=True)
class _Arrays:
    """What a header tells of files, by tag."""

    texts: Mapping[int, List[bytes]]
    numbers: Mapping[int, Tuple[int, ...]]


def _files(arrays: _Arrays, place: Place) -> Iterator[Tuple[bytes, Hashable]]:
    texts, numbers = arrays.texts, arrays.numbers
    names = texts.get(_BASE_NAMES, [])
    none = [b''] * len(names)
    for name, folder, mode, digest, link, flags in zip(
        names, numbers.get(_DIR_INDEXES, ()), numbers.get(_MODES, ()),
        texts.get(_DIGESTS, none), texts.get(_LINKS, none), numbers.get(_FLAGS, ())
    ):
        if flags & _GHOST or stat.S_ISDIR(mode):
            continue
        where = place((texts[_DIR_NAMES][folder] + name).strip(b'/'))
        if where is not None:
            yield where, (stat.S_IFMT(mode), digest, link)


def _arrays(blob: bytes) -> _Arrays:
    texts: Dict[int, List[bytes]] = {}
    numbers: Dict[int, Tuple[int, ...]] = {}
    entries, _ = struct.unpack_from('>II', blob)
    begin = 8 + entries * _INDEX.size
    for tag, _, offset, count in _INDEX.iter_unpack(blob[8:begin]):
        if tag in texts or tag in numbers:
            continue
        if tag in _TEXTS:
            texts[tag] = blob[begin + offset:].split(b'\0', count)[:count]
        elif tag in _NUMBERS:
            form = f'>{count}{_NUMBERS[tag]}'
            numbers[tag] = struct.unpack_from(form, blob, begin + offset)
    return _Arrays(texts, numbers)
