# SPDX-License-Identifier: GPL-3.0-or-later
"""Data bases of rpm: made by rpm itself, by hand, and by strangers."""
from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Dict, Iterator, List, Sequence

import pytest
from in_time import within
from rpms import build_rpm, change_database, require_rpm

from kiwi_stackbuild_plugin.packages import rpm as module
from kiwi_stackbuild_plugin.packages.database import Package, Packages, read_packages
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.opening import opened_tree

RPMS = [('alpha', '1.0', ''), ('beta', '2', '3')]
EXPECTED = frozenset({
    Package('rpm', 'alpha', 'noarch', '1.0-1'), Package('rpm', 'beta', 'noarch', '3:2-1')
})
NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
BUILT, INSTALLED, TRANSACTION = 1006, 1008, 1128


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Callable[[], Packages]]:
    """Read the packages of tmp_path/root."""
    (tmp_path / 'root').mkdir()
    fd = os.open(tmp_path / 'root', os.O_RDONLY)
    (tmp_path / 'scratch').mkdir()
    yield lambda: read_packages(
        LayeredTree([fd]), RpmDatabase(lambda: TemporaryDirectory(dir=tmp_path / 'scratch'))
    )
    os.close(fd)
    assert os.listdir(tmp_path / 'scratch') == [], 'no copy is left'


def write(tmp_path: Path, path: str, content: bytes) -> Path:
    """Write a file of the root."""
    target = tmp_path / 'root' / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def header(tags: Dict[int, str | int]) -> bytes:
    """Write a header, as rpm's header.c describes it."""
    index = data = b''
    for tag, value in tags.items():
        data += bytes(-len(data) % 4)
        kind = 4 if isinstance(value, int) else 6
        index += struct.pack('>iIII', tag, kind, len(data), 1)
        data += struct.pack('>I', value) if isinstance(value, int) else value.encode() + b'\0'
    return struct.pack('>II', len(tags), len(data)) + index + data


@pytest.fixture(scope='module')
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data base of sqlite, made by rpm with packages made by rpmbuild."""
    require_rpm()
    top = tmp_path_factory.mktemp('rpm')
    change_database(top / 'db', '-U', *(build_rpm(top, *words) for words in RPMS))
    return top / 'db'


def blobs(database: Path) -> List[bytes]:
    """The headers in a data base of sqlite."""
    connection = sqlite3.connect(f'file:{database}/rpmdb.sqlite?mode=ro', uri=True)
    found = [bytes(blob) for blob, in connection.execute('SELECT blob FROM Packages')]
    connection.close()
    return found


def ndb(headers: Sequence[bytes]) -> bytes:
    """Write an ndb data base, as rpm's rpmpkg.c describes it."""
    slots = [struct.pack('<4sIII', b'Slot', 0, 0, 0)] * 254
    data = b''
    for number, header in enumerate(headers, 1):
        blob = struct.pack('<4sIII', b'BlbS', number, 0, len(header)) + header
        blob += bytes(-(len(blob) + 12) % 16) + struct.pack('<II4s', 0, len(header), b'BlbE')
        # an empty slot before each, as after an erased package
        slots[2 * number] = struct.pack(
            '<4sIII', b'Slot', number, (4096 + len(data)) // 16, len(blob) // 16
        )
        data += blob
    return struct.pack('<4sIIII12x', b'RpmP', 0, 7, 1, 3) + b''.join(slots) + data


def place_database(root: Path, database: Path, backend: str, place: str) -> None:
    """Put a data base of a backend into a root."""
    (root / place).mkdir(parents=True)
    if backend == 'sqlite':
        for name in database.iterdir():
            shutil.copy(name, root / place)
    elif backend == 'ndb':
        (root / place / 'Packages.db').write_bytes(ndb(blobs(database)))
    else:
        tool = shutil.which('db5.3_load') or shutil.which('db_load')
        if tool is None:
            pytest.skip('no db_load, of package db5.3-util')
        lines = ['VERSION=3', 'format=bytevalue', 'type=hash', 'HEADER=END']
        for number, blob in enumerate([b'\x03\0\0\0', *blobs(database)]):
            lines += [f' {struct.pack("<I", number).hex()}', f' {blob.hex()}']
        subprocess.run(
            [tool, root / place / 'Packages'], check=True, text=True,
            input='\n'.join([*lines, 'DATA=END', ''])
        )


@pytest.mark.parametrize('place', ['usr/lib/sysimage/rpm', 'var/lib/rpm', 'usr/share/rpm'])
@pytest.mark.parametrize('backend', ['sqlite', 'ndb', 'bdb'])
def test_data_bases_of_rpm(
    tmp_path: Path, read: Callable[[], Packages], database: Path, backend: str, place: str
) -> None:
    place_database(tmp_path / 'root', database, backend, place)
    before = sorted(os.listdir(tmp_path / 'root' / place))
    assert read() == Packages(EXPECTED, {})
    assert sorted(os.listdir(tmp_path / 'root' / place)) == before, 'nothing is written'


