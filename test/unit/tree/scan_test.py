# SPDX-License-Identifier: GPL-3.0-or-later
"""Scans of real trees, checked against the tests' own eyes."""
from __future__ import annotations

import errno
import os
import resource
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, List

import pytest

from kiwi_stackbuild_plugin.tree import scan as module
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import (
    Exclusion, TreeReader, read_xattrs, scan, sort_key
)
from trees import describe
from zoo import make_deep, make_zoo, write


def scanned(root: Path, exclusion: Exclusion = Exclusion()) -> List[Entry]:  # noqa: B008
    fd = open_tree(str(root))
    before = len(os.listdir('/proc/self/fd'))
    try:
        return list(scan(fd, exclusion))
    finally:
        assert len(os.listdir('/proc/self/fd')) == before, 'descriptors are left open'
        os.close(fd)


def paths(entries: List[Entry]) -> List[bytes]:
    return [entry.path for entry in entries]


def test_scan_sees_everything(tmp_path: Path) -> None:
    make_zoo(tmp_path / 'zoo')
    wanted = describe(tmp_path / 'zoo')
    found = scanned(tmp_path / 'zoo')
    assert paths(found) == sorted(wanted, key=lambda path: path.split(b'/'))
    for entry in found:
        kind, mode, uid, gid, mtime, content, _, xattrs = wanted[entry.path]
        status = entry.stat
        assert (
            stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid,
            status.st_gid, status.st_mtime_ns, entry.xattrs
        ) == (kind, mode, uid, gid, mtime, xattrs)
        assert (entry.is_dir, entry.is_file) == (kind == stat.S_IFDIR, kind == stat.S_IFREG)
        assert entry.target == (content if kind == stat.S_IFLNK else b'')
        assert entry.inode == (status.st_dev, status.st_ino)


def test_order_is_that_of_names_not_of_text(tmp_path: Path) -> None:
    for name in ('a/x', 'a-b/x', 'a.b', 'a0', 'A/x'):
        write(tmp_path / name, b'')
    found = paths(scanned(tmp_path))
    assert found == [b'A', b'A/x', b'a', b'a/x', b'a-b', b'a-b/x', b'a.b', b'a0']
    assert sorted(found, key=sort_key) == found


def test_very_deep_trees_need_few_descriptors(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep = deep / 'd'
        deep.mkdir()
    assert len(scanned(tmp_path)) == 300


def test_no_path_is_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    make_deep(tmp_path / 'whole', module._PATH_MAX)
    assert len(paths(scanned(tmp_path / 'whole'))[-1]) == module._PATH_MAX
    # the first that is too long is told, so that it can be refused by its name
    make_deep(tmp_path / 'cut', 6000)
    lengths = [len(path) for path in paths(scanned(tmp_path / 'cut'))]
    assert sum(length > module._PATH_MAX for length in lengths) == 1


def test_large_directories_are_read_in_pieces(tmp_path: Path) -> None:
    for number in range(module._CHUNK + 5):
        write(tmp_path / f'{number:05}', b'')
    found = paths(scanned(tmp_path))
    assert len(found) == module._CHUNK + 5
    assert found == sorted(found)


def test_what_vanishes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    for name in ('a/x', 'b/x', 'c', 'd/x', 'e/x'):
        write(tmp_path / name, b'')
    fd = open_tree(str(tmp_path))
    found = []
    for entry in scan(fd):
        found.append(entry.path)
        if entry.path == b'a/x':
            (tmp_path / 'b/x').unlink()
            (tmp_path / 'b').rmdir()
            (tmp_path / 'd').rename(tmp_path / 'real')
            (tmp_path / 'd').symlink_to('real')
            (tmp_path / 'e/x').unlink()
            (tmp_path / 'e').rmdir()
            (tmp_path / 'e').write_bytes(b'')
    os.close(fd)
    # listed with the others before; what they hold now is not theirs
    assert found == [b'a', b'a/x', b'b', b'c', b'd', b'e']


def test_names_that_vanish_between_list_and_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / 'there', b'')
    monkeypatch.setattr(os, 'listdir', lambda fd: ['there', 'gone'])
    fd = open_tree(str(tmp_path))
    assert paths(list(scan(fd))) == [b'there']
    os.close(fd)


