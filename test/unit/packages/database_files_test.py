# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading a package data base does to a tree is no change of it."""
from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Dict, List, Optional

import pytest
from stacks import make

from kiwi_stackbuild_plugin.packages.database_files import (
    without_install_times, without_passing
)
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import PARENT, Trust, compare
from kiwi_stackbuild_plugin.tree.opening import opened_tree
from kiwi_stackbuild_plugin.tree.scan import TreeReader, scan

RPM = 'usr/lib/sysimage/rpm'
BEFORE = {
    f'{RPM}/rpmdb.sqlite': 'data', f'{RPM}/rpmdb.sqlite-wal': 'd',
    f'{RPM}/rpmdb.sqlite-shm': 'old', f'{RPM}/.rpm.lock': '', f'{RPM}/extra': 'x',
    'var/lib/rpm/Packages': 'data', 'var/lib/rpm/Basenames': 'index',
    'var/lib/rpm/__db.001': 'shared', 'var/lib/rpm/.dbenv.lock': '',
    'var/lib/dnf/history.sqlite': 'data', 'var/lib/dnf/history.sqlite-wal': 'd',
    'usr/share/rpm/rpmdb.sqlite': 'data', 'usr/share/rpm/rpmdb.sqlite-wal': '',
    'usr/lib/sysimage/libdnf5/transaction_history.sqlite': 'data',
    'srv/app.sqlite': 'data', 'srv/app.sqlite-shm': 'old', 'etc/a': 'a', 'gone/dir': 'd',
}
#: what is written (None: removed, an octal mode: changed), and what is a change of that
CASES = (
    # SQLite's index of the log, as "rpm -qa" rewrites, makes or removes it
    ({f'{RPM}/rpmdb.sqlite-shm': 'new'}, []),
    ({f'{RPM}/rpmdb.sqlite-shm': 'longer than it was'}, []),
    ({f'{RPM}/rpmdb.sqlite-shm': None}, []),
    ({'var/lib/dnf/history.sqlite-shm': 'new'}, []),
    ({'usr/lib/sysimage/libdnf5/transaction_history.sqlite-shm': 'new'}, []),
    # a log is data, if there is anything in it
    ({f'{RPM}/rpmdb.sqlite-wal': 'new'}, [f'C {RPM}/rpmdb.sqlite-wal']),
    ({'usr/share/rpm/rpmdb.sqlite-wal': None, 'usr/share/rpm/rpmdb.sqlite-shm': 'n'}, []),
    ({'usr/share/rpm/rpmdb.sqlite-wal': ''}, []),
    ({'usr/share/rpm/rpmdb.sqlite-journal': ''}, []),
    ({'usr/share/rpm/rpmdb.sqlite-wal': 'new'}, ['C usr/share/rpm/rpmdb.sqlite-wal']),
    # locks, and the memory of bdb
    ({f'{RPM}/.rpm.lock': ''}, []), ({f'{RPM}/.rpm.lock': None}, []),
    ({'var/lib/rpm/__db.001': 'new', 'var/lib/rpm/__db.002': 'n'}, []),
    ({'var/lib/rpm/__db.001': None, 'var/lib/rpm/.dbenv.lock': None}, []),
    # files came and went
    ({RPM: '7'}, []), ({'var/lib/rpm': '7'}, []), ({'etc': '7'}, ['C etc']),
    # the data base itself, with all that was written with it
    ({f'{RPM}/rpmdb.sqlite': 'new', f'{RPM}/rpmdb.sqlite-shm': 'new'},
     [f'C {RPM}/rpmdb.sqlite', f'C {RPM}/rpmdb.sqlite-shm']),
    ({'var/lib/rpm/Packages': 'new', 'var/lib/rpm/__db.001': 'new'},
     ['C var/lib/rpm/Packages', 'C var/lib/rpm/__db.001']),
    ({'var/lib/rpm/Basenames': 'other'}, ['C var/lib/rpm/Basenames']),
    # one data base was changed, the other read
    ({f'{RPM}/rpmdb.sqlite-shm': 'new', 'var/lib/dnf/history.sqlite': 'new'},
     ['C var/lib/dnf/history.sqlite']),
    # other changes beside it
    ({f'{RPM}/rpmdb.sqlite-shm': 'new', 'etc/a': 'new'}, ['C etc/a']),
    ({f'{RPM}/rpmdb.sqlite-shm': 'new', f'{RPM}/extra': 'new'}, [f'C {RPM}/extra']),
    ({f'{RPM}/rpmdb.sqlite-shm': None, f'{RPM}/new': 'new'}, [f'A {RPM}/new', f'C {RPM}']),
    ({f'{RPM}/rpmdb.sqlite-shm': 'new', 'gone': None}, ['D gone']),
    # somebody meant it
    ({f'{RPM}/rpmdb.sqlite-shm': '0600'}, [f'C {RPM}/rpmdb.sqlite-shm']),
    ({f'{RPM}/rpmdb.sqlite-shm': None, RPM: '0700'}, [f'C {RPM}']),
    ({f'{RPM}/.rpm.lock': '> link'}, [f'C {RPM}', f'C {RPM}/.rpm.lock']),
    ({'srv/app.sqlite-shm': 'new'}, ['C srv/app.sqlite-shm']),
    ({RPM: None}, [f'D {RPM}', 'C usr/lib/sysimage']),
)


