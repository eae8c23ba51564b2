# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks of trees: where all goes, what is refused, and what contradicts."""
from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.tree.apply import apply_delta
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Trust, compare
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from stacks import Model, Stack, changed, read


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as closed:
        yield closed


MERGED: Model = {
    'usr/lib/ld.so': 'ld', 'lib': '> usr/lib', 'lib64': '> /usr/lib64',
    'usr/lib64/x': 'x', 'bin': '> usr/bin', 'usr/bin/sh': 'sh', 'run': 'd',
    'var/run': '> ../run', 'var/lock': '> /var/run/lock', 'run/lock': 'd',
    'opt/out': '> ../../../../../etc', 'etc/passwd': 'p', 'opt/loop': '> loop',
    'opt/none': '> nowhere', 'opt/file': '> ../etc/passwd', 'opt/top': '> /',
}


@pytest.mark.parametrize(('later', 'there', 'moved'), [
    # what another stash has, what is there then, and the directories that moved
    ({'lib/firmware/x': 'f'}, {'usr/lib/firmware/x': 'f', 'lib': '> usr/lib'}, ['lib']),
    ({'lib64/y': 'y'}, {'usr/lib64/y': 'y', 'lib64': '> /usr/lib64'}, ['lib64']),
    ({'lib/ld.so': 'new'}, {'usr/lib/ld.so': 'new'}, ['lib']),
    ({'bin': 'd'}, {'bin': '> usr/bin', 'usr/bin/sh': 'sh'}, ['bin']),
    ({'var/run/pid': '1'}, {'run/pid': '1', 'var/run': '> ../run'}, ['var/run']),
    ({'var/lock/l': '1'}, {'run/lock/l': '1'}, ['var/lock']),
    ({'var/run/lock/l': '1', 'var/lock/m': '2'},
     {'run/lock/l': '1', 'run/lock/m': '2'}, ['var/lock', 'var/run']),
    ({'opt/out/new': 'n'}, {'etc/new': 'n', 'etc/passwd': 'p'}, ['opt/out']),
    ({'opt/top/etc/new': 'n'}, {'etc/new': 'n', 'etc/passwd': 'p'}, ['opt/top']),
    # nothing to follow: the directory is made
    ({'opt/loop/new': 'n'}, {'opt/loop': 'd', 'opt/loop/new': 'n'}, []),
    ({'opt/none/new': 'n'}, {'opt/none': 'd', 'opt/none/new': 'n'}, []),
    ({'opt/file/new': 'n'}, {'opt/file': 'd', 'etc/passwd': 'p'}, []),
    # two names of one file in the other stash
    ({'bin/which': 'w', 'usr/bin/which': '> /bin/which'}, {'usr/bin/which': 'w'}, ['bin']),
    ({'bin/awk': '> ../usr/bin/awk', 'usr/bin/awk': 'a'}, {'usr/bin/awk': 'a'}, ['bin']),
    ({'bin/two': 'same', 'usr/bin/two': 'same'}, {'usr/bin/two': 'same'}, ['bin']),
    ({'lib64/a': 'a', 'usr/lib64': '> ../lib64'},
     {'usr/lib64': 'd', 'usr/lib64/a': 'a', 'usr/lib64/x': 'x'}, ['lib64']),
])
def test_directories_go_where_links_below_lead(
    tmp_path: Path, stack: ExitStack, later: Model, there: Model, moved: List[str]
) -> None:
    trees = Stack(tmp_path, MERGED, stack)
    placement = trees.put(later)
    found = read(trees.root)
    assert {path: found.get(path) for path in there} == there
    assert sorted(map(os.fsdecode, placement.moved)) == moved
    assert trees.seen() == found


@pytest.mark.parametrize(('later', 'told'), [
    ({'bin/two': 'one', 'usr/bin/two': 'other'}, 'bin/two and usr/bin/two are one place'),
    ({'usr': '> lib'}, 'usr is a link to lib, in a stash below it a directory'),
    ({'var/run/x': '1', 'run/x': '2'}, 'run/x and var/run/x are one place'),
])
def test_what_cannot_be_put_together_is_refused(
    tmp_path: Path, stack: ExitStack, later: Model, told: str
) -> None:
    trees = Stack(tmp_path, MERGED, stack)
    before = read(trees.root)
    with pytest.raises(KiwiStashArgumentInvalid) as issue:
        trees.put(later)
    assert told in issue.value.summary and '\n' not in issue.value.summary
    assert read(trees.root) == before


