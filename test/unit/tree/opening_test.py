# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories and files opened below a tree, and no link followed on the way."""
from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Set, Tuple

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.tree import opening as module
from kiwi_stackbuild_plugin.tree.opening import (
    open_below, open_current, open_tree, set_xattrs
)
from zoo import write


def descriptors() -> Set[str]:
    return set(os.listdir('/proc/self/fd'))


@pytest.mark.parametrize('name, why', [
    ('missing', 'No such file'), ('file', 'Not a directory'), ('loop', 'Too many levels'),
    ('x' * 300, 'File name too long')
])
def test_root_must_be_a_directory(tmp_path: Path, name: str, why: str) -> None:
    write(tmp_path / 'file', b'')
    (tmp_path / 'loop').symlink_to('loop')
    with pytest.raises(KiwiStashRootInvalid, match=why):
        open_tree(str(tmp_path / name))


def test_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / 'root').mkdir()
    (tmp_path / 'link').symlink_to('root')
    fd = open_tree(str(tmp_path / 'link'))
    assert os.path.samestat(os.fstat(fd), (tmp_path / 'root').stat())
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(('path', 'flags', 'error'), [
    (b'link/file', os.O_RDONLY, (errno.ELOOP, errno.ENOTDIR)),
    (b'd/link', os.O_RDONLY, (errno.ELOOP,)),
    (b'link', module.DIRECTORY_FLAGS, (errno.ELOOP, errno.ENOTDIR)),
    (b'dangling', os.O_WRONLY | os.O_CREAT, (errno.ELOOP,)),
    (b'dangling', os.O_WRONLY | os.O_CREAT | os.O_EXCL, (errno.EEXIST,)),
    (b'd/file', module.DIRECTORY_FLAGS, (errno.ENOTDIR,)),
    (b'd/file/x', os.O_RDONLY, (errno.ENOTDIR,)), (b'd/no', os.O_RDONLY, (errno.ENOENT,)),
    (b'd/device', os.O_RDONLY | os.O_NONBLOCK, (errno.ENXIO,)),
    (b'd/device', os.O_WRONLY | os.O_CREAT, (errno.ENXIO,)),
    *((path, os.O_RDONLY, (errno.EINVAL,)) for path in (
        b'../outside/file', b'd//file', b'd/..', b'd/', b'..', b'/', b'/etc/passwd', b'd/../d/file'
    ))
])
def test_nothing_is_opened_through_a_link(
    tmp_path: Path, path: bytes, flags: int, error: Tuple[int, ...]
) -> None:
    write(tmp_path / 'outside/file', b'')
    write(tmp_path / 'root/d/file', b'')
    (tmp_path / 'root/link').symlink_to(tmp_path / 'outside')
    (tmp_path / 'root/dangling').symlink_to(tmp_path / 'new')
    (tmp_path / 'root/d/link').symlink_to('file')
    if os.geteuid() == 0:
        # that of the null device: it could be opened
        os.mknod(tmp_path / 'root/d/device', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif path == b'd/device':
        pytest.skip('makes a device')
    fd = open_tree(str(tmp_path / 'root'))
    before = descriptors()
    with pytest.raises(OSError) as issue:
        open_below(fd, path, flags)
    assert issue.value.errno in error
    assert descriptors() == before, 'nothing stays open'
    assert os.fstat(fd) and not (tmp_path / 'new').exists()
    os.close(fd)


@pytest.mark.parametrize('path', ['', '.', 'd', 'd/e', 'd/e/file', 'd/\udcff'])
def test_what_is_there_is_opened(tmp_path: Path, path: str) -> None:
    write(tmp_path / 'd/e/file', b'')
    write(tmp_path / 'd/\udcff', b'')
    fd = open_tree(str(tmp_path))
    before = descriptors()
    flags = os.O_RDONLY if (tmp_path / path).is_file() else module.DIRECTORY_FLAGS
    found = open_below(fd, os.fsencode(path), flags)
    assert os.path.samestat(os.fstat(found), (tmp_path / path).stat())
    assert found != fd and not os.get_inheritable(found)
    os.close(found)
    assert descriptors() == before
    os.close(fd)


@pytest.mark.parametrize('is_there', [True, False])
def test_way_back_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    if not is_there:
        (tmp_path / 'here').rmdir()
    before, back = os.stat('.'), open_current()
    os.chdir(tmp_path)
    os.fchdir(back)
    os.close(back)
    assert os.path.samestat(os.stat('.'), before)


def test_attributes_that_do_not_go_are_named_and_the_others_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module.log, 'propagate', True)
    outside = write(tmp_path / 'outside', b'')
    link = tmp_path / 'link'
    link.symlink_to(outside)
    set_xattrs(os.fsencode(link), b'a\nb', (
        ('user.a', b'1'), ('nosuch.\x1b', b'1'), ('trusted.b', b'\0\xff')
    ))
    assert os.listxattr(outside) == [], 'never what it links to'
    assert os.getxattr(link, 'trusted.b', follow_symlinks=False) == b'\0\xff'
    told = [entry.getMessage() for entry in caplog.records]
    assert [line.partition(': Op')[0] for line in told] == [
        'a\\nb: not all of it restored: user.a', 'a\\nb: not all of it restored: nosuch.\\x1b'
    ]
