# SPDX-License-Identifier: GPL-3.0-or-later
"""The data base of rpm in a tree: sqlite, ndb, bdb.

The first two are read here, whatever the rpm of this machine knows: that of
Debian passes over an ndb data base in silence. bdb is read by rpm itself, from
a copy, since it writes beside the data base.

Sources: rpm, lib/header.c, lib/backend/sqlite.c and ndb/rpmpkg.c.
"""
from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import Callable, ContextManager, Dict, Iterator, Optional, Tuple

from kiwi_stackbuild_plugin.packages.database import Details, Package
from kiwi_stackbuild_plugin.host.command import reason_of, run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.tree.layered import LayeredTree

#: rpm's places: of today, before, and with rpm-ostree
_PLACES = (b'usr/lib/sysimage/rpm', b'var/lib/rpm', b'usr/share/rpm')
#: nothing but rpm has something here
_OWN = b'usr/lib/sysimage'
#: by backend, the first that is there: what was converted may still lie there
_FILES: Tuple[Tuple[bytes, ...], ...] = (
    (b'rpmdb.sqlite', b'rpmdb.sqlite-wal'), (b'Packages.db',), (b'Packages',)
)
#: bytes of one file; that of 3,000 packages has 250 MB
LIMIT = 2 << 30
#: bytes of what is told of one package; a kernel has 2 MB
_HEADER_LIMIT = 64 << 20
_SECONDS = 120

_COUNTS = struct.Struct('>II')
_INDEX = struct.Struct('>iIII')
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_VENDOR, _LICENSE, _URL, _SOURCE, _HEADER_SHA256 = 1011, 1014, 1020, 1044, 273
_TEXTS = {
    _NAME, _VERSION, _RELEASE, _ARCH, _VENDOR, _LICENSE, _URL, _SOURCE, _HEADER_SHA256
}
_INT32, _STRING = 4, 6

_NDB_HEAD = struct.Struct('<4sI4xI16x')
_NDB_SLOT = struct.Struct('<4sIII')
_NDB_BLOB = struct.Struct('<4sI4xI')
_NDB_PAGE, _NDB_BLOCK = 4096, 16
#: the slots begin behind the head of the file, which takes two of them
_NDB_FIRST = 32


@dataclass(frozen=True)
class RpmDatabase:
    """Reads the data base of rpm from a copy.

    :param scratch: gives a directory for the copy
    """

    scratch: Callable[[], ContextManager[str]]

    def __call__(self, tree: LayeredTree) -> Iterator[Package]:
        """Yield the packages of a tree.

        :raises OSError: where a link is in the way, or it is damaged
        :raises KiwiStashToolFailed: if rpm is needed, and missing or failing
        """
        found = _find(tree)
        if found is None:
            return
        place, names = found
        with self.scratch() as copy:
            for name in names:
                _copy(tree, place + b'/' + name, os.path.join(copy, os.fsdecode(name)))
            path = os.path.join(copy, os.fsdecode(names[0]))
            try:
                yield from _READERS[names[0]](path)
            except (sqlite3.Error, struct.error, ValueError) as issue:
                raise OSError(0, f'damaged: {issue}', place + b'/' + names[0]) from issue


def _find(tree: LayeredTree) -> Optional[Tuple[bytes, Tuple[bytes, ...]]]:
    """Return the directory of the data base and its files."""
    problem: Optional[OSError] = None
    for place in _PLACES:
        try:
            there = tree.names(place)
        except NotADirectoryError as issue:
            # var/lib/rpm is a link to the other place on most systems, and
            # usr/lib one on some
            if bytes(issue.filename).startswith(_OWN):
                problem = issue
            continue
        for names in _FILES:
            if names[0] in there:
                return place, tuple(name for name in names if name in there)
    if problem is not None:
        raise problem
    return None


def _copy(tree: LayeredTree, path: bytes, target: str) -> None:
    fd = tree.open(path)
    if fd is None:
        return
    with open(fd, 'rb') as source, open(target, 'xb') as copy:
        size = os.fstat(fd).st_size
        if size > LIMIT:
            raise OSError(0, f'{size} bytes, at most {LIMIT} are read', path)
        shutil.copyfileobj(source, copy, 1 << 20)


