# SPDX-License-Identifier: GPL-3.0-or-later
"""base + layer == tree, for any pair that hypothesis finds.

EXACTNESS_EXAMPLES sets how many pairs are tried (100 by default).
"""
from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiwi_stackbuild_plugin.apply import apply_delta
from kiwi_stackbuild_plugin.content import ContentComparer
from kiwi_stackbuild_plugin.delta import (
    PARENT, Delta, Trust, compare, whole_tree
)
from kiwi_stackbuild_plugin.layer import write_layer
from kiwi_stackbuild_plugin.tree import open_tree, scan
from mutations import OPERATIONS, Operation, mutate
from oracle import apply_layer, read_layer
from trees import describe

EXAMPLES = int(os.environ.get('EXACTNESS_EXAMPLES', '100'))
#: what a layer cannot hold is the subject of extras_test.py
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize='EXACTNESS_EXAMPLES' not in os.environ,
    suppress_health_check=list(HealthCheck)
)

DISTRUST = Trust()

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason='devices and owners need root'
)


@pytest.fixture(scope='module')
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix='exactness-') as path:
        yield Path(path)


def fresh(scratch: Path) -> Path:
    where = Path(tempfile.mkdtemp(dir=scratch))
    (where / 'blobs').mkdir()
    (where / 'base').mkdir()
    return where


def copy(source: Path, target: Path) -> Path:
    subprocess.run(['cp', '-a', '-T', source, target], check=True)
    return target


def find_delta(base: Path, tree: Path, trust: Trust = DISTRUST) -> Delta:
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    try:
        return compare(
            scan(base_fd), scan(tree_fd), ContentComparer(base_fd, tree_fd), trust
        )
    finally:
        os.close(base_fd)
        os.close(tree_fd)


def write(where: Path, tree: Path, delta: Delta) -> str:
    tree_fd = open_tree(str(tree))
    try:
        return write_layer(
            str(where / 'blobs'), tree_fd, delta.removed, delta.changes
        ).path
    finally:
        os.close(tree_fd)


def moment_of(tree: Path) -> int:
    # a file of the same tick of the clock counts as touched
    time.sleep(0.02)
    probe = tree.parent / 'probe'
    probe.write_bytes(b'')
    moment = os.lstat(probe).st_ctime_ns
    probe.unlink()
    return moment


@SETTINGS
@given(OPERATIONS, OPERATIONS)
def test_base_and_layer_make_the_tree(
    scratch: Path, before: List[Operation], after: List[Operation]
) -> None:
    where = fresh(scratch)
    base = where / 'base'
    mutate(base, before)
    tree = copy(base, where / 'tree')
    moment = moment_of(tree)
    mutate(tree, after)
    delta = find_delta(base, tree)
    wanted = describe(tree)
    trusting = find_delta(
        base, tree, Trust(moment, False, os.lstat(tree).st_ctime_ns >= moment)
    )
    assert outline(trusting) == outline(delta), 'the moment must only spare reading'
    check_minimal(base, tree, delta)
    apply_layer(write(where, tree, delta), base)
    assert describe(base) == wanted
    assert find_delta(base, tree).is_empty
    assert describe(tree) == wanted


def outline(delta: Delta) -> Tuple[Any, ...]:
    return delta.removed, [
        (change.kind, change.entry.path, change.link) for change in delta.changes
    ]


def check_minimal(base: Path, tree: Path, delta: Delta) -> None:
    """Nothing is in it but what differs, its parents and link partners."""
    old, new = describe(base), describe(tree)
    partners: Dict[bytes, Set[bytes]] = {}
    for path, entry in new.items():
        partners.setdefault(entry[6], set()).add(path)
    differing = {path for path in new if old.get(path) != new[path]}
    regrouped = {
        member for members in partners.values() if members & differing
        for member in members
    }
    carried = {
        change.entry.path for change in delta.changes if change.kind != PARENT
    }
    assert carried <= regrouped, carried - regrouped
    assert set(delta.removed) <= set(old) - set(new)
    touched = carried | set(delta.removed)
    for change in delta.changes:
        if change.kind == PARENT:
            assert old[change.entry.path] == new[change.entry.path]
            assert any(
                path.startswith(change.entry.path + b'/') for path in touched
            )


@SETTINGS
@given(st.lists(OPERATIONS, min_size=2, max_size=10))
def test_successive_layers_make_the_last_tree(
    scratch: Path, steps: List[List[Operation]]
) -> None:
    where = fresh(scratch)
    tree = where / 'tree'
    tree.mkdir()
    for operations in steps:
        mutate(tree, operations)
        apply_layer(write(where, tree, find_delta(where / 'base', tree)), where / 'base')
        assert describe(where / 'base') == describe(tree)


@SETTINGS
@given(OPERATIONS)
def test_whole_tree_is_a_layer_on_nothing(
    scratch: Path, operations: List[Operation]
) -> None:
    where = fresh(scratch)
    tree = where / 'tree'
    tree.mkdir()
    mutate(tree, operations)
    tree_fd = open_tree(str(tree))
    layer = write_layer(
        str(where / 'blobs'), tree_fd, (), whole_tree(scan(tree_fd))
    )
    os.close(tree_fd)
    assert len(read_layer(layer.path)) == len(describe(tree))
    apply_layer(layer.path, where / 'base')
    assert describe(where / 'base') == describe(tree)


@SETTINGS
@given(OPERATIONS, OPERATIONS)
def test_our_own_applier_makes_the_tree(
    scratch: Path, before: List[Operation], after: List[Operation]
) -> None:
    """What stackbuild does with a further stash."""
    where = fresh(scratch)
    base = where / 'base'
    mutate(base, before)
    tree = copy(base, where / 'tree')
    mutate(tree, after)
    delta = find_delta(base, tree)
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    apply_delta(base_fd, tree_fd, delta)
    os.close(base_fd)
    os.close(tree_fd)
    assert describe(base) == describe(tree)


def test_rounded_times_are_compared_by_content(tmp_path: Path) -> None:
    def make(name: str, moment: int, content: bytes = b'x') -> Any:
        tree = tmp_path / name
        tree.mkdir()
        (tree / 'file').write_bytes(content)
        os.utime(tree / 'file', ns=(moment, moment))
        return tree
    second = 1_600_000_000 * 10**9
    base = make('base', second)
    for name, moment, content, trust, empty in (
        ('cut', second + 999_999_999, b'x', Trust(rounded=True), True),
        ('other', second + 999_999_999, b'y', Trust(rounded=True), False),
        ('exact', second + 999_999_999, b'x', Trust(), False),
        ('next', second + 10**9, b'x', Trust(rounded=True), False)
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
