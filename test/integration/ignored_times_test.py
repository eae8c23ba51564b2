# SPDX-License-Identifier: GPL-3.0-or-later
"""stash --ignore-times: a tree prepared anew costs only what is new in it."""
from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Sequence

import pytest
from rpms import build_rpm, require_rpm
from storages import Storage
from trees import describe, make_root
from witnesses import RECORD, import_tree, mounted, stash
from zoo import set_time, write

from kiwi_stackbuild_plugin.tree.times import time_of_source

OLD, NEW = 1_500_000_000 * 10**9, 1_600_000_000 * 10**9 + 7
MTIME = 4


def prepare(where: Path, moment: int) -> Path:
    """Make a tree whose every time is that of its making, with byte code."""
    root = make_root(where)
    write(root / 'usr/lib/ours/plain.txt', b'x' * 5000)
    set_time(write(root / 'usr/lib/ours/packaged.py', b'x = 1\n'), OLD)
    source = write(root / 'usr/lib/ours/local.py', b'y = 2\n')
    for path in (*root.rglob('*'), root):
        if path.name != 'packaged.py':
            set_time(path, moment)
    for name in ('packaged.py', 'local.py'):
        py_compile.compile(str(source.with_name(name)))
    return root


@pytest.fixture
def second(storage: Storage, tmp_path: Path) -> Path:
    """Give the tree of the second week; the first is stashed."""
    stash(storage, prepare(tmp_path / 'week', OLD))
    shutil.rmtree(tmp_path / 'week')
    return prepare(tmp_path / 'week', NEW)


CODE = ('usr/lib/ours/local.py', 'usr/lib/ours/__pycache__/local.cpython-3')


def test_times_alone_cost_nothing(storage: Storage, second: Path, tmp_path: Path) -> None:
    """But for a source whose byte code is new: both, so that Python takes it."""
    told = stash(storage, second, '--ignore-times', '--verify')
    assert ' 0 added, 2 changed, 0 removed' in told and 'Verified' in told
    count = len(describe(second, RECORD)) - 2 - 1
    assert f'{count} entries differ from the base by their time alone' in told
    for words in (['--ignore-times'], ['--ignore-times', '--verify', '--tag=v2']):
        assert 'nothing changed, no new layer' in stash(storage, second, *words)
    storage.forget_indexes()
    assert 'nothing changed, no new layer' in stash(storage, second, '--ignore-times')
    there, here = mounted(storage), describe(second, RECORD)
    for path, entry in here.items():
        own = path.decode().startswith((*CODE, 'usr/lib/ours/packaged.py'))
        assert there[path][MTIME] == (entry[MTIME] if own else there[path][MTIME]), path
        assert there[path][:MTIME] + there[path][MTIME + 1:] \
            == entry[:MTIME] + entry[MTIME + 1:], path
    assert there[b'usr/lib/ours/plain.txt'][MTIME] == OLD
    back = import_tree(storage, tmp_path / 'back')
    assert back.stat().st_mtime_ns == OLD
    byte_code_is_taken(back)
    assert 'nothing changed, no new layer' in stash(storage, back)


def byte_code_is_taken(root: Path) -> None:
    for source in (root / 'usr/lib/ours').glob('*.py'):
        found, = source.parent.glob(f'__pycache__/{source.stem}.*.pyc')
        assert time_of_source(found.read_bytes()[:16]) == int(source.stat().st_mtime)
        told = subprocess.run(
            [sys.executable, '-I', '-v', '-c',
             f'import sys; sys.path = [*sys.path, {str(source.parent)!r}]; '
             f'import {source.stem}'], capture_output=True, text=True, check=True
        ).stderr
        assert f'{found} matches {source}' in told


def test_a_plain_stash_after_it_has_all_times(storage: Storage, second: Path) -> None:
    """The index has the times of the image, whatever was asked for before."""
    stash(storage, second, '--ignore-times')
    told = stash(storage, second)
    assert 'nothing changed' not in told and 'by their time alone' not in told
    there, here = mounted(storage), describe(second, RECORD)
    assert all(there[path] == entry for path, entry in here.items())
    assert 'nothing changed, no new layer' in stash(storage, second)