@pytest.mark.parametrize('name', ['rpmdb.sqlite', 'Packages.db', 'Packages'])
@pytest.mark.parametrize('content', [
    b'', b'text', b'SQLite format 3\0' + bytes(200), bytes(5000),
    struct.pack('<4sIIII12x', b'RpmP', 0, 7, 0xffffffff, 3),
    struct.pack('<4sIIII12x', b'RpmP', 0, 7, 1, 3)
    + struct.pack('<4sIII', b'Slot', 1, 0xffffffff, 0xffffffff),
    struct.pack('<4sIIII12x', b'RpmP', 9, 7, 1, 3),
])
def test_damaged_data_bases_of_rpm_are_named(
    tmp_path: Path, read: Callable[[], Packages], name: str, content: bytes
) -> None:
    write(tmp_path, f'var/lib/rpm/{name}', content)
    assert set(read().unread) == {'rpm'}


@pytest.mark.parametrize('sql', [
    'CREATE TABLE Other (blob)',
    'CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS '
    '(SELECT 1 UNION ALL SELECT blob FROM n) SELECT blob FROM n WHERE blob = 2',
    "CREATE TABLE Packages (blob); INSERT INTO Packages VALUES (x'00')",
    "CREATE TABLE Packages (blob); INSERT INTO Packages VALUES "
    "(x'00000001000000040000' || x'03e8')",
    "CREATE TABLE Packages (blob); INSERT INTO Packages VALUES ('text')",
    'CREATE VIRTUAL TABLE Packages USING fts5(blob)',
    # a table, but one whose content is computed: it could be gigabytes for each row
    'CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob GENERATED ALWAYS AS '
    f"(x'{header({NAME: 'a'}).hex()}')); INSERT INTO Packages VALUES (1)",
])
def test_sqlite_of_a_stranger(
    tmp_path: Path, read: Callable[[], Packages], sql: str
) -> None:
    (tmp_path / 'root/var/lib/rpm').mkdir(parents=True)
    with sqlite3.connect(tmp_path / 'root/var/lib/rpm/rpmdb.sqlite') as connection:
        connection.executescript(sql)
    connection.close()
    assert set(read().unread) == {'rpm'}


