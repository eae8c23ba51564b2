# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of layers: put together of what is known, as a table and as JSON."""
from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

import pytest

from kiwi_stackbuild_plugin.packages.changes import PackageChanges
from kiwi_stackbuild_plugin.packages.database import Package
from kiwi_stackbuild_plugin.stash.chain import (
    ChainLink, LayerContent, chain_document, format_chain, read_chain
)

ONE, TWO = Package('deb', 'one', 'all', '1'), Package('deb', 'one', 'all', '2')
CONTENT = LayerContent(
    PackageChanges((ONE,), (TWO,), ((ONE, TWO), (TWO, ONE))),
    (('usr/a\x1b\n', 5000), ('usr/b', 40), ('c', 3), ('d', 2))
)


def history(comment: str, **more: Any) -> Dict[str, Any]:
    """Return one entry."""
    return {'created': '2026-01-02T03:04:05.6Z', 'author': 'Me', 'comment': comment, **more}


def test_chain_of_layers() -> None:
    chain = read_chain(['sha256:a', 'sha256:b'], [
        history('imported from tarball'), history('', empty_layer=True),
        history('KIWI Root Tree Stash: 1 added, 2 changed, 3 removed, 40 bytes')
    ], [10, 20])
    assert chain == [
        ChainLink('sha256:a', '2026-01-02T03:04:05Z', 10, 'Me', None, None, None,
                  'imported from tarball'),
        ChainLink('sha256:b', '2026-01-02T03:04:05Z', 20, 'Me', 1, 2, 3,
                  'KIWI Root Tree Stash: 1 added, 2 changed, 3 removed, 40 bytes')
    ]
    table = format_chain(chain).splitlines()
    assert table[0].split() == [
        'LAYER', 'CREATED', 'SIZE', 'PACKAGES', 'ADDED', 'CHANGED', 'REMOVED', 'AUTHOR'
    ]
    assert table[2].split()[-4:] == ['1', '2', '3', 'Me']


@pytest.mark.parametrize('told', [[], ['text', None], [history('x')]])
def test_chain_of_which_little_is_known(told: Any) -> None:
    chain = read_chain(['sha256:a', 'sha256:b'], told, [10])
    assert [(link.created, link.size, link.added) for link in chain] == [('', None, None)] * 2
    assert format_chain(chain)


@pytest.mark.parametrize(('comment', 'counts'), [
    ('KIWI Root Tree Stash: 1 added, 2 changed, 3 removed', (1, 2, 3)),
    ('KIWI Root Tree Stash: 1 added, 2 changed, 3 removed, and more', (1, 2, 3)),
    (f'KIWI Root Tree Stash: {"9" * 19} added, 2 changed, 3 removed', (None, None, None)),
    ('KIWI Root Tree Stash: \u0661 added, 2 changed, 3 removed', (None, None, None)),
    ('KIWI Root Tree Stash: -1 added, 2 changed, 3 removed', (None, None, None)),
    ('see KIWI Root Tree Stash: 1 added, 2 changed, 3 removed', (None, None, None)),
    ('1 added, 2 changed, 3 removed', (None, None, None)),
    (5, (None, None, None)), (None, (None, None, None)), (['x'], (None, None, None))
])
def test_counts_of_a_comment(comment: Any, counts: Tuple[Optional[int], ...]) -> None:
    link, = read_chain(['sha256:a'], [{'comment': comment, 'author': 7, 'created': 'then'}], [1])
    assert (link.added, link.changed, link.removed) == counts
    assert (link.author, link.created, type(link.comment)) == ('7', 'then', str)


@pytest.mark.parametrize(('sizes', 'known'), [
    ([1, 2], [1, 2]), ([0, 2], [0, 2]), ([1], [None, None]), ([1, 2, 3], [None, None]),
    ([], [None, None])
])
def test_sizes_count_only_if_there_are_as_many(
    sizes: List[int], known: List[Optional[int]]
) -> None:
    chain = read_chain(['sha256:a', 'sha256:b'], [history('x'), history('y')], sizes)
    assert [(link.size, link.comment) for link in chain] == list(zip(known, 'xy'))


def test_chain_of_nothing() -> None:
    assert read_chain([], [history('', empty_layer=True)], []) == []
    assert format_chain([]).split() == [
        'LAYER', 'CREATED', 'SIZE', 'PACKAGES', 'ADDED', 'CHANGED', 'REMOVED', 'AUTHOR'
    ]
    assert chain_document([]) == []


def chain(*contents: Optional[LayerContent]) -> List[ChainLink]:
    layers = [f'sha256:{str(number) * 64}' for number in range(len(contents))]
    return read_chain(layers, [], [0] * len(layers), contents)


@pytest.mark.parametrize(('content', 'shown'), [
    (None, '-'), (LayerContent(PackageChanges(), ()), '0'), (CONTENT, '+1 -1 ~2'),
    (LayerContent(PackageChanges((ONE,)), ()), '+1'),
    (LayerContent(PackageChanges(unread={'rpm': 'x'}), ()), '-')
])
def test_packages_of_a_layer_are_counted(content: Optional[LayerContent], shown: str) -> None:
    row = format_chain(chain(content)).splitlines()[1]
    assert row == f'{"0" * 12}  -        0 B   {shown.ljust(8)}  -      -        -        -'


def test_what_layers_brought_is_told_but_of_the_lowest() -> None:
    """All that the lowest brings is no change."""
    table, *told = format_chain(chain(CONTENT, None, CONTENT)).split('\n\n')
    assert len(table.splitlines()) == 4 and len(told) == 1
    first, *lines = told[0].splitlines()
    assert first == f'layer {"2" * 12}:'
    assert lines[-4:] == [
        'packages: 1 added, 1 removed, 2 updated', '  5.0 kB  usr/a\\x1b\\n',
        '    40 B  usr/b', '     3 B  c'
    ], 'the three largest'


def test_packages_are_not_all_named() -> None:
    many = PackageChanges(tuple(Package('deb', f'p{number}', 'all', '1') for number in range(12)))
    told = format_chain(chain(None, LayerContent(many, ())))
    assert told.count('all') == 10 and 'and 2 more packages' in told


def test_chain_in_json() -> None:
    below, above = chain_document(chain(None, CONTENT))
    assert json.loads(json.dumps(above)) == above
    assert (below['packages'], below['largest'], below['added']) == (None, None, None)
    assert 'content' not in above and above['largest'][1] == {'path': 'usr/b', 'size': 40}
    assert len(above['largest']) == 4, 'more than people are shown'
    assert [len(above['packages'][kind]) for kind in ('added', 'removed', 'updated')] == [1, 1, 2]
    assert list(below) == list(above)