def change(top: Path, changes: Dict[str, Optional[str]]) -> None:
    """Change a tree; the time of a directory changes only where a name does."""
    for name, what in changes.items():
        path = top / name
        if what is None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif what.startswith('0'):
            path.chmod(int(what, 8))
        elif what.startswith('> '):
            path.unlink()
            path.symlink_to(what[2:])
        elif path.is_dir():
            os.utime(path, (8, 8))
        else:
            path.write_text(what)


@pytest.mark.parametrize(('changes', 'found'), CASES, ids=lambda value: ' '.join(value))
def test_delta(tmp_path: Path, changes: Dict[str, Optional[str]], found: List[str]) -> None:
    make(tmp_path / 'before', BEFORE)
    change(make(tmp_path / 'after', BEFORE), changes)
    with opened_tree(str(tmp_path / 'before')) as old, \
            opened_tree(str(tmp_path / 'after')) as new, closing(TreeReader(old)) as before:
        delta = without_passing(
            compare(scan(old), scan(new), ContentComparer(old, new), Trust()), before.entry
        )
    told = [f'D {os.fsdecode(path)}' for path in delta.removed] + [
        f'{change.kind} {os.fsdecode(change.entry.path)}' for change in delta.changes
        if change.kind != PARENT
    ]
    assert sorted(told) == sorted(found)
    parents = {os.fsdecode(one.entry.path) for one in delta.changes if one.kind == PARENT}
    assert all(any(line[2:].startswith(f'{path}/') for line in told) for path in parents)
    assert delta.is_empty or found


def test_times_that_are_kept_are_not_forgotten(tmp_path: Path) -> None:
    """An index of the image, and --verify, go by them."""
    for name in ('before', 'after'):
        make(tmp_path / name, BEFORE)
    change(tmp_path / 'after', {f'{RPM}/rpmdb.sqlite-shm': 'new'})
    os.utime(tmp_path / 'after/etc/a', ns=(7, 7))
    with opened_tree(str(tmp_path / 'before')) as old, \
            opened_tree(str(tmp_path / 'after')) as new, closing(TreeReader(old)) as before:
        whole = compare(
            scan(old), scan(new), ContentComparer(old, new), Trust(), lambda entry: False
        )
        delta = without_passing(whole, before.entry)
    assert not whole.is_empty and delta.is_empty
    assert b'etc/a' in delta.kept_times and delta.kept_times == whole.kept_times


NDB = 'usr/lib/sysimage/rpm'
MADE = {
    f'{NDB}/Packages.db': 'one', f'{NDB}/Index.db': 'one', f'{NDB}/.rpm.lock': '',
    'var/lib/rpm/rpmdb.sqlite': 'one', 'var/lib/rpm/rpmdb.sqlite-wal': '',
    'var/lib/rpm/rpmdb.sqlite-shm': 'one', 'usr/share/rpm/Packages': 'one',
    'var/lib/dnf/history.sqlite': 'one', 'etc/a': 'a'
}
INDEX, PACKAGES = f'{NDB}/Index.db', f'{NDB}/Packages.db'
SQLITE = 'var/lib/rpm/rpmdb.sqlite'


