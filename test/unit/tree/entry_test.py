# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of a tree against what the kernel says of the files."""
from __future__ import annotations

import marshal
import os
from pathlib import Path
from typing import Any

import pytest

from kiwi_stackbuild_plugin.tree.entry import Entry, Status, named, status_row
from zoo import make_socket, write


def link(path: Path) -> None:
    path.symlink_to('elsewhere')


def device(path: Path) -> None:
    os.mknod(path, 0o20600, os.makedev(7, 300))


def file(path: Path) -> None:
    write(path, b'x' * 5000)
    os.link(path, path.with_name('other'))
    os.chown(path, 12, 34)
    os.utime(path, ns=(1, -1_500_000_001))


@pytest.mark.parametrize(('make', 'is_dir', 'is_file'), [
    (os.mkdir, True, False), (file, False, True), (link, False, False),
    (os.mkfifo, False, False), (device, False, False), (make_socket, False, False)
])
def test_status_is_what_the_kernel_says(
    tmp_path: Path, make: Any, is_dir: bool, is_file: bool
) -> None:
    """By name, each of them: the row is a slice and counts on an order."""
    make(tmp_path / 'x')
    full = os.lstat(tmp_path / 'x')
    status = Status.of(full)
    assert status._asdict() == {name: getattr(full, name) for name in Status._fields}
    assert status_row(full) == tuple(status)
    entry = Entry(b'x', status)
    assert (entry.is_dir, entry.is_file) == (is_dir, is_file)
    assert entry.inode == (full.st_dev, full.st_ino)
    assert (entry.xattrs, entry.target) == ((), b'')


def test_hard_links_have_one_inode_and_copies_have_not(tmp_path: Path) -> None:
    file(tmp_path / 'x')
    write(tmp_path / 'copy', b'x' * 5000)
    x, other, copy = (
        Entry(name, Status.of(os.lstat(os.path.join(os.fsencode(tmp_path), name)))).inode
        for name in (b'x', b'other', b'copy')
    )
    assert x == other != copy


def test_rows_become_entries_one_at_a_time(tmp_path: Path) -> None:
    """As they come out of another process, by marshal."""
    row = status_row(os.lstat(tmp_path))
    sent = [
        (b'a\xff', row, (('user.a', b'\0'),), b''), (b'b', row, (), b'to'), (b'broken',)
    ]
    found = named(marshal.loads(marshal.dumps(sent)))
    one, two = next(found), next(found)
    assert one == Entry(b'a\xff', Status(*row), (('user.a', b'\0'),))
    assert (type(one), type(one.stat), one.is_dir) == (Entry, Status, True)
    assert (two.path, two.xattrs, two.target) == (b'b', (), b'to')
    with pytest.raises(ValueError, match='unpack'):
        next(found)
