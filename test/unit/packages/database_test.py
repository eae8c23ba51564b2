# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of root trees, out of data bases of every kind, and of strangers."""
from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Dict, Iterator, List, Sequence

import pytest
from rpms import build_rpm, change_database, require_rpm

from kiwi_stackbuild_plugin.packages import database as module
from kiwi_stackbuild_plugin.packages.changes import (
    compare_packages, describe_packages, packages_document
)
from kiwi_stackbuild_plugin.packages.database import (
    Package, Packages, concerns_packages, read_packages
)
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.tree.layered import LayeredTree

DPKG = '''Package: one
Status: install ok installed
Architecture: amd64
Description: a text
 Package: not one
Version: 1:2.0-1
Package: later

Package: gone
Status: deinstall ok config-files
Version: 1

package: two
status: install ok triggers-pending
version:   3~rc1
'''
APK = 'C:Q1\nP:musl\nV:1.2.3-r4\nA:x86_64\nF:lib\n\nP:busybox\nV:1.36\n\n'
PACMAN = '%NAME%\nbash\n\n%VERSION%\n5.2-1\n\n%DESC%\n%NAME%\n\n%ARCH%\nx86_64\n'
ONE = Package('deb', 'one', 'amd64', '1:2.0-1')
TWO = Package('deb', 'two', '', '3~rc1')


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Callable[[], Packages]]:
    """Read the packages of tmp_path/root."""
    (tmp_path / 'root').mkdir()
    fd = os.open(tmp_path / 'root', os.O_RDONLY)
    yield lambda: read_packages(
        LayeredTree([fd]), RpmDatabase(lambda: TemporaryDirectory(dir=tmp_path))
    )
    os.close(fd)
    assert os.listdir(tmp_path) == ['root'], 'no copy is left'


def write(tmp_path: Path, path: str, content: str | bytes) -> Path:
    """Write a file of the root."""
    target = tmp_path / 'root' / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return target


@pytest.mark.parametrize(('files', 'expected'), [
    ({}, []),
    ({'var/lib/dpkg/status': ''}, []),
    ({'var/lib/dpkg/status': DPKG}, [ONE, TWO]),
    ({'var/lib/dpkg/status': DPKG.replace('\n', '\r\n')}, [ONE, TWO]),
    ({
        'var/lib/dpkg/status.d/base': 'Package: base\nVersion: 12\n',
        'var/lib/dpkg/status.d/base.md5sums': 'Package: base2\n',
        'var/lib/dpkg/status.d/tz': 'Package: tz\nVersion: 1\nArchitecture: all\n',
    }, [Package('deb', 'base', '', '12'), Package('deb', 'tz', 'all', '1')]),
    ({'lib/apk/db/installed': APK}, [
        Package('apk', 'busybox', '', '1.36'), Package('apk', 'musl', 'x86_64', '1.2.3-r4')
    ]),
    ({'usr/lib/apk/db/installed': APK.replace('musl', 'new')}, [
        Package('apk', 'busybox', '', '1.36'), Package('apk', 'new', 'x86_64', '1.2.3-r4')
    ]),
    ({
        'var/lib/pacman/local/bash-5.2-1/desc': PACMAN,
        'var/lib/pacman/local/ALPM_DB_VERSION': '9\n'
    }, [Package('pacman', 'bash', 'x86_64', '5.2-1')]),
], ids=['none', 'empty', 'dpkg', 'dpkg of dos', 'distroless', 'apk', 'apk in usr', 'pacman'])
def test_data_bases_of_text(
    tmp_path: Path, read: Callable[[], Packages], files: Dict[str, str],
    expected: List[Package]
) -> None:
    for path, content in files.items():
        write(tmp_path, path, content)
    assert read() == Packages(frozenset(expected), {})
    assert all(concerns_packages(os.fsencode(path)) for path in files)


def test_paths_that_have_nothing_to_do_with_packages() -> None:
    assert not any(map(concerns_packages, (b'etc/passwd', b'var/lib/dpkg2/x', b'usr')))


