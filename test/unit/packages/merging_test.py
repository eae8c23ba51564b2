# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of several trees in one: tables of what comes of it, and what contradicts."""
from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, Sequence, Tuple

import pytest

from kiwi_stackbuild_plugin.packages.database import Package
from kiwi_stackbuild_plugin.packages.merging import (
    Brought, Files, Together, bring_together, file_clashes, merge_records
)


def packages(text: str) -> FrozenSet[Package]:
    """Read 'a-1 rpm:k-2.noarch': name, version, and format and architecture if others."""
    found = set()
    for word in text.split():
        kind, _, rest = word.rpartition(':')
        name, _, version = rest.partition('-')
        version, _, architecture = version.partition('.')
        found.add(Package(kind or 'deb', name, architecture or 'x', version))
    return frozenset(found)


def stack(*stashes: Tuple[str, str]) -> List[Brought]:
    return [
        Brought(f's{number}', packages(before), packages(after))
        for number, (before, after) in enumerate(stashes)
    ]


@pytest.mark.parametrize(('before', 'ours', 'theirs', 'expected'), [
    ('', 'a1', 'b1', 'a1 b1'), ('', 'a1', 'a2', 'a2'), ('a1', 'a1', 'a2', 'a2'),
    ('a1', 'a2', 'a1', 'a2'), ('a1', 'a2', 'a3', 'a3'), ('a1 b1', 'b1', 'a1 b1', 'b1'),
    ('a1 b1', 'a1 b1', 'b1', 'b1'), ('a1', 'a2', '', 'a2'), ('a1', '', 'a2', 'a2'),
    ('a1', '', '', ''), ('', 'b1 a1', 'c1 a1', 'b1 a1 c1'),
])
def test_records_three_ways(before: str, ours: str, theirs: str, expected: str) -> None:
    def records(text: str) -> Dict[str, str]:
        return {word[0]: word[1:] for word in text.split()}

    merged = merge_records(records(before), records(ours), records(theirs))
    assert [key + value for key, value in merged.items()] == expected.split()


@pytest.mark.parametrize(('stashes', 'expected'), [
    # two that each installed something, on one base
    ([('', 'b-1 web-1'), ('b-1', 'b-1 log-1')], {'b-1': 0, 'web-1': 0, 'log-1': 1}),
    # the second does not know what the first removed and updated
    ([('', 'b-2'), ('b-1 c-1', 'b-1 c-1 log-1')], {'b-2': 0, 'log-1': 1}),
    ([('', 'b-1 c-1'), ('b-1 c-1', 'b-2')], {'b-2': 1}),
    # a union of two that have the same
    ([('', 'b-1 web-1'), ('', 'b-1 log-1')], {'b-1': 1, 'web-1': 0, 'log-1': 1}),
    ([('', 'b-1'), ('b-1', 'b-2'), ('b-1', 'b-1 x-1')], {'b-2': 1, 'x-1': 2}),
    # several versions of one, which a stash has itself
    ([('', 'k-1 k-2'), ('k-1', 'k-1 k-3')], {'k-1': 0, 'k-2': 0, 'k-3': 1}),
    # of two architectures
    ([('', 'a-1.x'), ('', 'a-1.y')], {'a-1.x': 0, 'a-1.y': 1}),
    # another manager beside, known to one of them
    ([('', 'a-1'), ('a-1', 'a-1 rpm:c-1')], {'a-1': 0, 'rpm:c-1': 1}),
])
def test_what_stashes_make(
    stashes: Sequence[Tuple[str, str]], expected: Mapping[str, int]
) -> None:
    assert bring_together(stack(*stashes)) == Together({
        package: number for word, number in expected.items() for package in packages(word)
    })


@pytest.mark.parametrize(('stashes', 'told'), [
    ([('', 'a-2'), ('a-1', 'a-3')], 'a is there in two versions, 2 x of s0 and 3 x of s1'),
    ([('', 'a-1'), ('', 'a-2')], 'a is there in two versions, 1 x of s0 and 2 x of s1'),
    ([('', 'a-1.all'), ('', 'a-1.x')], 'a is there in two versions, 1 all of s0 and 1 x of s1'),
    ([('', 'b-1'), ('a-1 b-1', 'a-2 b-1')], 'a is updated by s1 and removed by a stash below it'),
    ([('', 'a-2'), ('a-1', '')], 'a is removed by s1 and updated by a stash below it'),
    (
        [('', 'a-1'), ('', 'rpm:b-1')],
        'the packages are of different package managers: deb in s0, rpm in s1'
    ),
])
def test_what_contradicts(stashes: Sequence[Tuple[str, str]], told: str) -> None:
    assert bring_together(stack(*stashes)).clashes == (told,)


@pytest.mark.parametrize(('files', 'told'), [
    ({'web-1': {b'w': 1}, 'log-1': {b'l': 1}}, []),
    ({'web-1': {b'same': 1}, 'log-1': {b'same': 1}}, []),
    ({'web-1': {b'x\n': 1}, 'log-1': {b'x\n': 2}}, ['x\\n is a file of web (s0) and of log (s1)']),
    # of two packages that one stash has both of
    ({'web-1': {b'x': 1}, 'old-1': {b'x': 2}}, []),
    # of the base, which is together with each
    ({'b-1': {b'x': 1}, 'log-1': {b'x': 2}}, []),
    # of one package for two architectures
    ({'m-1.x': {b'x': 1}, 'm-1.y': {b'x': 2}}, []),
])
def test_files_of_two_packages(files: Mapping[str, Files], told: List[str]) -> None:
    stashes = stack(('', 'b-1 old-1 web-1 m-1.x'), ('b-1', 'b-1 log-1 m-1.y'))
    owned = {package: each for word, each in files.items() for package in packages(word)}
    assert file_clashes(
        bring_together(stashes), stashes, lambda package, number: owned.get(package, {})
    ) == told
