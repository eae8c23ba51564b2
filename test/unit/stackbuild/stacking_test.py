# SPDX-License-Identifier: GPL-3.0-or-later
"""What each of several stashes brings: changes by common layers, else unions."""
from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import Any, Dict, List, Sequence

import pytest
from stacks import Model, make
from stored_images import StoredImages, own_labels

from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.layer.extras import Extra, encode
from kiwi_stackbuild_plugin.stackbuild.stacking import Step, plan_stack, report_conflicts
from kiwi_stackbuild_plugin.tree.delta import PARENT

A, B, C, D = (f'sha256:{digit * 64}' for digit in 'abcd')
#: what a chain of layers makes, by its newest layer
TREES: Dict[str, Model] = {
    A: {'etc/a': 'a', 'etc/common': 'old'},
    B: {'etc/a': 'a', 'etc/common': 'old', 'etc/b': 'b'},
    C: {'etc/a': 'a', 'etc/common': 'new', 'etc/c': 'c'},
    D: {'etc/common': 'other', 'srv/d': 'd'},
}


@pytest.fixture
def trees(stored: StoredImages) -> StoredImages:
    for layer, model in TREES.items():
        make(stored.tree(layer), model)
    return stored


def planned(
    trees: StoredImages, space: Workspace, *chains: Sequence[str], **more: Any
) -> List[Step]:
    """Stack images of these layers; all mounts are taken back."""
    images = [
        trees.add(f'{number}' * 64, f'localhost/s{number}:v1', layers=layers, **more)
        for number, layers in enumerate(chains)
    ]
    with ExitStack() as stack:
        steps = plan_stack(space, images, stack)
        assert all(os.path.isdir(step.path) for step in steps)
    assert len(trees.calls('mount')) == len(trees.calls('unmount'))
    return steps


def brought(step: Step) -> List[str]:
    return [f'D {os.fsdecode(path)}' for path in step.delta.removed] + [
        f'{change.kind} {os.fsdecode(change.entry.path)}'
        for change in step.delta.changes if change.kind != PARENT
    ]


def test_one_stash_is_all_of_it(trees: StoredImages, space: Workspace) -> None:
    step, = planned(trees, space, [A])
    assert step.describe() == f'localhost/s0:v1 ({"0" * 12}): all of it'
    assert (step.shared, step.delta.is_empty, step.conflicts) == (0, True, ())


def test_change_since_the_whole_of_the_first(trees: StoredImages, space: Workspace) -> None:
    """The first is mounted already: no other image is made for that."""
    _, step = planned(trees, space, [A], [A, B])
    assert (step.shared, brought(step), step.conflicts) == (1, ['A etc/b'], ())
    assert step.describe().endswith(
        ': its change since layer 1: 1 added, 0 changed, 0 removed, 0 conflicts'
    )
    assert trees.calls('copy') == [] and len(trees.calls('mount')) == 2


def test_change_since_common_layers(trees: StoredImages, space: Workspace) -> None:
    """What both began with is made an image, and put in the storage for the run."""
    _, step = planned(trees, space, [A, B], [A, C])
    assert (step.shared, brought(step)) == (1, ['A etc/c', 'C etc/common'])
    assert step.conflicts == ()
    assert len(trees.calls('copy')) == 1 and len(trees.calls('mount')) == 3
    assert trees.infos()[-1].layers == (A,)


@pytest.mark.parametrize(('chains', 'shared'), [
    (([A, B], [A, C], [A, C, D]), [0, 1, 2]), (([A], [D], [A, B]), [0, 0, 1]),
    (([A, B], [A, B]), [0, 2]), (([A, B], [B]), [0, 0]), (([A, B], [A]), [0, 1]),
])
def test_most_layers_in_common_with_any_below(
    trees: StoredImages, space: Workspace, chains: Sequence[Sequence[str]], shared: List[int]
) -> None:
    assert [step.shared for step in planned(trees, space, *chains)] == shared


def test_union_and_its_conflicts(trees: StoredImages, space: Workspace) -> None:
    _, step = planned(trees, space, [A], [D])
    assert brought(step) == ['A etc', 'A etc/common', 'A srv', 'A srv/d']
    assert step.conflicts == (b'etc/common',)
    assert 'as a union, nothing in common with those below: 4 added' in step.describe()