def test_unreadable_directory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'd').mkdir()
    real = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if path == b'd':
            raise PermissionError(errno.EACCES, 'no', path)
        return real(path, *rest, **more)
    fd = open_tree(str(tmp_path))
    monkeypatch.setattr(os, 'open', refuse)
    with pytest.raises(PermissionError):
        list(scan(fd))
    os.close(fd)


@pytest.mark.parametrize('key, ours', [
    ('user.a', True), ('trusted.a', True), ('security.capability', True),
    ('security.ima', True), ('system.posix_acl_access', True),
    ('system.posix_acl_default', True), ('trusted.overlay.opaque', True),
    ('trusted.overlay.redirect', True), ('user.overlay.opaque', True),
    ('security.selinux', False), ('trusted.overlay.origin', False),
    ('trusted.overlay.impure', False), ('btrfs.compression', False),
    ('system.nfs4_acl', False), ('system.nfs4_dacl', False), ('system.cifs_acl', False),
    ('system.ntfs_attrib', False), ('system.richacl', False), ('ceph.dir.layout', False),
    ('lustre.lov', False), ('glusterfs.gfid', False), ('os2.a', False)
])
def test_properties_of_file_systems_are_not_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, ours: bool
) -> None:
    monkeypatch.setattr(os, 'listxattr', lambda *_, **__: [key])
    monkeypatch.setattr(os, 'getxattr', lambda *_, **__: b'v')
    assert read_xattrs(os.fsencode(tmp_path)) == (((key, b'v'),) if ours else ())


def test_host_attributes_are_not_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / 'file', b'')
    os.setxattr(path, 'user.a', b'1')
    os.setxattr(path, 'trusted.overlay.opaque', b'y')
    os.setxattr(path, 'trusted.overlay.origin', b'handle')
    os.setxattr(path, 'trusted.overlaid', b'z')
    assert read_xattrs(os.fsencode(path)) == (
        ('trusted.overlaid', b'z'), ('trusted.overlay.opaque', b'y'), ('user.a', b'1')
    )

    def unsupported(*_: Any, **__: Any) -> List[str]:
        raise OSError(errno.ENOTSUP, 'not there')
    monkeypatch.setattr(os, 'listxattr', unsupported)
    assert read_xattrs(os.fsencode(path)) == ()

    def broken(*_: Any, **__: Any) -> List[str]:
        raise OSError(errno.EIO, 'broken disk')
    monkeypatch.setattr(os, 'listxattr', broken)
    with pytest.raises(OSError, match='broken disk'):
        read_xattrs(os.fsencode(path))


def test_deep_tree_takes_few_open_files(tmp_path: Path) -> None:
    here = tmp_path
    for _ in range(300):
        here = here / 'd'
    here.mkdir(parents=True)
    (here / 'bottom').touch()
    fd = open_tree(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        paths = [entry.path for entry in scan(fd)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(fd)
    assert len(paths) == 301 and paths[-1].endswith(b'/d/bottom')


@pytest.mark.parametrize('path', [
    b'missing', b'missing/x', b'file/x', b'link/below', b'loop/x', b'x' * 300, b'x' * 300 + b'/y'
])
def test_what_is_not_there_is_nothing(tmp_path: Path, path: bytes) -> None:
    write(tmp_path / 'file', b'')
    write(tmp_path / 'there/below', b'')
    (tmp_path / 'link').symlink_to('there')
    (tmp_path / 'loop').symlink_to('loop')
    with closing(TreeReader(open_tree(str(tmp_path)))) as reader:
        assert reader.entry(path) is None and reader.names(path) == []
        os.close(reader.fd)


def test_what_cannot_be_read_is_not_gone(tmp_path: Path) -> None:
    """Else a stash would note it as removed."""
    write(tmp_path / 'there/below', b'')
    fd = open_tree(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # no more than there are
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1, hard))
    try:
        with closing(TreeReader(fd)) as reader:
            for read in (reader.entry, reader.names):
                with pytest.raises(OSError, match='Too many open files'):
                    read(b'there/below' if read == reader.entry else b'there')
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(fd)