def test_what_is_new_is_stored(storage: Storage, second: Path, tmp_path: Path) -> None:
    """Content of the same size, a mode, a time before 1970, what is gone."""
    (second / 'usr/lib/ours/plain.txt').write_bytes(b'y' * 5000)
    (second / 'etc/hostname').chmod(0o600)
    (second / 'etc/os-release').unlink()
    set_time(write(second / 'etc/early', b''), -5)
    document = json.loads(storage.kiwi(
        'stash', f'--root={second}', '--ignore-times', '--dry-run', '--format=json'
    ).stdout)['files']
    told = stash(storage, second, '--ignore-times', '--verify')
    assert ' 1 added, 4 changed, 1 removed' in told
    assert (document['added'], document['changed'], document['removed']) == (1, 4, 1)
    assert f'{document["kept_times"]} entries differ from the base' in told
    back = import_tree(storage, tmp_path / 'back')
    assert (back / 'usr/lib/ours/plain.txt').read_bytes() == b'y' * 5000
    assert os.lstat(back / 'etc/early').st_mtime_ns == -5
    # a chain of such layers
    set_time(second / 'etc/early', NEW)
    (second / 'etc/more').write_text('x')
    assert ' 1 added, 0 changed, 0 removed' in stash(storage, second, '--ignore-times')
    again = import_tree(storage, tmp_path / 'again')
    assert os.lstat(again / 'etc/early').st_mtime_ns == -5


RPMDB = 'usr/lib/sysimage/rpm/rpmdb.sqlite'


def prepare_rpm(where: Path, packages: Sequence[Path], moment: int) -> Path:
    """Make a tree with a data base of rpm, installed at a moment (seconds)."""
    root = make_root(where)
    for package in packages:
        subprocess.run([
            'rpm', '--dbpath', root / 'usr/lib/sysimage/rpm', '--define',
            '_db_backend sqlite', '--nodeps', '--justdb', '-U', package
        ], check=True, env={**os.environ, 'SOURCE_DATE_EPOCH': str(moment)})
        moment += 1
    for path in (*root.rglob('*'), root):
        set_time(path, moment * 10**9)
    return root


def installed(root: Path, copy: Path) -> Dict[str, int]:
    """Return the packages of a tree, and when they were installed, as rpm tells."""
    shutil.copytree((root / RPMDB).parent, copy)
    lines = subprocess.run([
        'rpm', '--dbpath', copy, '-qa', '--qf', r'%{NAME}-%{VERSION} %{INSTALLTIME}\n'
    ], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: int(moment) for name, moment in map(str.split, lines)}


@pytest.mark.parametrize(('version', 'clamped', 'kept'), [
    # of the second package in the second week; whether both trees have the same mtimes;
    # whether the data base is the first week's
    ('1', False, True), ('2', False, False), ('1', True, False),
])
def test_times_of_installation(
    storage: Storage, tmp_path: Path, version: str, clamped: bool, kept: bool
) -> None:
    """All of rpm's data base or none of it, and what is next knows which."""
    require_rpm()
    alpha, one, two = (
        build_rpm(tmp_path / 'rpms', *words)
        for words in (('alpha', '1'), ('beta', '1'), ('beta', version))
    )
    stash(storage, prepare_rpm(tmp_path / 'week', [alpha, one], 1_500_000_000))
    shutil.rmtree(tmp_path / 'week')
    root = prepare_rpm(tmp_path / 'week', [alpha, two], 1_600_000_000)
    if clamped:
        set_time(root / RPMDB, 1_500_000_002 * 10**9 + 1)
    told = stash(storage, root, '--ignore-times', '--verify')
    assert (f'{RPMDB} differs from the base by times of installation alone: the image has '
            'that of the base' in told) is kept
    begin = 1_500_000_000 if kept else 1_600_000_000
    assert installed(storage.mount('localhost/small'), tmp_path / 'copy') == {
        'alpha-1': begin, f'beta-{version}': begin + 1
    }
    storage.unmount('localhost/small')
    assert 'nothing changed' in stash(storage, root, '--ignore-times')
    storage.forget_indexes()
    assert 'nothing changed' in stash(storage, root, '--ignore-times', '--tag=v2')
    # the next without it has the data base of the tree
    stash(storage, root)
    assert mounted(storage)[RPMDB.encode()] == describe(root, RECORD)[RPMDB.encode()]


def test_first_of_a_chain_has_no_times_to_keep(storage: Storage, tmp_path: Path) -> None:
    root = prepare(tmp_path / 'week', NEW)
    assert 'no base' in stash(storage, root, '--ignore-times')
    assert mounted(storage)[b'usr/lib/ours/plain.txt'][MTIME] == NEW
    result = storage.kiwi(
        'stash', f'--root={root}', '--no-base', '--ignore-times', check=False
    )
    assert result.returncode == 1 and 'no base whose times are kept' in result.stderr
