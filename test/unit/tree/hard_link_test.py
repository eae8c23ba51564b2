# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard links moved in and out of groups: what the layer carries, what it makes."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List

import pytest

from kiwi_stackbuild_plugin.layer.blob import write_layer
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import ADDED, CHANGED, PARENT, Delta, Trust, compare
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from oracle import apply_layer
from trees import describe


def make(root: Path, groups: List[str]) -> None:
    """Make files: names of a group, separated by blanks, are hard links.

    All have the same content and time, so that only the links tell.
    """
    for group in groups:
        head, *others = group.split()
        (root / head).parent.mkdir(parents=True, exist_ok=True)
        (root / head).write_bytes(b'same')
        os.utime(root / head, (7, 7))
        for other in others:
            (root / other).parent.mkdir(parents=True, exist_ok=True)
            (root / other).hardlink_to(root / head)
    for directory, _, _ in os.walk(root, topdown=False):
        os.utime(directory, (7, 7))


def make_delta(base: Path, tree: Path, where: Path) -> Delta:
    """Compare, then apply the layer to the base."""
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    delta = compare(
        scan(base_fd), scan(tree_fd), ContentComparer(base_fd, tree_fd), Trust()
    )
    where.mkdir()
    layer = write_layer(str(where), tree_fd, delta.removed, delta.changes)
    os.close(base_fd)
    os.close(tree_fd)
    apply_layer(layer.path, base)
    return delta


@pytest.mark.parametrize('before, after, carried, removed', [
    (['a b'], ['a b'], {}, []),
    (['d/a e/b'], ['d/a e/b'], {}, []),
    (['a b'], ['a', 'b'], {'b': ''}, []),
    (['a', 'b'], ['a b'], {'a': '', 'b': 'a'}, []),
    (['a b c'], ['a b', 'c'], {'c': ''}, []),
    (['a b c'], ['a', 'b c'], {'b': '', 'c': 'b'}, []),
    (['a b c'], ['a', 'b', 'c'], {'b': '', 'c': ''}, []),
    (['a b', 'c d'], ['a c', 'b d'], {'a': '', 'c': 'a', 'b': '', 'd': 'b'}, []),
    (['a b', 'c d'], ['a b c d'], {'a': '', 'b': 'a', 'c': 'a', 'd': 'a'}, []),
    (['a b'], ['a c'], {'a': '', 'c': 'a'}, ['b']),
    (['a b'], ['a'], {}, ['b']),
    (['a b'], ['b'], {}, ['a']),
    (['a'], ['a b'], {'a': '', 'b': 'a'}, []),
    ([], ['d/a e/b'], {'d/a': '', 'e/b': 'd/a'}, []),
    (['a/x'], ['a b'], {'a': '', 'b': 'a'}, []),
    (['a b'], ['a/x', 'b'], {'a/x': ''}, []),
    (['a/x b'], ['a', 'b'], {'a': ''}, []),
    (['d/a d/b'], ['e/a e/b'], {'e/a': '', 'e/b': 'e/a'}, ['d'])
])
def test_groups(
    tmp_path: Path, before: List[str], after: List[str], carried: Dict[str, str],
    removed: List[str]
) -> None:
    base, tree = tmp_path / 'base', tmp_path / 'tree'
    for root, groups in ((base, before), (tree, after)):
        root.mkdir()
        make(root, groups)
    delta = make_delta(base, tree, tmp_path / 'blobs')
    assert describe(base) == describe(tree)
    found: Dict[str, Any] = {
        os.fsdecode(change.entry.path): os.fsdecode(change.link)
        for change in delta.changes
        if change.kind != PARENT and not change.entry.is_dir
    }
    assert found == carried
    assert [os.fsdecode(path) for path in delta.removed] == removed


def test_changed_group_is_carried_as_a_whole(tmp_path: Path) -> None:
    base, tree = tmp_path / 'base', tmp_path / 'tree'
    for root in (base, tree):
        root.mkdir()
        make(root, ['a b', 'c', 'd/e d/f'])
    (tree / 'b').write_bytes(b'else')
    os.utime(tree / 'b', (7, 7))
    delta = make_delta(base, tree, tmp_path / 'blobs')
    assert [(change.kind, change.entry.path) for change in delta.changes] == [
        (CHANGED, b'a'), (CHANGED, b'b')
    ]
    assert describe(base) == describe(tree)


@pytest.mark.parametrize('kind', ['mode', 'owner', 'xattr', 'time'])
def test_metadata_of_a_group(tmp_path: Path, kind: str) -> None:
    base, tree = tmp_path / 'base', tmp_path / 'tree'
    for root in (base, tree):
        root.mkdir()
        make(root, ['a b', 'c'])
    if kind == 'mode':
        (tree / 'b').chmod(0o4755)
    elif kind == 'owner':
        os.chown(tree / 'b', 5, 6)
    elif kind == 'xattr':
        os.setxattr(tree / 'b', 'user.a', b'1')
    else:
        os.utime(tree / 'b', (8, 8))
    assert make_delta(base, tree, tmp_path / 'blobs').count(CHANGED) == 2
    assert describe(base) == describe(tree)


def test_parents_come_with_what_is_in_them(tmp_path: Path) -> None:
    base, tree = tmp_path / 'base', tmp_path / 'tree'
    for root in (base, tree):
        (root / 'x/y/z').mkdir(parents=True)
        make(root, ['x/y/z/a', 'x/other', 'w/a', 'v/gone/deep'])
        (root / 'x/y').chmod(0o2750)
    (tree / 'x/y/z/a').write_bytes(b'else')
    (tree / 'v/gone/deep').unlink()
    os.utime(tree / 'v/gone', (7, 7))
    delta = make_delta(base, tree, tmp_path / 'blobs')
    assert delta.removed == (b'v/gone/deep',)
    assert [(change.kind, change.entry.path) for change in delta.changes] == [
        (PARENT, b'v'), (PARENT, b'v/gone'), (PARENT, b'x'), (PARENT, b'x/y'),
        (PARENT, b'x/y/z'), (CHANGED, b'x/y/z/a')
    ]
    assert (delta.count(ADDED), delta.is_empty) == (0, False)
    assert describe(base) == describe(tree)