def test_hard_links_and_removals_go_along(tmp_path: Path, stack: ExitStack) -> None:
    trees = Stack(tmp_path, {'lib/a': 'a', 'lib/gone': 'g', 'keep': 'k'}, stack)
    # one merges /usr, two knows nothing of it
    trees.put(
        {'usr/lib/a': 'a', 'usr/lib/gone': 'g', 'lib': '> usr/lib', 'keep': 'k'},
        trees.readers[0]
    )
    two = {'lib/a': 'a', 'lib/b': 'b', 'keep': 'k'}
    trees.add(two)
    os.link(trees.where / 'tree3/lib/b', trees.where / 'tree3/lib/c')
    os.utime(trees.where / 'tree3/lib', (7, 7))
    source, base = trees.readers[-1], trees.readers[0]
    delta = compare(
        scan(base.fd), scan(source.fd), ContentComparer(base.fd, source.fd), Trust()
    )
    placement = trees.state.place(base, source, delta)
    fd = open_tree(str(trees.root))
    apply_delta(fd, source.fd, placement.delta, placement.moved)
    os.close(fd)
    assert read(trees.root) == {
        'usr': 'd', 'usr/lib': 'd', 'usr/lib/a': 'a', 'usr/lib/b': 'b', 'usr/lib/c': 'b',
        'lib': '> usr/lib', 'keep': 'k'
    }
    assert os.lstat(trees.root / 'usr/lib/b').st_nlink == 2
    assert placement.conflicts == ()


A: Model = {'d/x': 'x', 'd/y': 'y', 'f': 'f', 'l': '> d'}


@pytest.mark.parametrize(('one', 'two', 'conflicts'), [
    # what each of two makes of A, and where they contradict each other
    ({'d': 'file'}, {'d/x': 'new'}, ['d', 'd/x']),
    ({'d': 'file'}, {'d/new': 'new'}, ['d']),
    ({'d': '> f'}, {'d/new': 'new'}, ['d']),
    ({'d/x': 'new'}, {'d': 'file'}, ['d/x']),
    ({'d/x': 'new'}, {'d': '> f'}, ['d/x']),
    ({'d/new': 'new'}, {'d': 'file'}, ['d/new']),
    ({'d/sub': 'd'}, {'d': 'file'}, ['d/sub']),
    ({'e': 'd'}, {'e': 'file'}, ['e']),
    ({'e/x': 'x'}, {'e': 'file'}, ['e/x']),
    ({'e': 'file'}, {'e/x': 'x'}, ['e']),
    ({'f/x': 'x'}, {'f': 'new'}, ['f/x']),
    ({'f': 'd'}, {'f': None}, ['f']),
    ({'f': 'new'}, {'f': 'd'}, ['f']),
    ({'l': '> f'}, {'l/x': 'x'}, ['l']),
    ({'l': '> f'}, {'l': '> nowhere'}, ['l']),
    ({'d': None}, {'d/x': 'new'}, ['d/x']),
    ({'d/x': 'new'}, {'d': None}, ['d/x']),
    ({'d': 'file'}, {'d': None}, ['d']),
    # what does not
    ({'d/x': 'new'}, {'d/x': 'new'}, []),
    ({'d/x': None}, {'d': None}, []),
    ({'d': 'file'}, {'d': 'file'}, []),
    ({'d': None}, {'d': None}, []),
    ({'d': 'file'}, {'f': 'new'}, []),
    ({'f': 'new'}, {'d': 'file'}, []),
    ({'f': 'new'}, {'l/x': 'x'}, []),
    ({'f': 'new'}, {'f': None, 'd': None}, ['f']),
])
def test_conflicts_of_two_with_a_common_base(
    tmp_path: Path, stack: ExitStack, one: Dict[str, Optional[str]],
    two: Dict[str, Optional[str]], conflicts: List[str]
) -> None:
    trees = Stack(tmp_path, A, stack)
    for change in (one, two):
        placement = trees.put(changed(A, change), trees.readers[0])
        assert trees.seen() == read(trees.root)
    assert [os.fsdecode(path) for path in placement.conflicts] == conflicts


def test_the_search_for_conflicts_is_linear(tmp_path: Path, stack: ExitStack) -> None:
    """Eight times as much to remove and changed: eight times as long, not 64."""
    took = []
    for number, size in enumerate((150, 1200)):
        base = {f'd{n}/f{m}': 'old' for n in range(size) for m in range(5)}
        where = tmp_path / str(number)
        where.mkdir()
        trees = Stack(where, base, stack)
        trees.put(dict.fromkeys(base, 'new'), trees.readers[0])
        trees.add({'keep': 'k'})
        source, ancestor = trees.readers[-1], trees.readers[0]
        delta = compare(
            scan(ancestor.fd), scan(source.fd), lambda path: True, Trust()
        )
        began = time.process_time()
        placement = trees.state.place(ancestor, source, delta)
        took.append(time.process_time() - began)
        assert len(delta.removed) == size
        assert len(placement.conflicts) == size * 5
    assert took[1] < 16 * max(took[0], 0.02)
