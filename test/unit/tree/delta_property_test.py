# SPDX-License-Identifier: GPL-3.0-or-later
"""base + layer == tree, for any pair that hypothesis finds.

EXACTNESS_EXAMPLES sets how many pairs are tried (100 by default).
"""
from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiwi_stackbuild_plugin.layer.blob import write_layer
from kiwi_stackbuild_plugin.tree.apply import apply_delta
from kiwi_stackbuild_plugin.tree.delta import PARENT, Delta, Trust, whole_tree
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from mutations import OPERATIONS, Operation, mutate
from oracle import apply_layer, read_layer
from pairs import copy, find_delta, moment_of, write_delta
from trees import describe

EXAMPLES = int(os.environ.get('EXACTNESS_EXAMPLES', '100'))
#: what a layer cannot hold is the subject of extras_test.py
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize='EXACTNESS_EXAMPLES' not in os.environ,
    suppress_health_check=list(HealthCheck)
)

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
    apply_layer(write_delta(where / 'blobs', tree, delta), base)
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
    for path in delta.removed:
        parent = path.rpartition(b'/')[0]
        # topmost only, and never in what is no directory any more
        assert not parent or stat.S_ISDIR(new.get(parent, (0,))[0]), path
    touched = carried | set(delta.removed)
    for change in delta.changes:
        if change.kind == PARENT:
            assert old[change.entry.path] == new[change.entry.path]
            assert any(
                path.startswith(change.entry.path + b'/') for path in touched
            )


@SETTINGS
@given(st.lists(OPERATIONS, min_size=2, max_size=6))
def test_successive_layers_make_the_last_tree(
    scratch: Path, steps: List[List[Operation]]
) -> None:
    where = fresh(scratch)
    tree = where / 'tree'
    tree.mkdir()
    for operations in steps:
        mutate(tree, operations)
        delta = find_delta(where / 'base', tree)
        apply_layer(write_delta(where / 'blobs', tree, delta), where / 'base')
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
