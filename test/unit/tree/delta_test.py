# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a change, where times alone cannot tell."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, List

import pytest

from kiwi_stackbuild_plugin.tree.delta import CHANGED, Trust, compare
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from pairs import copy, find_delta, moment_of
from zoo import acl, set_time, write

SECOND = 10**9


def read_for(base: Path, tree: Path, trust: Trust) -> List[bytes]:
    """Return the paths of the files whose contents had to be compared."""
    read: List[bytes] = []

    def same_content(path: bytes) -> bool:
        read.append(path)
        return True
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    compare(scan(base_fd), scan(tree_fd), same_content, trust)
    os.close(base_fd)
    os.close(tree_fd)
    return read


def rewrite(path: Path) -> None:
    """Write other content of the same size, and set the time back."""
    moment = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[::-1])
    set_time(path, moment)


def relink(path: Path) -> None:
    moment = os.lstat(path).st_mtime_ns
    target = os.readlink(path)
    path.unlink()
    path.symlink_to(target[::-1])
    set_time(path, moment)


def remake(path: Path) -> None:
    """Make another device, of the same time."""
    moment = os.lstat(path).st_mtime_ns
    path.unlink()
    os.mknod(path, 0o020644, os.makedev(1, 5))
    set_time(path, moment)


@pytest.mark.parametrize('path, change', [
    ('dir/file', rewrite), ('dir/link', relink), ('dir/null', remake),
    ('dir/file', lambda path: path.chmod(0o4711)),
    ('dir', lambda path: path.chmod(0o700)),
    ('dir/link', lambda path: os.chown(path, 5, 5, follow_symlinks=False)),
    ('dir/file', lambda path: os.chown(path, 5, 0)),
    ('dir/file', lambda path: os.chown(path, 0, 5)),
    ('dir/file', lambda path: set_time(path, 7)),
    ('dir/file', lambda path: set_time(path, path.stat().st_mtime_ns + 1)),
    ('dir', lambda path: set_time(path, 7)), ('dir/link', lambda path: set_time(path, 7)),
    ('dir/file', lambda path: os.setxattr(path, 'user.a', b'1')),
    ('dir/link', lambda path: os.setxattr(path, 'trusted.a', b'1', follow_symlinks=False)),
    ('dir/file', lambda path: os.setxattr(
        path, 'system.posix_acl_access', acl((7, 4), mode=0o644))),
    ('dir', lambda path: os.setxattr(path, 'system.posix_acl_default', acl((7, 4))))
])
@pytest.mark.parametrize('trusting', [False, True])
def test_each_single_change_is_seen(
    tmp_path: Path, path: str, change: Callable[[Path], Any], trusting: bool
) -> None:
    base = tmp_path / 'base'
    write(base / 'dir/file', b'some')
    (base / 'dir/file').chmod(0o644)
    (base / 'dir/link').symlink_to('some')
    os.mknod(base / 'dir/null', 0o020644, os.makedev(1, 3))
    tree = copy(base, tmp_path / 'tree')
    folder = (tree / 'dir').stat().st_mtime_ns
    trust = Trust(moment_of(tree), False, False) if trusting else Trust()
    assert find_delta(base, tree, trust).is_empty
    change(tree / path)
    if path != 'dir':
        set_time(tree / 'dir', folder)
    delta = find_delta(base, tree, trust)
    assert [
        os.fsdecode(item.entry.path) for item in delta.changes if item.kind == CHANGED
    ] == [path]
    assert delta.removed == ()


def test_only_files_touched_since_are_read(tmp_path: Path) -> None:
    base = tmp_path / 'base'
    for name in ('a/one', 'a/two', 'b/one', 'empty'):
        write(base / name, name.encode() * (name != 'empty'))
    tree = copy(base, tmp_path / 'tree')
    assert read_for(base, tree, Trust()) == [b'a/one', b'a/two', b'b/one']
    moment = moment_of(tree)
    assert read_for(base, tree, Trust(moment)) == []
    os.chown(tree / 'a/one', 0, 0)
    assert read_for(base, tree, Trust(moment)) == [b'a/one']
    os.utime(tree / 'a/two', ns=(5, (base / 'a/two').stat().st_mtime_ns))
    assert read_for(base, tree, Trust(moment)) == [b'a/one', b'a/two']
    assert read_for(base, tree, Trust(moment, rounded=True)) == [b'a/one', b'a/two']


def test_new_file_does_not_make_its_neighbours_be_read(tmp_path: Path) -> None:
    """A directory whose parent is untouched cannot have come by a rename."""
    base = tmp_path / 'base'
    write(base / 'usr/lib/sub/file', b'some')
    tree = copy(base, tmp_path / 'tree')
    moment = moment_of(tree)
    write(tree / 'usr/lib/new', b'')
    assert read_for(base, tree, Trust(moment, root_touched=False)) == []
    assert read_for(base, tree, Trust(moment, root_touched=True)) == []
    write(tree / 'usr/new', b'')
    assert read_for(base, tree, Trust(moment, root_touched=False)) == [
        b'usr/lib/sub/file'
    ]


def test_rounded_times_are_compared_by_content(tmp_path: Path) -> None:
    def make(name: str, moment: int, content: bytes = b'x') -> Any:
        tree = tmp_path / name
        tree.mkdir()
        (tree / 'file').write_bytes(content)
        os.utime(tree / 'file', ns=(moment, moment))
        return tree
    second = 1_600_000_000 * SECOND
    base = make('base', second)
    for name, moment, content, trust, empty in (
        ('cut', second + 999_999_999, b'x', Trust(rounded=True), True),
        ('other', second + 999_999_999, b'y', Trust(rounded=True), False),
        ('exact', second + 999_999_999, b'x', Trust(), False),
        ('next', second + SECOND, b'x', Trust(rounded=True), False)
    ):
        assert find_delta(base, make(name, moment, content), trust).is_empty is empty
    both = make('both', second + 1)
    assert not find_delta(both, tmp_path / 'cut', Trust(rounded=True)).is_empty


def test_swapped_directories_of_equal_files_are_seen(tmp_path: Path) -> None:
    """A rename leaves the ctimes of what is in the directory."""
    base = tmp_path / 'base'
    for name in ('top/one', 'top/two', 'top/three'):
        (base / name / 'sub').mkdir(parents=True)
        (base / name / 'sub/file').write_text(name[:7])
        os.utime(base / name / 'sub/file', (7, 7))
    tree = copy(base, tmp_path / 'tree')
    moment = moment_of(tree)
    (tree / 'top/one').rename(tree / 'aside')
    (tree / 'top/two').rename(tree / 'top/one')
    (tree / 'aside').rename(tree / 'top/two')
    read: List[bytes] = []

    def same_content(path: bytes) -> bool:
        read.append(path)
        return False
    for path in (tree, tree / 'top', base, base / 'top'):
        os.utime(path, (7, 7))
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    compare(scan(base_fd), scan(tree_fd), same_content, Trust(moment, root_touched=False))
    os.close(base_fd)
    os.close(tree_fd)
    assert read == [b'top/one/sub/file', b'top/two/sub/file']