def _read_sqlite(path: str) -> Iterator[Package]:
    with closing(sqlite3.connect(path)) as database:
        # a view of a stranger could compute forever; neither it nor a virtual
        # table has pages of its own
        kinds = database.execute(
            "SELECT type FROM sqlite_master WHERE name = 'Packages' AND rootpage > 0"
        ).fetchall()
        if kinds != [('table',)]:
            raise ValueError('no table Packages')
        for blob, in database.execute(
            'SELECT blob FROM Packages WHERE length(blob) <= ?', (_HEADER_LIMIT,)
        ):
            if not isinstance(blob, bytes):
                raise ValueError('a header is no blob')
            yield from _parse_header(blob)


def _read_ndb(path: str) -> Iterator[Package]:
    with open(path, 'rb') as data:
        magic, version, pages = _NDB_HEAD.unpack(data.read(_NDB_FIRST))
        if (magic, version) != (b'RpmP', 0):
            raise ValueError('no Packages.db of a known version')
        if not 0 < pages * _NDB_PAGE <= os.fstat(data.fileno()).st_size:
            raise ValueError('cut off')
        slots = data.read(pages * _NDB_PAGE - _NDB_FIRST)
        for _, number, offset, count in _NDB_SLOT.iter_unpack(slots):
            # a free slot, as after a package was erased
            if not offset:
                continue
            data.seek(offset * _NDB_BLOCK)
            mark, owner, size = _NDB_BLOB.unpack(data.read(_NDB_BLOB.size))
            if mark != b'BlbS' or owner != number or size > min(
                count * _NDB_BLOCK, _HEADER_LIMIT
            ):
                raise ValueError(f'the data of package {number} is not there')
            yield from _parse_header(data.read(size))


def _parse_header(blob: bytes) -> Iterator[Package]:
    """Yield the package that a header tells of, unless it is a signing key."""
    entries, size = _COUNTS.unpack_from(blob)
    begin = _COUNTS.size + entries * _INDEX.size
    if begin + size > len(blob):
        raise ValueError('a header is cut off')
    values: Dict[int, str] = {}
    for tag, kind, offset, _ in _INDEX.iter_unpack(blob[_COUNTS.size:begin]):
        if tag in _TEXTS and kind == _STRING:
            end = blob.index(b'\0', begin + offset)
            values[tag] = blob[begin + offset:end].decode('utf-8', 'replace')
        elif tag == _EPOCH and kind == _INT32:
            values[tag] = str(struct.unpack_from('>I', blob, begin + offset)[0])
    name = values.get(_NAME, '')
    if name and name != 'gpg-pubkey':
        version = f'{values.get(_VERSION, "")}-{values.get(_RELEASE, "")}'
        yield Package(
            'rpm', name, values.get(_ARCH, ''),
            f'{values[_EPOCH]}:{version}' if _EPOCH in values else version,
            Details(
                tuple(values.get(_LICENSE, '').splitlines()),
                *(values.get(tag, '') for tag in (_VENDOR, _URL, _SOURCE, _HEADER_SHA256))
            )
        )


def _read_bdb(path: str) -> Iterator[Package]:
    form = '\\t'.join(f'%{{{name}}}' for name in (
        'NAME', 'ARCH', 'EPOCH', 'VERSION}-%{RELEASE', 'LICENSE'
    ))
    result = run_command(
        [
            'rpm', '--dbpath', os.path.dirname(path), '--nosignature', '--nodigest',
            '-qa', '--qf', form + r'\n'
        ], check=False, timeout=_SECONDS, env={'LC_ALL': 'C'}
    )
    # rpm goes on behind what is damaged, and ends with status 0
    if result.returncode or 'error:' in result.stderr or 'bdb' not in result.stderr:
        raise KiwiStashToolFailed(f'rpm -qa: {reason_of(result)}')
    for line in result.stdout.encode('utf-8', 'surrogateescape').split(b'\n'):
        words = line.decode('utf-8', 'replace').split('\t', 4)
        if len(words) == 5 and words[0] != 'gpg-pubkey':
            name, architecture, epoch, version, told = words
            yield Package(
                'rpm', name, architecture,
                version if epoch == '(none)' else f'{epoch}:{version}', Details((told,))
            )


_READERS: Dict[bytes, Callable[[str], Iterator[Package]]] = {
    b'rpmdb.sqlite': _read_sqlite, b'Packages.db': _read_ndb, b'Packages': _read_bdb
}