RPM = 'usr/lib/sysimage/rpm'
_DB, _WAL, _SHM = (f'{RPM}/rpmdb.sqlite{end}' for end in ('', '-wal', '-shm'))


@pytest.mark.parametrize(('below', 'above', 'found', 'conflicts'), [
    # only read, in one of them or in both
    ({}, {_SHM: 'new'}, [], []), ({_SHM: 'other'}, {_SHM: 'new'}, [], []),
    ({_DB: 'below', _SHM: 'below'}, {_SHM: 'above'}, [], []),
    ({f'{RPM}/.rpm.lock': ''}, {f'{RPM}/.rpm.lock': ''}, [], []),
    # a log of the one never meets the data base of the other
    ({_WAL: 'below'}, {_DB: 'above'}, [f'C {_DB}', f'C {_WAL}'], [_WAL]),
    ({_DB: 'below'}, {_WAL: 'above'}, [f'C {_DB}', f'C {_WAL}'], [_DB]),
    ({_DB: 'below', _WAL: 'below', _SHM: 'below'}, {_DB: 'above', _SHM: 'above'},
     [f'C {_DB}', f'C {_SHM}', f'C {_WAL}'], [_DB, _WAL]),
    ({_DB: 'below', f'{_DB}-journal': 'below'}, {_DB: 'above'},
     [f'C {_DB}', f'D {_DB}-journal'], [_DB, f'{_DB}-journal']),
    # two data bases, each by one of them
    ({_DB: 'below'}, {'var/lib/dnf/history.sqlite': 'above'},
     ['C var/lib/dnf/history.sqlite'], []),
], ids=lambda value: ' '.join(value) or 'none')
def test_a_data_base_comes_from_one_tree(
    stored: StoredImages, space: Workspace, below: Model, above: Model, found: List[str],
    conflicts: List[str]
) -> None:
    base = {_DB: 'base', _WAL: 'w', _SHM: 's', 'var/lib/dnf/history.sqlite': 'base'}
    for layer, model in ((A, {}), (B, below), (C, above)):
        make(stored.tree(layer), {**base, **model})
    _, _, step = planned(stored, space, [A], [A, B], [A, C])
    files = [line for line in brought(step) if not (stored.tree(C) / line[2:]).is_dir()]
    assert sorted(files) == found
    assert [os.fsdecode(path) for path in step.conflicts] == conflicts


def test_attributes_of_a_label_are_a_change(trees: StoredImages, space: Workspace) -> None:
    """The same label tells of what both trees have: only what differs is one."""
    label = encode({b'etc/b': Extra(-7), b'etc/a': Extra(-7)}, lambda path, why: None)
    _, step = planned(trees, space, [A], [A, B], told=own_labels(B, EXTRAS=label))
    assert brought(step) == ['A etc/b']
    assert step.delta.changes[-1].entry.stat.st_mtime_ns == -7


def test_what_goes_where_a_link_leads(stored: StoredImages, space: Workspace) -> None:
    make(stored.tree(A), {'lib': '> usr/lib', 'usr/lib/x': 'x'})
    make(stored.tree(B), {'lib/new\n': 'n'})
    _, step = planned(stored, space, [A], [B])
    assert step.moved == {b'lib': b'usr/lib'}
    assert step.describe_moved() == ['lib goes to usr/lib, where the link below it leads']
    assert Step(ImageInfo('x'), '', moved={b'a\n': b''}).describe_moved() == [
        'a\\n goes to /, where the link below it leads'
    ]


@pytest.mark.parametrize(('count', 'warned', 'told'), [
    (0, 0, ''), (1, 2, 'replaces 1 paths'), (10, 11, 'replaces 10 paths'),
    (12, 12, 'and 2 more (--debug names them)'),
])
def test_conflicts_are_named(
    caplog: pytest.LogCaptureFixture, count: int, warned: int, told: str
) -> None:
    caplog.set_level(logging.DEBUG, 'kiwi')
    paths = tuple(b'etc/%d\n' % number for number in range(count))
    report_conflicts(Step(ImageInfo('x', ('a:b',)), '/', conflicts=paths))
    lines = [record.getMessage() for record in caplog.records]
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == warned
    assert told in '\n'.join(lines)
    assert all(f'    etc/{number}\\n' in lines for number in range(count))
