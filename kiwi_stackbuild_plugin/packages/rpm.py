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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Callable, ContextManager, Dict, Generator, Iterator, Optional, Tuple

from kiwi_stackbuild_plugin.packages.database import Details, Package
from kiwi_stackbuild_plugin.host.command import reason_of, run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.tree.layered import TreeFiles

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
#: tags of one header, as many as rpm takes (lib/header.c, HEADER_TAGS_MAX)
_MOST_TAGS = 0xffff
_SECONDS = 120
#: the name by which rpm keeps keys among the packages
SIGNING_KEY = 'gpg-pubkey'

_COUNTS = struct.Struct('>II')
_INDEX = struct.Struct('>iIII')
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_VENDOR, _LICENSE, _URL, _SOURCE, _HEADER_SHA256 = 1011, 1014, 1020, 1044, 273
_TEXTS = {
    _NAME, _VERSION, _RELEASE, _ARCH, _VENDOR, _LICENSE, _URL, _SOURCE, _HEADER_SHA256
}
#: when it was installed, and the transaction, which has the time of its begin
_INSTALL_TIMES = (1008, 1128)
_INT32, _STRING = 4, 6
_NUMBER = struct.Struct('>I')

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

    def __call__(self, tree: TreeFiles) -> Iterator[Package]:
        """Yield the packages of a tree, signing keys left out.

        :raises OSError: where a link is in the way, or it is damaged
        :raises KiwiStashToolFailed: if rpm is needed, and missing or failing
        """
        with self.copied(tree) as path:
            if path.endswith('/Packages'):
                yield from _read_bdb(path)
            elif path:
                yield from (
                    package for package, _ in read_headers(path)
                    if package.name != SIGNING_KEY
                )

    def headers(self, tree: TreeFiles) -> Generator[Tuple[Package, bytes], None, None]:
        """Yield all headers of a tree, those of signing keys too.

        :raises OSError: where a link is in the way, it is damaged, or of bdb
        """
        with self.copied(tree) as path:
            if path.endswith('/Packages'):
                raise OSError(0, 'Berkeley DB, which rpm of today does not write')
            if path:
                yield from read_headers(path)

    def same_but_times(self, before: TreeFiles, after: TreeFiles, path: bytes) -> bool:
        """Tell whether two trees differ by the times of installation alone.

        All headers are compared, in their order. What rpm searches is made of them.

        :param path: of the one data base that both are to have
        :raises OSError: as headers does
        """
        for tree in (before, after):
            if [place + b'/' + names[0] for place, names in find_databases(tree)] != [path]:
                return False
        with closing(self.headers(before)) as one, closing(self.headers(after)) as two:
            return all(
                old is not None and new is not None and old[0] == new[0]
                and _without_times(old[1]) == _without_times(new[1])
                for old, new in zip_longest(one, two)
            )

    @contextmanager
    def copied(self, tree: TreeFiles) -> Iterator[str]:
        """Copy the data base for a block; its path, empty where there is none."""
        found = next(find_databases(tree), None)
        if found is None:
            yield ''
            return
        place, names = found
        with self.scratch() as copy:
            for name in names:
                _copy(tree, place + b'/' + name, os.path.join(copy, os.fsdecode(name)))
            try:
                yield os.path.join(copy, os.fsdecode(names[0]))
            except (sqlite3.Error, struct.error, ValueError) as issue:
                raise OSError(0, f'damaged: {issue}', place + b'/' + names[0]) from issue


def find_databases(tree: TreeFiles) -> Iterator[Tuple[bytes, Tuple[bytes, ...]]]:
    """Yield directories with a data base, each with its files, the first that of use.

    :raises OSError: if none is found, and a link is in the way
    """
    problem: Optional[OSError] = None
    empty = True
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
                empty = False
                yield place, tuple(name for name in names if name in there)
                break
    if problem is not None and empty:
        raise problem


