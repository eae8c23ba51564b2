# SPDX-License-Identifier: GPL-3.0-or-later
"""Which times are stored, and whose time Python has written down."""
from __future__ import annotations

import os
import py_compile
from pathlib import Path
from typing import Any, Optional

import pytest

from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from kiwi_stackbuild_plugin.tree.times import (
    TREE_TIMES, ByteCode, Times, clamp, time_of_source
)
from zoo import set_time, write

SECOND = 10**9
NOW = 1_700_000_000 * SECOND + 5
MAGIC = b'\xa7\r\r\n'
Mode = py_compile.PycInvalidationMode


@pytest.mark.parametrize('times, mtime, stored', [
    (TREE_TIMES, NOW, NOW), (Times(NOW), NOW + 1, NOW), (Times(NOW), NOW - 1, NOW - 1),
    (Times(NOW), -5, -5), (Times(kept={b'a': NOW + 9}), 1, NOW + 9),
    (Times(kept={b'b': 7}), 1, 1), (Times(NOW, {b'a': -3}), NOW, -3),
])
def test_times_that_are_stored(tmp_path: Path, times: Times, mtime: int, stored: int) -> None:
    set_time(write(tmp_path / 'a', b''), mtime)
    fd = open_tree(str(tmp_path))
    before, after = list(scan(fd)), list(times.apply(scan(fd)))
    os.close(fd)
    assert [entry.stat.st_mtime_ns for entry in after] == [stored]
    assert after[0]._replace(stat=before[0].stat) == before[0]


@pytest.mark.parametrize('head, seconds', [
    (MAGIC + bytes(4) + b'\1\0\0\0' + bytes(4), 1),
    (MAGIC + bytes(4) + b'\xff' * 8, 2**32 - 1),
    (MAGIC + b'\1\0\0\0' + b'\1\0\0\0' + bytes(4), None),
    (MAGIC + bytes(4) + b'\1\0\0\0', None),
    (b'\0' * 16, None), (b'', None),
])
def test_head_of_byte_code(head: bytes, seconds: Optional[int]) -> None:
    assert time_of_source(head) == seconds


def compiled(directory: Path, **more: Any) -> Path:
    source = write(directory / 'module.py', b'x = 1\n')
    set_time(source, NOW)
    py_compile.compile(str(source), **more)
    return source


def byte_code(directory: Path) -> Path:
    return next((directory / '__pycache__').iterdir())


def set_aside(directory: Path) -> None:
    byte_code(directory).rename(directory / 'module.pyc')


def to_other_name(directory: Path) -> None:
    byte_code(directory).rename(directory / '__pycache__/module2.cpython-311.pyc')


def to_link(directory: Path) -> None:
    os.rename(directory / '__pycache__', directory / 'elsewhere')
    (directory / '__pycache__').symlink_to('elsewhere')


@pytest.mark.parametrize('change, options, named', [
    (lambda where: None, {}, True),
    (lambda where: None, {'optimize': 2}, True),
    (set_aside, {}, True),
    (lambda where: set_time(where / 'module.py', NOW + SECOND), {}, False),
    # the second is what Python knows
    (lambda where: set_time(where / 'module.py', NOW + 7), {}, True),
    (lambda where: byte_code(where).unlink(), {}, False),
    (lambda where: byte_code(where).write_bytes(b''), {}, False),
    (lambda where: None, {'invalidation_mode': Mode.CHECKED_HASH}, False),
    (lambda where: None, {'invalidation_mode': Mode.UNCHECKED_HASH}, False),
    (to_other_name, {}, False),
    # nothing is read through a link
    (to_link, {}, False),
])
def test_sources_whose_time_byte_code_names(
    tmp_path: Path, change: Any, options: Any, named: bool
) -> None:
    compiled(tmp_path / 'lib', **options)
    change(tmp_path / 'lib')
    fd = open_tree(str(tmp_path))
    asked = ByteCode(fd)
    told = {entry.path: asked.names_time_of(entry) for entry in scan(fd)}
    os.close(fd)
    assert told[b'lib/module.py'] is named
    assert [path for path, yes in told.items() if yes] == [b'lib/module.py'] * named


def test_later_times_become_the_limit(tmp_path: Path) -> None:
    """But for sources that would have no valid byte code then."""
    compiled(tmp_path / 'lib')
    for name, moment in (('late', NOW), ('early', 5), ('ancient', -5), ('same', 10)):
        set_time(write(tmp_path / name, b''), moment)
    set_time(tmp_path / 'lib', NOW)
    fd = open_tree(str(tmp_path))
    exempt = {b'of an earlier scan': 1}
    found = {
        entry.path: entry.stat.st_mtime_ns
        for entry in clamp(scan(fd), 10, ByteCode(fd), exempt)
    }
    os.close(fd)
    code = next(path for path in found if path.endswith(b'.pyc'))
    assert found == {
        b'late': 10, b'early': 5, b'ancient': -5, b'same': 10, b'lib': 10,
        b'lib/__pycache__': 10, code: 10, b'lib/module.py': NOW
    }
    assert exempt == {b'lib/module.py': NOW}


def test_emptied_files_and_only_those(tmp_path: Path) -> None:
    for name in ('id', 'other'):
        write(tmp_path / name, b'123')
    (tmp_path / 'dir').mkdir()
    (tmp_path / 'link').symlink_to('id')
    fd = open_tree(str(tmp_path))
    before = {entry.path: entry for entry in scan(fd)}
    after = list(Times(emptied=frozenset({b'id', b'dir', b'link'})).apply(scan(fd)))
    os.close(fd)
    assert {entry.path for entry in after if entry != before[entry.path]} == {b'id'}
    assert {entry.path: entry for entry in after}[b'id'].stat.st_size == 0
