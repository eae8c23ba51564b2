# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between two lists of packages, and how it is told."""
from __future__ import annotations

from dataclasses import replace
from typing import List

import pytest

from kiwi_stackbuild_plugin.packages.changes import (
    PackageChanges, compare_packages, count_packages, describe_packages, packages_document
)
from kiwi_stackbuild_plugin.packages.database import Package, Packages

DEB = Package('deb', 'a', 'amd64', '1')


def some(*words: str) -> Packages:
    """Packages given as name-version."""
    return Packages(frozenset(
        Package('rpm', word.partition('-')[0], 'noarch', word.partition('-')[2])
        for word in words
    ))


@pytest.mark.parametrize(('before', 'after', 'expected'), [
    ([], [], ''),
    (['a-1'], ['a-1'], ''),
    (['a-1'], ['a-2'], '~a 1 2'),
    (['a-1', 'b-1'], ['b-1', 'c-3'], '-a 1, +c 3'),
    # kernels are installed beside one another
    (['k-1'], ['k-1', 'k-2'], '+k 2'),
    (['k-1', 'k-2'], ['k-2', 'k-3'], '+k 3, -k 1'),
])
def test_changes(before: List[str], after: List[str], expected: str) -> None:
    document = packages_document(compare_packages(some(*before), some(*after)))
    told = [f'-{one["name"]} {one["version"]}' for one in document['removed']]
    told += [f'+{one["name"]} {one["version"]}' for one in document['added']]
    told += [f'~{one["name"]} {one["from"]} {one["to"]}' for one in document['updated']]
    assert sorted(told) == sorted(word for word in expected.split(', ') if word)


def test_what_is_not_known_is_no_change() -> None:
    unread = Packages(frozenset(), {'rpm': 'damaged'})
    changes = compare_packages(some('a-1'), unread)
    assert not changes.removed and not changes.is_empty
    assert describe_packages(changes) == [
        'the rpm packages are not known', 'packages: 0 added, 0 removed, 0 updated'
    ]


def test_long_lists_are_cut_where_asked_for() -> None:
    lines = describe_packages(compare_packages(some(), some('a-1', 'b-1', 'c-1')), 2)
    assert [line.split()[:2] for line in lines[1:]] == [
        ['+', 'a'], ['+', 'b'], ['and', '1'], ['packages:', '3']
    ]


@pytest.mark.parametrize('other', [
    replace(DEB, architecture='i386'), replace(DEB, format='rpm'), replace(DEB, name='A')
])
def test_packages_of_one_name_that_are_not_the_same(other: Package) -> None:
    changes = compare_packages(Packages(frozenset({DEB})), Packages(frozenset({other})))
    assert (changes.added, changes.removed, changes.updated) == ((other,), (DEB,), ())


@pytest.mark.parametrize('side', ['before', 'after'])
def test_only_the_format_that_is_unread_is_left_out(side: str) -> None:
    rpm = Package('rpm', 'r', '', '1')
    unread = Packages(frozenset({rpm}), {'rpm': 'damaged'})
    both = Packages(frozenset({DEB, rpm}))
    changes = compare_packages(*((unread, both) if side == 'before' else (both, unread)))
    assert (changes.added, changes.removed) == (
        ((DEB,), ()) if side == 'before' else ((), (DEB,))
    )
    assert packages_document(changes)['unread'] == {'rpm': 'damaged'}


@pytest.mark.parametrize(('changes', 'is_empty'), [
    (PackageChanges(), True), (PackageChanges(unread={'deb': 'x'}), False),
    (PackageChanges((DEB,)), False), (PackageChanges((), (DEB,)), False),
    (PackageChanges((), (), ((DEB, replace(DEB, version='2')),)), False)
])
def test_nothing_changed_is_said_where_all_is_known(
    changes: PackageChanges, is_empty: bool
) -> None:
    assert changes.is_empty is is_empty


def test_the_table_is_by_name_whatever_happened() -> None:
    changes = compare_packages(some('b-1', 'd-1', 'c-1'), some('a-1', 'c-2', 'd-1'))
    assert describe_packages(changes) == [
        '   PACKAGE  ARCHITECTURE  BEFORE  AFTER',
        '+  a        noarch        -       1',
        '-  b        noarch        1       -',
        '~  c        noarch        1       2',
        'packages: 1 added, 1 removed, 1 updated'
    ]
    assert count_packages(changes) == '1 added, 1 removed, 1 updated'


@pytest.mark.parametrize('most', [0, 3, 4])
def test_a_list_that_fits_is_whole(most: int) -> None:
    lines = describe_packages(compare_packages(some('a-1', 'b-1', 'c-1'), some()), most)
    assert len(lines) == 5 and not [line for line in lines if 'more' in line]