def read_headers(path: str) -> Iterator[Tuple[Package, bytes]]:
    """Yield packages and their headers of a data base of sqlite or ndb."""
    left = LIMIT
    for blob in _READERS[os.path.basename(path)](path):
        # pages and slots may be told of more than once
        left -= len(blob)
        if left < 0:
            raise ValueError(f'more than {LIMIT} bytes of headers')
        package = _parse_header(blob)
        if package is not None:
            yield package, blob


def _copy(tree: TreeFiles, path: bytes, target: str) -> None:
    fd = tree.open(path)
    if fd is None:
        return
    with open(fd, 'rb') as source, open(target, 'xb') as copy:
        size = os.fstat(fd).st_size
        if size > LIMIT:
            raise OSError(0, f'{size} bytes, at most {LIMIT} are read', path)
        shutil.copyfileobj(source, copy, 1 << 20)


def _read_sqlite(path: str) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as database:
        # a view of a stranger could compute forever; neither it nor a virtual
        # table has pages of its own
        kinds = database.execute(
            "SELECT type FROM sqlite_master WHERE name = 'Packages' AND rootpage > 0"
        ).fetchall()
        columns = database.execute('PRAGMA table_xinfo(Packages)').fetchall()
        # the last of a column tells one that is computed
        if kinds != [('table',)] or any(column[-1] for column in columns):
            raise ValueError('no table Packages')
        for blob, in database.execute(
            'SELECT blob FROM Packages WHERE length(blob) <= ?', (_HEADER_LIMIT,)
        ):
            if not isinstance(blob, bytes):
                raise ValueError('a header is no blob')
            yield blob


def _read_ndb(path: str) -> Iterator[bytes]:
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
            yield data.read(size)


def _parse_header(blob: bytes) -> Optional[Package]:
    """Return the package that a header tells of."""
    entries, size = _COUNTS.unpack_from(blob)
    begin = _COUNTS.size + entries * _INDEX.size
    if entries > _MOST_TAGS:
        raise ValueError(f'a header of {entries} tags')
    if begin + size > len(blob):
        raise ValueError('a header is cut off')
    values: Dict[int, str] = {}
    for tag, kind, offset, _ in _INDEX.iter_unpack(blob[_COUNTS.size:begin]):
        if tag in values:
            continue
        if tag in _TEXTS and kind == _STRING:
            end = blob.index(b'\0', begin + offset)
            values[tag] = blob[begin + offset:end].decode('utf-8', 'replace')
        elif tag == _EPOCH and kind == _INT32:
            values[tag] = str(_NUMBER.unpack_from(blob, begin + offset)[0])
    if not values.get(_NAME):
        return None
    version = f'{values.get(_VERSION, "")}-{values.get(_RELEASE, "")}'
    return Package(
        'rpm', values[_NAME], values.get(_ARCH, ''),
        f'{values[_EPOCH]}:{version}' if _EPOCH in values else version,
        Details(
            tuple(values.get(_LICENSE, '').splitlines()),
            *(values.get(tag, '') for tag in (_VENDOR, _URL, _SOURCE, _HEADER_SHA256))
        )
    )


def _without_times(blob: bytes) -> bytes:
    """Return a header in which the time of installation and the transaction are zero."""
    entries, _ = _COUNTS.unpack_from(blob)
    begin = _COUNTS.size + entries * _INDEX.size
    result = bytearray(blob)
    for tag, kind, offset, count in _INDEX.iter_unpack(blob[_COUNTS.size:begin]):
        where = begin + offset
        if tag in _INSTALL_TIMES and (kind, count) == (_INT32, 1) \
                and where + _NUMBER.size <= len(blob):
            _NUMBER.pack_into(result, where, 0)
    return bytes(result)


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
        if len(words) == 5 and words[0] != SIGNING_KEY:
            name, architecture, epoch, version, told = words
            yield Package(
                'rpm', name, architecture,
                version if epoch == '(none)' else f'{epoch}:{version}', Details((told,))
            )


#: yield the headers
_READERS: Dict[str, Callable[[str], Iterator[bytes]]] = {
    'rpmdb.sqlite': _read_sqlite, 'Packages.db': _read_ndb
}
