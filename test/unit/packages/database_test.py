# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of root trees, out of data bases of every kind, and of strangers."""
from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Dict, Iterator, List

import pytest
from in_time import within

from kiwi_stackbuild_plugin.packages import database as module
from kiwi_stackbuild_plugin.packages.changes import (
    compare_packages, describe_packages, packages_document
)
from kiwi_stackbuild_plugin.packages.database import (
    Details, Package, Packages, concerns_packages, read_packages
)
from kiwi_stackbuild_plugin.packages.dpkg_merging import Change, merge_dpkg
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


@pytest.mark.parametrize(('path', 'content', 'details'), [
    ('var/lib/dpkg/status',
     'Package: a\nMaintainer: A B <a@b.org>\nHomepage: https://x.org\nSource: s (1)\nVersion: 1\n',
     Details((), 'A B <a@b.org>', 'https://x.org', 's (1)')),
    ('lib/apk/db/installed', 'C:Q1x\nP:a\nV:1\nL:MIT AND Zlib\nU:u\no:s\nm:A <a@b>\nF:x\n',
     Details(('MIT AND Zlib',), 'A <a@b>', 'u', 's', 'Q1x')),
    ('var/lib/pacman/local/a-1/desc',
     '%NAME%\na\n\n%BASE%\ns\n\n%URL%\nu\n\n%LICENSE%\nMIT\nZlib\n\n%PACKAGER%\nA <a@b>\n\n',
     Details(('MIT', 'Zlib'), 'A <a@b>', 'u', 's')),
])
def test_details(
    tmp_path: Path, read: Callable[[], Packages], path: str, content: str, details: Details
) -> None:
    write(tmp_path, path, content)
    found, = read().found
    assert found.details == details
    assert found == Package(found.format, 'a', '', found.version), 'they make no other package'


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


def test_too_many_are_named(
    tmp_path: Path, read: Callable[[], Packages], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'var/lib/dpkg/status', DPKG)
    monkeypatch.setattr(module, '_MOST', 2)
    assert len(read().found) == 2
    monkeypatch.setattr(module, '_MOST', 1)
    assert read().unread == {'deb': 'more than 1 packages'}


@pytest.mark.parametrize(('path', 'content'), [
    ('var/lib/dpkg/status', 'Package: a\nVersion: 1{}x\nMaintainer:{}\n'),
    ('var/lib/dpkg/status', '{}\nPackage: a{}\n{}\n'),
    ('lib/apk/db/installed', 'P:a\nV:1\nm:a{}x{}<\n'),
    ('var/lib/pacman/local/a-1/desc', '%NAME%\na{}\n{}\n%VERSION%\n{}\n'),
])
def test_any_number_of_blanks(
    tmp_path: Path, read: Callable[[], Packages], path: str, content: str
) -> None:
    write(tmp_path, path, content.replace('{}', ' \t' * 50_000))
    with within(5):
        found = read()
    assert [one.name for one in found.found] == ['a']


def test_any_number_of_blanks_where_it_is_merged(tmp_path: Path) -> None:
    for name in ('one', 'two'):
        write(tmp_path / name, 'var/lib/dpkg/status', f'Package: {name}{" " * 50_000}x \r\n')
    fds = [os.open(tmp_path / name / 'root', os.O_RDONLY) for name in ('one', 'two')]
    with within(5):
        merged = merge_dpkg([Change(None, LayeredTree([fd])) for fd in fds])
    for fd in fds:
        os.close(fd)
    assert merged.contents[b'var/lib/dpkg/status'].count(b'Package: ') == 2


def test_bytes_of_strangers(tmp_path: Path, read: Callable[[], Packages]) -> None:
    write(tmp_path, 'var/lib/dpkg/status', b'Package: a\x1b[2J\xff\nVersion: \0\n')
    changes = compare_packages(Packages(), read())
    assert '\x1b' not in '\n'.join(describe_packages(changes))
    assert packages_document(changes)['added'][0]['name'] == 'a\x1b[2J\ufffd'
