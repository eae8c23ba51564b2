# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries that differ by their time alone, where such times do not matter."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from pairs import DISTRUST, copy, moment_of
from zoo import set_time, write

OLD, NEW = 1_500_000_000 * 10**9, 1_600_000_000 * 10**9 + 1


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / 'base'
    for name in ('d/file', 'd/other', 'e/one'):
        write(base / name, name.encode())
    os.link(base / 'e/one', base / 'e/two')
    (base / 'd/link').symlink_to('file')
    os.mkfifo(base / 'd/pipe')
    return age(base, OLD)


def age(tree: Path, moment: int) -> Path:
    for path in sorted(tree.rglob('*'), reverse=True):
        set_time(path, moment)
    return tree


def find(
    base: Path, tree: Path, trust: Trust = DISTRUST, matters: Tuple[bytes, ...] = ()
) -> Tuple[Delta, List[bytes]]:
    """Return the delta, and which files were read."""
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    comparer, read = ContentComparer(base_fd, tree_fd), []

    def same_content(path: bytes) -> bool:
        read.append(path)
        return comparer(path)
    try:
        return compare(
            scan(base_fd), scan(tree_fd), same_content, trust,
            lambda entry: entry.path in matters
        ), read
    finally:
        os.close(base_fd)
        os.close(tree_fd)


ALL = {b'd', b'd/file', b'd/link', b'd/other', b'd/pipe', b'e', b'e/one', b'e/two'}


def test_times_alone_are_no_change(base: Path, tmp_path: Path) -> None:
    tree = age(copy(base, tmp_path / 'tree'), NEW)
    delta, read = find(base, tree)
    assert delta.is_empty
    assert delta.kept_times == dict.fromkeys(ALL, OLD)
    assert read == [b'd/file', b'd/other', b'e/one'], 'one of the links'


def break_link(tree: Path) -> None:
    (tree / 'e/two').unlink()
    write(tree / 'e/two', b'e/one')


@pytest.mark.parametrize('change, changed, kept', [
    (lambda tree: (tree / 'd/file').chmod(0o600), 'P d, C d/file', ALL - {b'd/file'}),
    (lambda tree: (tree / 'd/file').write_text('d/fil!'), 'P d, C d/file', ALL - {b'd/file'}),
    (lambda tree: write(tree / 'd/new', b''), 'P d, A d/new', ALL),
    (lambda tree: (tree / 'd/link').unlink(), 'P d', ALL - {b'd/link'}),
    (lambda tree: os.setxattr(tree / 'd', 'user.a', b''), 'C d', ALL - {b'd'}),
    (lambda tree: (tree / 'e/one').write_text('e/on!'), 'P e, C e/one, C e/two',
     ALL - {b'e/one', b'e/two'}),
    # one inode of the base can be the source of one of them
    (break_link, 'P e, C e/two', ALL - {b'e/two'}),
])
def test_what_else_differs_is_carried(
    base: Path, tmp_path: Path, change: Any, changed: str, kept: Dict[bytes, int]
) -> None:
    """With its own time; a directory that is there for it has that of the base."""
    tree = copy(base, tmp_path / 'tree')
    change(tree)
    delta, _ = find(base, age(tree, NEW))
    assert ', '.join(
        f'{change.kind} {change.entry.path.decode()}' for change in delta.changes
    ) == changed
    assert delta.kept_times == dict.fromkeys(kept, OLD)
    for kind, entry, _ in delta.changes:
        assert entry.stat.st_mtime_ns == (OLD if kind == 'P' else NEW), entry.path


@pytest.mark.parametrize('matters, changed', [
    (b'd/file', ['d', 'd/file']), (b'e/one', ['e', 'e/one', 'e/two']),
    (b'e/two', ['e', 'e/one', 'e/two']),
])
def test_time_that_matters_is_carried(
    base: Path, tmp_path: Path, matters: bytes, changed: List[str]
) -> None:
    tree = age(copy(base, tmp_path / 'tree'), NEW)
    delta, _ = find(base, tree, matters=(matters,))
    assert [change.entry.path.decode() for change in delta.changes] == changed


def test_only_what_was_touched_is_read_again(base: Path, tmp_path: Path) -> None:
    tree = age(copy(base, tmp_path / 'tree'), NEW)
    trust = Trust(moment_of(tree), False, False)
    assert find(base, tree, trust)[1] == []
    (tree / 'd/file').write_text('d/fil!')
    set_time(tree / 'd/file', NEW)
    delta, read = find(base, tree, trust)
    assert read == [b'd/file'] and not delta.is_empty


def test_what_has_other_metadata_is_not_read(base: Path, tmp_path: Path) -> None:
    tree = age(copy(base, tmp_path / 'tree'), NEW)
    (tree / 'd/file').chmod(0o600)
    (tree / 'd/other').write_text('longer than it was')
    assert find(base, tree)[1] == [b'e/one']
