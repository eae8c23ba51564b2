# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks of trees that hypothesis finds, against a slow model of dictionaries.

EXACTNESS_EXAMPLES sets how many stacks are tried (half of 100 by default).
"""
from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import List, Optional, Set, Tuple, Union

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.stackbuild.conflicts import Placement
from stacks import Model, Stack, changed, read

EXAMPLES = int(os.environ.get('EXACTNESS_EXAMPLES', '100'))
SETTINGS = settings(
    max_examples=EXAMPLES // 2, deadline=None, derandomize='EXACTNESS_EXAMPLES' not in os.environ,
    suppress_health_check=list(HealthCheck)
)


def full(model: Model) -> Model:
    """With the directories that paths imply."""
    found = dict(model)
    for path in model:
        parts = path.split('/')
        for count in range(1, len(parts)):
            found['/'.join(parts[:count])] = 'd'
    return found


def real(model: Model, path: str, depth: int = 0) -> Optional[str]:
    """Where a path leads in a tree taken as the root, None if nowhere."""
    done = ''
    for part in path.split('/'):
        if part in ('', '.'):
            continue
        if part == '..':
            done = done.rpartition('/')[0]
            continue
        done = f'{done}/{part}' if done else part
        what = model.get(done, '')
        if what.startswith('> '):
            if depth > 20:
                return None
            target = what[2:]
            start = '' if target.startswith('/') else done.rpartition('/')[0]
            found = real(model, f'{start}/{target}', depth + 1)
            if found is None:
                return None
            done = found
    return done


NAMES = st.sampled_from(('a', 'b', 'c', 'lib'))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map('/'.join)
CONTENT = st.sampled_from((
    'one', 'two', 'd', '> a', '> b', '> ../b', '> /a/b', '> /lib', '> ..', '> c/a'
))
MODELS = st.lists(st.tuples(PATHS, CONTENT), max_size=8)
EDITS = st.lists(st.tuples(PATHS, st.one_of(st.none(), CONTENT)), min_size=1, max_size=6)


def built(edits: List[Tuple[str, Union[str, None]]], base: Optional[Model] = None) -> Model:
    model = dict(base or {})
    for path, what in edits:
        model = changed(full(model), {path: what})
    return full(model)


@SETTINGS
@example([], [('a', '> b'), ('b/a', 'one')], [('a/b/a', 'one'), ('b/b/a', 'one')])
@given(MODELS, MODELS, MODELS)
def test_unions_lose_nothing_unsaid(
    one: List[Tuple[str, str]], two: List[Tuple[str, str]], three: List[Tuple[str, str]]
) -> None:
    """Each file of a later stash is found by its path, and those below it as well."""
    with tempfile.TemporaryDirectory() as where, ExitStack() as stack:
        trees = Stack(Path(where), built(one), stack)
        for later in (built(two), built(three)):
            before = read(trees.root)
            try:
                placement = trees.put(later)
            except KiwiStashArgumentInvalid:
                assert read(trees.root) == before
                return
            after = read(trees.root)
            assert trees.seen() == after
            check_later(later, after)
            check_earlier(before, after, placement, later)


def check_later(later: Model, after: Model) -> None:
    for path, what in later.items():
        if what == 'd':
            place = real(after, path)
            assert place == '' or (place is not None and after.get(place) == 'd')
        elif not what.startswith('> '):
            place = real(after, path)
            assert place is not None and after.get(place) == what, path


def check_earlier(
    before: Model, after: Model, placement: Placement, later: Model
) -> None:
    told = {os.fsdecode(path) for path in placement.conflicts}
    for path, what in before.items():
        if what == 'd':
            empty = not any(name.startswith(path + '/') for name in before)
            assert after.get(path) == 'd' or path in told or (
                not empty or path in later
            )
        else:
            assert after.get(path) == what or path in told, path
    for path in told:
        assert path in before and after.get(path) != before[path]


@SETTINGS
@given(MODELS, EDITS, EDITS)
def test_changes_of_a_common_base(
    base: List[Tuple[str, str]], one: List[Tuple[str, Optional[str]]],
    two: List[Tuple[str, Optional[str]]]
) -> None:
    """Against a merge of dictionaries, wherever no link is in play."""
    ancestor = built(base)
    left, right = built(one, ancestor), built(two, ancestor)
    with tempfile.TemporaryDirectory() as where, ExitStack() as stack:
        trees = Stack(Path(where), ancestor, stack)
        trees.put(left, trees.readers[0])
        assert trees.seen() == read(trees.root) == left
        try:
            placement = trees.put(right, trees.readers[0])
        except KiwiStashArgumentInvalid:
            assert read(trees.root) == left
            return
        after = read(trees.root)
        assert trees.seen() == after
        if placement.moved:
            return
        assert after == merged(ancestor, left, right)
        told = {os.fsdecode(path) for path in placement.conflicts}
        assert told == contradictions(ancestor, left, right, after)


def merged(ancestor: Model, left: Model, right: Model) -> Model:
    """What right changed of the ancestor, done to left, path by path."""
    result = dict(left)
    for path in sorted(ancestor):
        if path not in right:
            result = without(result, path)
    for path, what in sorted(right.items()):
        if ancestor.get(path) == what:
            continue
        if what == 'd' and result.get(path) == 'd':
            continue
        parts = path.split('/')
        for count in range(1, len(parts)):
            above = '/'.join(parts[:count])
            if result.get(above) != 'd':
                result = without(result, above)
                result[above] = 'd'
        result = without(result, path)
        result[path] = what
    return result


def without(model: Model, path: str) -> Model:
    return {
        name: what for name, what in model.items()
        if name != path and not name.startswith(path + '/')
    }


def contradictions(
    ancestor: Model, left: Model, right: Model, after: Model
) -> Set[str]:
    """What left had changed and is not there any more, and is not what right kept."""
    found = set()
    for path in {*ancestor, *left, *right}:
        was, here, now = ancestor.get(path), left.get(path), after.get(path)
        if here in (now, was):
            continue
        if here == 'd' and any(name.startswith(path + '/') for name in left):
            continue
        if here is None and (was == now == 'd' or right.get(path) == was):
            continue
        if here is None and was is None:
            continue
        found.add(path)
    return found