@pytest.mark.parametrize('path', [
    'var/lib/dpkg/status', 'var/lib/dpkg/status.d/x', 'usr/lib/apk/db/installed',
    'var/lib/pacman/local/x/desc', 'usr/lib/sysimage/rpm/rpmdb.sqlite',
    'var/lib/rpm/Packages.db'
])
@pytest.mark.parametrize('kind', ['link', 'fifo', 'directory', 'huge'])
def test_files_of_strangers(
    tmp_path: Path, read: Callable[[], Packages], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    target = write(tmp_path, path, '')
    monkeypatch.setattr(module.log, 'propagate', True)
    if kind == 'huge':
        os.truncate(target, 1 << 40)
    else:
        target.unlink()
        {
            'link': lambda: target.symlink_to('/var/lib/dpkg/status'),
            'fifo': lambda: os.mkfifo(target), 'directory': target.mkdir
        }[kind]()
    found = read()
    assert not found.found
    assert len(found.unread) == 1
    assert 'packages are not read: ' in caplog.text


@pytest.mark.parametrize('link, target', [
    ('var/lib/rpm', '../../usr/lib/sysimage/rpm'), ('lib', 'usr/lib'),
    ('usr/lib', '../lib'), ('usr', 'system'), ('var/lib/rpm', '/etc'),
])
def test_links_of_usual_distributions_are_no_fault(
    tmp_path: Path, read: Callable[[], Packages], link: str, target: str
) -> None:
    write(tmp_path, 'var/lib/dpkg/status', DPKG)
    path = tmp_path / 'root' / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    found = read()
    assert found == Packages(frozenset({ONE, TWO}), {})


@pytest.mark.parametrize('link', [
    'usr/lib/sysimage', 'usr/lib/sysimage/rpm', 'var/lib/dpkg', 'var/lib/pacman', 'var/lib'
])
def test_links_in_the_place_of_a_data_base_are_named(
    tmp_path: Path, read: Callable[[], Packages], link: str
) -> None:
    path = tmp_path / 'root' / link
    path.parent.mkdir(parents=True)
    path.symlink_to('/')
    assert all(f'{link}: no directory' in why for why in read().unread.values())
    assert read().unread


def test_bytes_of_strangers(tmp_path: Path, read: Callable[[], Packages]) -> None:
    write(tmp_path, 'var/lib/dpkg/status', b'Package: a\x1b[2J\xff\nVersion: \0\n')
    changes = compare_packages(Packages(), read())
    assert '\x1b' not in '\n'.join(describe_packages(changes))
    assert packages_document(changes)['added'][0]['name'] == 'a\x1b[2J\ufffd'


def test_too_many_are_named(
    tmp_path: Path, read: Callable[[], Packages], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'var/lib/dpkg/status', DPKG)
    monkeypatch.setattr(module, '_MOST', 2)
    assert len(read().found) == 2
    monkeypatch.setattr(module, '_MOST', 1)
    assert read().unread == {'deb': 'more than 1 packages'}


# --- rpm ---------------------------------------------------------------------

RPMS = [('alpha', '1.0', ''), ('beta', '2', '3')]
EXPECTED = frozenset({
    Package('rpm', 'alpha', 'noarch', '1.0-1'), Package('rpm', 'beta', 'noarch', '3:2-1')
})


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
    write(tmp_path, 'var/lib/rpm/Packages', 'x')
    assert 'rpm: cannot be run' in read().unread['rpm']
    write(tmp_path, 'var/lib/rpm/Packages.db', ndb([]))
    assert read() == Packages()


# --- changes -----------------------------------------------------------------

def some(*words: str) -> Packages:
    """Packages given as name-version."""
    return Packages(frozenset(
        Package('rpm', word.partition('-')[0], 'noarch', word.partition('-')[2])
        for word in words
    ))


@pytest.mark.parametrize(('before', 'after', 'expected'), [
    ([], [], ''),
    (['a-1'], ['a-1'], ''),
    (['a-1'], ['a-2'], '~a 1 2'),
    (['a-1', 'b-1'], ['b-1', 'c-3'], '-a 1, +c 3'),
    # kernels are installed beside one another
    (['k-1'], ['k-1', 'k-2'], '+k 2'),
    (['k-1', 'k-2'], ['k-2', 'k-3'], '+k 3, -k 1'),
])
def test_changes(before: List[str], after: List[str], expected: str) -> None:
    document = packages_document(compare_packages(some(*before), some(*after)))
    told = [f'-{one["name"]} {one["version"]}' for one in document['removed']]
    told += [f'+{one["name"]} {one["version"]}' for one in document['added']]
    told += [f'~{one["name"]} {one["from"]} {one["to"]}' for one in document['updated']]
    assert sorted(told) == sorted(word for word in expected.split(', ') if word)


def test_what_is_not_known_is_no_change() -> None:
    unread = Packages(frozenset(), {'rpm': 'damaged'})
    changes = compare_packages(some('a-1'), unread)
    assert not changes.removed and not changes.is_empty
    assert describe_packages(changes) == [
        'the rpm packages are not known', 'packages: 0 added, 0 removed, 0 updated'
    ]


def test_long_lists_are_cut_where_asked_for() -> None:
    lines = describe_packages(compare_packages(some(), some('a-1', 'b-1', 'c-1')), 2)
    assert [line.split()[:2] for line in lines[1:]] == [
        ['+', 'a'], ['+', 'b'], ['and', '1'], ['packages:', '3']
    ]
