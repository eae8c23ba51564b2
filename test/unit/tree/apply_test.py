# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying a delta to a tree of a stranger: no link is followed, none written to."""
from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Dict

import pytest

from kiwi_stackbuild_plugin.tree.apply import apply_delta, remove_entry, replace_entry
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare, whole_tree
from kiwi_stackbuild_plugin.tree.entry import Entry, Status
from kiwi_stackbuild_plugin.tree.opening import open_tree, opened_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from trees import describe
from zoo import make_zoo, set_time, write


def apply(root: Path, source: Path, delta: Delta) -> None:
    root_fd, source_fd = open_tree(str(root)), open_tree(str(source))
    before = len(os.listdir('/proc/self/fd'))
    try:
        apply_delta(root_fd, source_fd, delta)
        assert len(os.listdir('/proc/self/fd')) == before
    finally:
        os.close(root_fd)
        os.close(source_fd)


def union(source: Path) -> Delta:
    fd = open_tree(str(source))
    try:
        return Delta((), tuple(whole_tree(scan(fd))))
    finally:
        os.close(fd)


def difference(base: Path, tree: Path) -> Delta:
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    try:
        return compare(
            scan(base_fd), scan(tree_fd), ContentComparer(base_fd, tree_fd), Trust()
        )
    finally:
        os.close(base_fd)
        os.close(tree_fd)


def test_everything_is_applied(tmp_path: Path) -> None:
    make_zoo(tmp_path / 'zoo')
    (tmp_path / 'root').mkdir()
    apply(tmp_path / 'root', tmp_path / 'zoo', union(tmp_path / 'zoo'))
    assert describe(tmp_path / 'root') == describe(tmp_path / 'zoo')
    apply(tmp_path / 'root', tmp_path / 'zoo', union(tmp_path / 'zoo'))
    assert describe(tmp_path / 'root') == describe(tmp_path / 'zoo')


def test_files_are_replaced_not_written_to(tmp_path: Path) -> None:
    root, source = tmp_path / 'root', tmp_path / 'source'
    write(root / 'file', b'old')
    (root / 'linked').hardlink_to(root / 'file')
    write(source / 'file', b'new')
    apply(root, source, union(source))
    assert (root / 'file').read_bytes() == b'new'
    assert (root / 'linked').read_bytes() == b'old'


@pytest.mark.parametrize('removed', [b'link/file', b'file/below', b'missing/x', b'missing'])
def test_nothing_is_removed_through_a_link(tmp_path: Path, removed: bytes) -> None:
    outside = write(tmp_path / 'outside/file', b'')
    root = tmp_path / 'root'
    write(root / 'file', b'')
    (root / 'link').symlink_to(outside.parent)
    before = describe(tmp_path)
    root_fd = open_tree(str(root))
    try:
        apply_delta(root_fd, root_fd, Delta((removed,), ()))
    except OSError:
        assert removed == b'link/file'
    os.close(root_fd)
    assert describe(tmp_path) == before


def test_links_are_removed_not_what_they_lead_to(tmp_path: Path) -> None:
    write(tmp_path / 'outside/file', b'')
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'link').symlink_to(tmp_path / 'outside')
    write(root / 'dir/a/b', b'')
    (root / 'dir/out').symlink_to(tmp_path / 'outside')
    apply(root, root, Delta((b'dir', b'link'), ()))
    assert describe(root) == {}
    assert (tmp_path / 'outside/file').exists()


def test_directory_in_place_of_a_link_does_not_go_through_it(tmp_path: Path) -> None:
    write(tmp_path / 'outside/keep', b'')
    root, source = tmp_path / 'root', tmp_path / 'source'
    root.mkdir()
    (root / 'd').symlink_to(tmp_path / 'outside')
    write(source / 'd/new', b'')
    apply(root, source, union(source))
    assert stat.S_ISDIR(os.lstat(root / 'd').st_mode)
    assert os.listdir(tmp_path / 'outside') == ['keep']


def kinds(root: Path) -> Dict[str, Path]:
    write(root / 'file', b'x')
    write(root / 'dir/in', b'x')
    (root / 'link').symlink_to('nowhere')
    os.mkfifo(root / 'fifo')
    os.mknod(root / 'char', stat.S_IFCHR, os.makedev(1, 3))
    write(root / 'hard', b'x')
    (root / 'hard-too').hardlink_to(root / 'hard')
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize('before', ['file', 'dir', 'link', 'fifo', 'char', 'hard'])
@pytest.mark.parametrize('after', ['file', 'dir', 'link', 'fifo', 'char', 'hard'])
def test_each_type_becomes_each_other(
    tmp_path: Path, before: str, after: str
) -> None:
    base, tree = tmp_path / 'base', tmp_path / 'tree'
    for where, kind in ((base, before), (tree, after)):
        kinds(where)[kind].rename(where / 'it')
        set_time(where / 'it', 7)
    apply(base, tree, difference(base, tree))
    assert describe(base) == describe(tree)


def test_attributes_that_are_gone_are_taken_away(tmp_path: Path) -> None:
    base, tree = tmp_path / 'base', tmp_path / 'tree'
    (base / 'd').mkdir(parents=True)
    (tree / 'd').mkdir(parents=True)
    os.setxattr(base / 'd', 'user.old', b'1')
    os.setxattr(tree / 'd', 'user.new', b'2')
    apply(base, tree, difference(base, tree))
    assert os.listxattr(base / 'd') == ['user.new']


def test_a_file_is_replaced_and_no_link_is_followed(tmp_path: Path) -> None:
    """Other names of the file keep its content; a directory and a link are in the way."""
    (tmp_path / 'outside').mkdir()
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'file').write_text('old')
    os.link(root / 'file', root / 'other')
    (root / 'link').symlink_to('../outside')
    (root / 'directory').mkdir()
    entry = Entry(b'', Status(0o100640, 0, 0, 1, 0, 0, 0, 7, 7, 0, 0))
    with opened_tree(str(root)) as fd:
        for path in (b'file', b'new/below/file'):
            replace_entry(fd, path, entry, io.BytesIO(b'new'))
        for path in (b'link/file', b'directory', b'../outside/file'):
            with pytest.raises(OSError, match=r'.'):
                replace_entry(fd, path, entry, io.BytesIO(b'new'))
        for path in (b'link/file', b'directory'):
            with pytest.raises(OSError, match=r'.'):
                remove_entry(fd, path)
        for path in (b'none', b'none/below', b'new/below/file'):
            remove_entry(fd, path)
    assert (root / 'file').read_text() == 'new' and (root / 'other').read_text() == 'old'
    assert stat.S_IMODE((root / 'file').stat().st_mode) == 0o640
    assert list((tmp_path / 'outside').iterdir()) == [] == list((root / 'new/below').iterdir())
