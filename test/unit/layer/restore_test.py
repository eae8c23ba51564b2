# SPDX-License-Identifier: GPL-3.0-or-later
"""What an imported tree is given back: real files, holes and file systems."""
from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path
from typing import List

import pytest

from kiwi_stackbuild_plugin.layer import restore as restore_module
from kiwi_stackbuild_plugin.layer.extras import ROOT, Extra, Extras
from kiwi_stackbuild_plugin.layer.restore import report_lost, restore_extras, restore_root
from kiwi_stackbuild_plugin.tree.opening import open_tree
from zoo import acl, holes, set_time, write

ACL = 'system.posix_acl_access'
TIME = 1_600_000_000_123_456_789


def restore(root: Path, extras: Extras) -> None:
    fd = open_tree(str(root))
    try:
        restore_extras(fd, extras)
    finally:
        os.close(fd)


def test_nothing_is_restored_through_a_link(tmp_path: Path) -> None:
    outside = write(tmp_path / 'outside/file', bytes(1 << 16))
    set_time(outside, 5)
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'd').symlink_to(outside.parent)
    (root / 'f').symlink_to(outside)
    fd = open_tree(str(root))
    restore_extras(fd, {
        b'd/file': Extra(-1, (('user.a', b''),), True), b'f': Extra(-1, (), True),
        b'../outside/file': Extra(-1)
    })
    os.close(fd)
    status = os.lstat(outside)
    assert (status.st_mtime_ns, os.listxattr(outside), holes(outside)) == (5, [], 0)
    assert os.lstat(root / 'f').st_mtime_ns == -1


def test_attributes_that_cannot_be_set_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / 'root/file', b'x')
    fd = open_tree(str(tmp_path / 'root'))
    with caplog.at_level('WARNING', 'kiwi'):
        restore_extras(fd, {b'file': Extra(None, (('nonsense', b'x'),))})
    os.close(fd)
    assert 'file: not all of it restored: ' in caplog.text


def test_attributes_that_the_target_does_not_take_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / 'source'
    for name, key in (
        ('user', 'user.a'), ('trusted', 'trusted.a'), ('dir\x1b/acl', ACL),
        ('cap', 'security.capability')
    ):
        os.setxattr(write(source / name, b'x'), key, {
            ACL: acl((7, 6)),
            'security.capability': b'\1\0\0\2' + b'\0\4' + bytes(14)
        }.get(key, b'v'))
    (tmp_path / 'ram').mkdir()
    fd = open_tree(str(source))
    with caplog.at_level('WARNING', 'kiwi'):
        report_lost(fd, str(tmp_path))
        assert caplog.text == '', 'this file system takes them all'
        subprocess.run(['mount', '-t', 'ramfs', 'none', tmp_path / 'ram'], check=True)
        try:
            report_lost(fd, str(tmp_path / 'ram'))
            assert os.listdir(tmp_path / 'ram') == []
            own = open_tree(str(tmp_path / 'ram'))
            restore_root(own, 0o700, 1, 2, Extra(5, (('user.a', b'1'),)))
            os.close(own)
            assert (tmp_path / 'ram').stat().st_mode & 0o777 == 0o700
        finally:
            subprocess.run(['umount', tmp_path / 'ram'], check=True)
    os.close(fd)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        'cap: the file system of the target does not take security.capability',
        'dir\\x1b/acl: the file system of the target does not take '
        'system.posix_acl_access',
        'trusted: the file system of the target does not take trusted.a',
        'user: the file system of the target does not take user.a',
        '/: not all of it restored: user.a: Operation not supported'
    ]


def test_root_directory_is_restored(tmp_path: Path) -> None:
    fd = open_tree(str(tmp_path))
    restore_root(fd, 0o3711, 5, 2**31, Extra(-7, (('user.a', b'1'),)))
    status = os.fstat(fd)
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o3711, 5, 2**31)
    assert (status.st_mtime_ns, os.getxattr(fd, 'user.a')) == (-7, b'1')
    restore_root(fd, 0o755, 0, 0, Extra())
    assert os.fstat(fd).st_mtime_ns == -7
    os.close(fd)


def test_file_with_holes_keeps_its_capabilities(tmp_path: Path) -> None:
    path = write(tmp_path / 'root/tool', bytes(1 << 16))
    os.chmod(path, 0o4755)
    capability = bytes.fromhex('0100000200040000') + bytes(12)
    os.setxattr(path, 'security.capability', capability)
    fd = open_tree(str(tmp_path / 'root'))
    restore_extras(fd, {b'tool': Extra(sparse=True)})
    os.close(fd)
    assert holes(path) > 0 and stat.S_IMODE(os.lstat(path).st_mode) == 0o4755
    assert os.getxattr(path, 'security.capability') == capability


def no_holes(fd: int) -> None:
    raise OSError(errno.EOPNOTSUPP, 'no holes')


def test_file_system_without_holes_costs_only_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(restore_module, 'dig_holes', no_holes)
    path = write(tmp_path / 'root/file', bytes(1 << 16))
    with caplog.at_level('WARNING', 'kiwi'):
        restore(tmp_path / 'root', {b'file': Extra(-1, (('user.a', b'x'),), True)})
    assert (holes(path), os.lstat(path).st_mtime_ns, os.getxattr(path, 'user.a')) == (0, -1, b'x')
    assert caplog.text == ''


@pytest.mark.parametrize('kind', ['dir', 'link', 'fifo'])
def test_only_files_are_opened_for_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A pipe that is opened to be written waits for its reader."""
    opened: List[int] = []
    monkeypatch.setattr(restore_module, 'dig_holes', opened.append)
    path = tmp_path / 'root/x'
    path.parent.mkdir()
    {'dir': path.mkdir, 'link': lambda: path.symlink_to('/etc/passwd'),
     'fifo': lambda: os.mkfifo(path)}[kind]()
    restore(path.parent, {b'x': Extra(TIME, (), True)})
    assert opened == []
    assert os.lstat(path).st_mtime_ns == TIME


def test_time_stays_where_only_the_rest_is_restored(tmp_path: Path) -> None:
    """Digging holes and setting attributes must not make a file look new."""
    path = write(tmp_path / 'root/file', bytes(1 << 16))
    set_time(path, TIME)
    restore(tmp_path / 'root', {b'file': Extra(None, (('user.a', b'x'),), True)})
    assert holes(path) > 0
    assert (os.lstat(path).st_mtime_ns, path.read_bytes()) == (TIME, bytes(1 << 16))


def test_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ('a', 'c', 'd'):
        write(tmp_path / 'root' / name, b'x')
    too_late = 2**70
    with caplog.at_level('WARNING', 'kiwi'):
        restore(tmp_path / 'root', {
            b'a': Extra(None, (('bad\x1b', b''), ('user.a', b'1'))), b'b/gone': Extra(-1),
            b'a/below-a-file': Extra(-1), b'c': Extra(too_late), b'd': Extra(-1)
        })
    assert os.getxattr(tmp_path / 'root/a', 'user.a') == b'1'
    assert os.lstat(tmp_path / 'root/d').st_mtime_ns == -1
    first = caplog.records[0].getMessage()
    assert first.startswith('a: not all of it restored: bad\\x1b: ') and 'gone' not in caplog.text


def test_extra_of_the_root_is_left_to_the_other_function(tmp_path: Path) -> None:
    set_time(tmp_path, TIME)
    restore(tmp_path, {ROOT: Extra(-1, (('user.a', b'x'),))})
    assert os.lstat(tmp_path).st_mtime_ns == TIME and 'user.a' not in os.listxattr(tmp_path)