def test_without_rpm_only_bdb_is_not_read(
    tmp_path: Path, read: Callable[[], Packages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    write(tmp_path, 'var/lib/rpm/Packages', b'x')
    assert 'rpm: cannot be run' in read().unread['rpm']
    write(tmp_path, 'var/lib/rpm/Packages.db', ndb([]))
    assert read() == Packages()


@pytest.mark.parametrize(('tags', 'expected'), [
    ({NAME: 'a', VERSION: '1', RELEASE: '2', ARCH: 'x86_64'}, [('a', 'x86_64', '1-2')]),
    ({NAME: 'a', EPOCH: 0, VERSION: '1', RELEASE: '2'}, [('a', '', '0:1-2')]),
    ({NAME: 'a', EPOCH: 2**32 - 1, VERSION: '1', RELEASE: '2'}, [('a', '', '4294967295:1-2')]),
    ({NAME: 'a'}, [('a', '', '-')]), ({NAME: ''}, []), ({VERSION: '1'}, []), ({}, []),
    ({NAME: 'gpg-pubkey', VERSION: '1', RELEASE: '2'}, []),
    ({NAME: 7, VERSION: '1'}, []), ({5000: 'other', NAME: 'ä'}, [('ä', '', '-')]),
])
def test_headers(
    tmp_path: Path, read: Callable[[], Packages], tags: Dict[int, str | int],
    expected: List[Sequence[str]]
) -> None:
    write(tmp_path, 'var/lib/rpm/Packages.db', ndb([header({NAME: 'z'}), header(tags)]))
    assert read().found == {
        Package('rpm', 'z', '', '-'), *(Package('rpm', *words) for words in expected)
    }


WHOLE = header({NAME: 'a', VERSION: '1', EPOCH: 1})


@pytest.mark.parametrize('broken', [
    b'', WHOLE[:7], WHOLE[:-5], struct.pack('>II', 2**32 - 1, 0) + WHOLE[8:],
    struct.pack('>II', 3, 2**32 - 1) + WHOLE[8:],
    # an index that leads behind the end, to a word and to a number
    struct.pack('>IIiIII', 1, 0, NAME, 6, 99, 1), struct.pack('>IIiIII', 1, 0, EPOCH, 4, 99, 1),
    # more tags than rpm takes
    struct.pack('>II', 65536, 2) + struct.pack('>iIII', NAME, 6, 0, 1) * 65536 + b'a\0',
], ids=lambda data: data.hex()[:32])
def test_headers_of_a_stranger(
    tmp_path: Path, read: Callable[[], Packages], broken: bytes
) -> None:
    write(tmp_path, 'var/lib/rpm/Packages.db', ndb([WHOLE, broken]))
    found = read()
    assert found.found == frozenset(), 'half of the packages would be a lie'
    assert found.unread['rpm'].startswith('var/lib/rpm/Packages.db: damaged: ')


def test_one_tag_again_and_again(tmp_path: Path, read: Callable[[], Packages]) -> None:
    text = b'a' * (1 << 20) + b'\0'
    tags = struct.pack('>iIII', NAME, 6, 0, 1) * 60_000
    write(tmp_path, 'var/lib/rpm/Packages.db', ndb([
        struct.pack('>II', 60_000, len(text)) + tags + text
    ]))
    with within(2):
        assert len(read().found) == 1


def test_one_header_in_many_slots(
    tmp_path: Path, read: Callable[[], Packages], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ndb([WHOLE])
    slot = data[data.index(b'Slot' + struct.pack('<I', 1)):][:16]
    path = write(
        tmp_path, 'var/lib/rpm/Packages.db', data[:32] + slot * 254 + data[4096:]
    )
    monkeypatch.setattr(module, 'LIMIT', path.stat().st_size)
    assert 'bytes of headers' in read().unread['rpm']


def test_the_newest_place_and_form_are_read(
    tmp_path: Path, read: Callable[[], Packages]
) -> None:
    """What was converted may still lie there."""
    for number, path in enumerate((
        'usr/share/rpm/Packages.db', 'var/lib/rpm/Packages.db', 'usr/lib/sysimage/rpm/Packages.db'
    )):
        write(tmp_path, path, ndb([header({NAME: str(number)})]))
        write(tmp_path, str(Path(path).with_name('Packages')), b'an old one')
        assert [one.name for one in read().found] == [str(number)]


def test_what_is_not_yet_in_the_main_file_of_sqlite_counts(
    tmp_path: Path, read: Callable[[], Packages]
) -> None:
    (tmp_path / 'root/var/lib/rpm').mkdir(parents=True)
    connection = sqlite3.connect(tmp_path / 'root/var/lib/rpm/rpmdb.sqlite')
    connection.execute('PRAGMA journal_mode=WAL')
    connection.execute('CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)')
    connection.execute('INSERT INTO Packages VALUES (1, ?)', (WHOLE,))
    connection.commit()
    found = read()
    connection.close()
    assert [one.name for one in found.found] == ['a']


def test_huge_ones_are_named(
    tmp_path: Path, read: Callable[[], Packages], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, 'var/lib/rpm/Packages.db', ndb([WHOLE]))
    monkeypatch.setattr(module, 'LIMIT', path.stat().st_size)
    assert len(read().found) == 1
    monkeypatch.setattr(module, 'LIMIT', path.stat().st_size - 1)
    assert 'at most' in read().unread['rpm']


@pytest.mark.parametrize(('prints', 'says', 'status', 'expected'), [
    (r'a\tx86_64\t(none)\t1-2\tMIT\nb\tnoarch\t3\t1-2\tA\tB\n', 'warning: bdb', 0,
     {('a', 'x86_64', '1-2'), ('b', 'noarch', '3:1-2')}),
    (r'gpg-pubkey\t(none)\t(none)\t1-2\tpubkey\nline\n', 'warning: bdb', 0, set()),
    # rpm goes on behind what is damaged; one without bdb says nothing of it
    (r'a\tx\t(none)\t1\tMIT\n', 'error: bdb: damaged', 0, None),
    (r'a\tx\t(none)\t1\tMIT\n', 'bdb', 1, None), ('', '', 0, None),
])
def test_bdb_is_read_by_rpm_from_a_copy(
    tmp_path: Path, read: Callable[[], Packages], monkeypatch: pytest.MonkeyPatch,
    prints: str, says: str, status: int, expected: object
) -> None:
    write(tmp_path, 'var/lib/rpm/Packages', b'the data base')
    (tmp_path / 'path').mkdir()
    (tmp_path / 'path/rpm').write_text(
        f'#!/bin/sh\ncat "$2/Packages" >{tmp_path}/seen; echo "$2" >{tmp_path}/at\n'
        'touch "$2/lock"\n'
        f"echo '{says}' >&2; printf '{prints}'; exit {status}\n"
    )
    (tmp_path / 'path/rpm').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}/path:{os.environ["PATH"]}')
    found = read()
    assert (tmp_path / 'seen').read_text() == 'the data base'
    assert (tmp_path / 'at').read_text().startswith(f'{tmp_path}/scratch/')
    assert os.listdir(tmp_path / 'root/var/lib/rpm') == ['Packages']
    assert ('rpm' in found.unread) == (expected is None)
    assert found.found == {Package('rpm', *words) for words in expected or ()}  # type: ignore
    assert {one.details.licenses for one in found.found} == (
        {('MIT',), ('A\tB',)} if expected else set()
    )


def test_what_rpm_says_of_a_package(
    tmp_path: Path, read: Callable[[], Packages], database: Path
) -> None:
    place_database(tmp_path / 'root', database, 'sqlite', 'var/lib/rpm')
    told = {one.name: one.details for one in read().found}['alpha']
    assert told.licenses == ('MIT',)
    assert told.source == 'alpha-1.0-1.src.rpm'
    assert len(told.checksum) == 64


def sqlite(headers: Sequence[bytes], where: Path) -> None:
    """Write a data base of sqlite, with what rpm has beside the headers."""
    with closing(sqlite3.connect(where)) as made:
        made.execute('CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)')
        made.executemany('INSERT INTO Packages (blob) VALUES (?)', ((one,) for one in headers))
        made.commit()


ONE = {NAME: 'a', VERSION: '1', BUILT: 5, INSTALLED: 100, TRANSACTION: 90}
OTHER = {NAME: 'b', VERSION: '1', BUILT: 5, INSTALLED: 101, TRANSACTION: 90}
BEYOND = struct.pack('>IIiIIIiIII', 2, 2, NAME, 6, 0, 1, INSTALLED, 4, 9, 1) + b'a\0'
TWICE = struct.pack('>IIiIIIiIII', 2, 12, NAME, 6, 8, 1, INSTALLED, 4, 0, 2)


@pytest.mark.parametrize(('before', 'after', 'same'), [
    ([ONE, OTHER], [ONE, OTHER], True),
    ([ONE, OTHER], [{**ONE, INSTALLED: 7, TRANSACTION: 6}, {**OTHER, INSTALLED: 8}], True),
    ([ONE], [{**ONE, BUILT: 6}], False),
    ([ONE], [{**ONE, VERSION: '2'}], False),
    ([ONE], [{**ONE, NAME: 'c'}], False),
    ([ONE, OTHER], [OTHER, ONE], False),
    ([ONE], [ONE, OTHER], False), ([ONE, OTHER], [ONE], False), ([ONE], [], False),
    # never told of, or as text
    ([ONE], [{NAME: 'a', VERSION: '1', BUILT: 5, TRANSACTION: 90}], False),
    ([ONE], [{**ONE, INSTALLED: 'now'}], False),
    # strangers: behind the end; two of them; the time is where the name is
    ([BEYOND], [BEYOND], True),
    ([TWICE + b'\0\0\0\1\0\0\0\1abc\0'], [TWICE + b'\0\0\0\1\0\0\0\2abc\0'], False),
    ([struct.pack('>IIiIIIiIII', 2, 4, NAME, 6, 0, 1, INSTALLED, 4, 0, 1) + b'abc\0'],
     [struct.pack('>IIiIIIiIII', 2, 4, NAME, 6, 0, 1, INSTALLED, 4, 0, 1) + b'abd\0'], False),
], ids=str)
@pytest.mark.parametrize('name', ['rpmdb.sqlite', 'Packages.db'])
def test_times_of_installation(
    tmp_path: Path, name: str, before: Sequence[Dict[int, str | int] | bytes],
    after: Sequence[Dict[int, str | int] | bytes], same: bool
) -> None:
    path = f'var/lib/rpm/{name}'
    for side, headers in (('one', before), ('two', after)):
        where = tmp_path / side / path
        where.parent.mkdir(parents=True)
        blobs = [one if isinstance(one, bytes) else header(one) for one in headers]
        if name == 'rpmdb.sqlite':
            sqlite(blobs, where)
        else:
            where.write_bytes(ndb(blobs))
    assert differs_by_times(tmp_path, path) is same
    assert not differs_by_times(tmp_path, path.replace('/rpm/', '/'))
    # and of two data bases it is not known which one rpm reads
    write(tmp_path, '../two/usr/share/rpm/Packages.db', ndb([]))
    assert not differs_by_times(tmp_path, path)


def differs_by_times(tmp_path: Path, path: str) -> bool:
    """Compare the trees "one" and "two"; nothing is left of it."""
    (tmp_path / 'scratch').mkdir(exist_ok=True)
    read = RpmDatabase(lambda: TemporaryDirectory(dir=tmp_path / 'scratch'))
    with opened_tree(str(tmp_path / 'one')) as one, opened_tree(str(tmp_path / 'two')) as two:
        same = read.same_but_times(LayeredTree([one]), LayeredTree([two]), path.encode())
    assert os.listdir(tmp_path / 'scratch') == []
    return same