@pytest.mark.parametrize(('changes', 'kept', 'found'), [
    # what was made anew, of the same size: all files of a data base, or none
    ({PACKAGES: 'two', INDEX: 'two'}, [INDEX, PACKAGES], []),
    ({PACKAGES: 'two'}, [PACKAGES], []),
    ({INDEX: 'two'}, [], [f'C {INDEX}']),
    ({PACKAGES: 'two', INDEX: 'longer'}, [], [f'C {INDEX}', f'C {PACKAGES}']),
    ({PACKAGES: 'two', INDEX: None}, [], [f'C {PACKAGES}', f'D {INDEX}']),
    ({PACKAGES: 'two', INDEX: '0600'}, [], [f'C {INDEX}', f'C {PACKAGES}']),
    ({PACKAGES: 'two', f'{NDB}/Packages': 'x'}, [],
     [f'A {NDB}/Packages', f'C {PACKAGES}']),
    ({SQLITE: 'two'}, [SQLITE], []),
    ({SQLITE: 'two', f'{SQLITE}-shm': 'two'}, [SQLITE], []),
    ({SQLITE: 'two', f'{SQLITE}-wal': None}, [SQLITE], []),
    ({SQLITE: 'two', f'{SQLITE}-wal': 'x'}, [], [f'C {SQLITE}', f'C {SQLITE}-wal']),
    ({SQLITE: 'longer'}, [], [f'C {SQLITE}']), ({SQLITE: None}, [], [f'D {SQLITE}']),
    ({SQLITE: '> else'}, [], [f'C {SQLITE}']),
    # of the same second: the next stash could not tell
    ({SQLITE: 'two at 7'}, [], [f'C {SQLITE}']),
    # of each directory by itself, and no others
    ({PACKAGES: 'two', SQLITE: 'longer'}, [PACKAGES], [f'C {SQLITE}']),
    ({'usr/share/rpm/Packages': 'two'}, [], ['C usr/share/rpm/Packages']),
    ({'var/lib/dnf/history.sqlite': 'two'}, [], ['C var/lib/dnf/history.sqlite']),
    ({SQLITE: 'two', 'etc/a': 'b'}, [SQLITE], ['C etc/a']), ({}, [], [])
], ids=lambda value: ' '.join(value))
@pytest.mark.parametrize('same', [True, False])
def test_times_of_installation(
    tmp_path: Path, changes: Dict[str, Optional[str]], kept: List[str], found: List[str],
    same: bool
) -> None:
    make(tmp_path / 'before', MADE)
    change(make(tmp_path / 'after', MADE), {
        path: what and what.replace(' at 7', '') for path, what in changes.items()
    })
    for path, what in changes.items():
        if what and ' at 7' in what:
            os.utime(tmp_path / 'after' / path, ns=(7 * 10**9 + 5, 7 * 10**9 + 5))
    asked: List[str] = []

    def same_packages(directory: bytes, name: bytes) -> bool:
        asked.append(os.fsdecode(directory + b'/' + name))
        return same

    with opened_tree(str(tmp_path / 'before')) as old, \
            opened_tree(str(tmp_path / 'after')) as new, closing(TreeReader(old)) as before:
        delta = without_install_times(
            compare(scan(old), scan(new), ContentComparer(old, new), Trust(), lambda one: False),
            before.entry,
            lambda one, two: one.stat.st_mtime_ns // 10**9 != two.stat.st_mtime_ns // 10**9,
            same_packages
        )
        result = without_passing(delta, before.entry)
    # one file is asked for
    assert asked == sorted(path for path in kept if not path.endswith('Index.db'))
    told = sorted(
        [f'D {os.fsdecode(path)}' for path in result.removed] + [
            f'{one.kind} {os.fsdecode(one.entry.path)}' for one in result.changes
            if one.kind != PARENT
        ]
    )
    times = {os.fsdecode(path): time for path, time in delta.kept_times.items()}
    if same:
        assert told == found and result.is_empty == (not found)
        assert {path: times.get(path) for path in kept} == dict.fromkeys(kept, 7 * 10**9)
    else:
        assert {f'C {path}' for path in kept} <= set(told) and not set(kept) & set(times)
