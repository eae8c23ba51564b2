# SPDX-License-Identifier: GPL-3.0-or-later
"""Data bases of rpm of stacked trees, made by rpm itself, merged, and read by it."""
from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Callable, Dict

import pytest
from package_stacks import Stacker, copy_of
from rpms import build_rpm, install_rpms, require_rpm, rpms_of

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid

DATABASE = 'var/lib/rpm/rpmdb.sqlite'


@pytest.fixture(scope='session')
def rpms(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    """Build packages, by name and version."""
    require_rpm()
    where = tmp_path_factory.mktemp('rpms')
    return {
        f'{name}-{version}': build_rpm(where, name, version, epoch, files)
        for name, version, epoch, files in (
            ('base', '1', '', ['/usr/share/base']), ('base', '2', '', ['/usr/share/base']),
            ('base', '3', '', ['/usr/share/base']), ('old', '1', '', ['/usr/share/old/file']),
            ('web', '1', '7', ['/usr/bin/web', '/etc/web']), ('mail', '1', '', ['/usr/bin/mail']),
            ('thief', '1', '', ['/usr/bin/web'])
        )
    }


@pytest.fixture
def base(tmp_path: Path, rpms: Dict[str, Path]) -> Path:
    tree = tmp_path / 'base'
    install_rpms(tree, rpms['base-1'], rpms['old-1'])
    return tree


@pytest.fixture
def web(base: Path, rpms: Dict[str, Path]) -> Path:
    tree = copy_of(base, 'web')
    install_rpms(tree, rpms['web-1'])
    return tree


@pytest.fixture
def mail(base: Path, rpms: Dict[str, Path]) -> Path:
    tree = copy_of(base, 'mail')
    install_rpms(tree, rpms['mail-1'])
    return tree


@pytest.mark.parametrize('shared', [True, False])
def test_rpm_knows_all_packages(
    stacked: Stacker, base: Path, web: Path, mail: Path, shared: bool
) -> None:
    (mail / 'var/lib/rpm/.rpm.lock').touch()
    stack = stacked(web, (mail, base if shared else None))
    assert stack.look().lines == (
        'The package data base of the result does not know (1):',
        '    web 7:1-1 noarch of web:v1',
        '--merge-packages makes it one that knows what is there'
    )
    assert stack.merge().merged
    assert not (stack.root / f'{DATABASE}-wal').exists()
    assert rpms_of(stack.root) == ['base-1', 'mail-1', 'old-1', 'web-1']


def test_rpm_forgets_what_is_gone(
    stacked: Stacker, base: Path, web: Path, mail: Path, rpms: Dict[str, Path]
) -> None:
    install_rpms(web, rpms['base-2'])
    stack = stacked(web, (mail, base))
    assert stack.look().lines[1:5] == (
        '    base 2-1 noarch of web:v1', '    web 7:1-1 noarch of web:v1',
        'It has, though they are not there or in another version (1):', '    base 1-1 noarch'
    )
    stack.merge()
    assert rpms_of(stack.root) == ['base-2', 'mail-1', 'old-1', 'web-1']


def test_packages_go_on_top_and_off_again(
    stacked: Stacker, base: Path, web: Path, mail: Path, rpms: Dict[str, Path]
) -> None:
    """The new data base has its indexes: rpm finds owners, and what it updates."""
    stack = stacked(web, (mail, base))
    stack.merge()
    install_rpms(stack.root, rpms['base-3'])
    assert rpms_of(stack.root) == ['base-3', 'mail-1', 'old-1', 'web-1']
    with closing(sqlite3.connect(stack.root / DATABASE)) as made:
        assert made.execute("SELECT count(*) FROM Basenames WHERE key = 'web'").fetchone() == (2,)


def two_versions(web: Path, mail: Path, rpms: Dict[str, Path]) -> None:
    install_rpms(web, rpms['base-2'])
    install_rpms(mail, rpms['base-3'])


def one_file(web: Path, mail: Path, rpms: Dict[str, Path]) -> None:
    install_rpms(mail, rpms['thief-1'])


def two_places(web: Path, mail: Path, rpms: Dict[str, Path]) -> None:
    (mail / 'usr/lib/sysimage').mkdir(parents=True)
    shutil.move(mail / 'var/lib/rpm', mail / 'usr/lib/sysimage/rpm')


def two_backends(web: Path, mail: Path, rpms: Dict[str, Path]) -> None:
    (mail / 'var/lib/rpm/Packages.db').write_bytes(ndb_of(mail / DATABASE))
    (mail / DATABASE).unlink()


def newer_rpm(web: Path, mail: Path, rpms: Dict[str, Path]) -> None:
    with closing(sqlite3.connect(mail / DATABASE)) as database:
        database.execute("CREATE TABLE 'Ofthefuture' (key TEXT)")
        database.commit()
        database.execute('PRAGMA wal_checkpoint(TRUNCATE)')


def ndb_of(database: Path) -> bytes:
    """Write the headers of a data base of sqlite as ndb has them."""
    with closing(sqlite3.connect(database)) as source:
        blobs = [blob for blob, in source.execute('SELECT blob FROM Packages')]
    slots, data, at = b'', b'', 4096 // 16
    for number, blob in enumerate(blobs, 1):
        piece = struct.pack('<4sI4xI', b'BlbS', number, len(blob)) + blob
        piece += bytes(-len(piece) % 16)
        slots += struct.pack('<4sIII', b'Slot', number, at, len(piece) // 16)
        data += piece
        at += len(piece) // 16
    head = struct.pack('<4sI4xI16x', b'RpmP', 0, 1)
    return (head + slots).ljust(4096, b'\0') + data


@pytest.mark.parametrize(('spoil', 'why'), [
    (two_versions, 'base is there in two versions, 2-1 noarch of web:v1 and 3-1 noarch of mail:v1'),
    (one_file, 'usr/bin/web is a file of web (web:v1) and of thief (mail:v1)'),
    (two_places, 'there are several data bases of rpm: usr/lib/sysimage/rpm/rpmdb.sqlite, var'),
    (two_backends, 'there are several data bases of rpm: var/lib/rpm/Packages.db, var/lib/rpm/rpm'),
    (newer_rpm, 'rpm of this machine is older than that of the root: it does not make the indexes'),
])
def test_what_cannot_be_merged_is_refused_in_one_line(
    stacked: Stacker, base: Path, web: Path, mail: Path, rpms: Dict[str, Path],
    spoil: Callable[[Path, Path, Dict[str, Path]], None], why: str
) -> None:
    spoil(web, mail, rpms)
    stack = stacked(web, (mail, base))
    with pytest.raises(KiwiStashArgumentInvalid) as refused:
        stack.merge()
    assert refused.value.summary.startswith(f'--merge-packages: {why}')
    assert '\n' not in refused.value.summary


@pytest.mark.parametrize('script', ['exit 0', 'echo invalid _db_backend >&2; exit 4'])
def test_a_backend_that_rpm_of_this_machine_does_not_write(
    stacked: Stacker, base: Path, web: Path, mail: Path, rpms: Dict[str, Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """That of Debian has no ndb."""
    for tree in (base, web, mail):
        two_backends(web, tree, rpms)
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/rpmdb').write_text(f'#!/bin/sh\n{script}\n')
    (tmp_path / 'bin/rpmdb').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=':')
    stack = stacked(web, (mail, base))
    with pytest.raises(KiwiStashArgumentInvalid, match='this machine makes no data base of ndb'):
        stack.merge()
