# SPDX-License-Identifier: GPL-3.0-or-later
"""Which stashes stay: the rules, on values."""
from __future__ import annotations

from datetime import date, timedelta
from typing import List, Optional, Sequence, Tuple

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stash.prune import (
    PruneRequest, Rules, Version, apply_rules, find_versions, prune
)


def layer(letter: str) -> str:
    """A diff ID."""
    return f'sha256:{ord(letter):064x}'


def chain(letters: str) -> Tuple[str, ...]:
    return tuple(map(layer, letters))


def image(key: str, created: str = '', names: Sequence[str] = (), layers: str = 'a') -> ImageInfo:
    """A stash of this plugin."""
    return ImageInfo(
        key, tuple(names), created=created, layers=chain(layers),
        labels={
            labels.META: 'KIWI', labels.SCHEMA: '1', labels.TITLE: 'small',
            labels.TOP_LAYER: layer(layers[-1])
        }, directories=tuple(f'/layers/{layers[:n + 1]}' for n in range(len(layers)))
    )


def daily(days: int) -> List[Version]:
    """A stash each day, up to Sunday, 2026-03-01; named by its date."""
    last = date(2026, 3, 1)
    return [
        Version('small', (day.isoformat(),), image(day.isoformat(), f'{day}T12:00:00Z'))
        for day in (last - timedelta(days=back) for back in range(days))
    ]


@pytest.mark.parametrize('last, weekly, expected', [
    (1, 0, ['2026-03-01']),
    (3, 0, ['2026-03-01', '2026-02-28', '2026-02-27']),
    # a week ends on Sunday
    (0, 3, ['2026-03-01', '2026-02-22', '2026-02-15']),
    # each rule by itself: the newest of a week may be among the last
    (2, 2, ['2026-03-01', '2026-02-28', '2026-02-22']),
    (99, 0, [one.info.image_id for one in daily(30)]),
])
def test_rules(last: int, weekly: int, expected: List[str]) -> None:
    assert sorted(apply_rules(daily(30), Rules(last, weekly))) == sorted(expected)


def test_reasons_are_told() -> None:
    assert apply_rules(daily(9), Rules(1, 2)) == {
        '2026-03-01': ['last', 'weekly'], '2026-02-22': ['weekly']
    }


def test_weeks_without_a_stash_do_not_count() -> None:
    versions = [
        Version('small', (tag,), image(tag, f'{tag}T00:00:00Z'))
        for tag in ('2025-01-06', '2025-12-29', '2026-01-01', '2026-01-05')
    ]
    # Monday 2025-12-29 is in the first week of 2026
    assert sorted(apply_rules(versions, Rules(0, 2))) == ['2026-01-01', '2026-01-05']
    assert len(apply_rules(versions, Rules(0, 3))) == 3


def test_of_one_time_the_longer_chain_is_the_newer() -> None:
    versions = [
        Version('small', tags, image(key, '2026-01-01T00:00:00Z', layers=layers))
        for key, tags, layers in (
            ('1', ('z',), 'a'), ('3', ('b',), 'abc'), ('2', ('y',), 'ab'),
            ('4', ('latest',), 'xyz')
        )
    ]
    assert list(apply_rules(versions, Rules(1, 0))) == ['4']
    assert list(apply_rules(versions[:3], Rules(1, 0))) == ['3']


def test_versions_are_images_of_ours_by_name() -> None:
    foreign = image('5', names=['localhost/small:foreign'], layers='ab')
    infos = [
        image('1', names=['localhost/small:v1', 'localhost/small:latest', 'localhost/twin:v1']),
        image('2', names=['registry:5000/team/small:v1']), image('3'),
        ImageInfo('4', ('localhost/other:latest',)),
        ImageInfo(
            foreign.image_id, foreign.names, labels=foreign.labels,
            layers=(layer('a'), layer('q'))
        )
    ]
    assert [(one.name, one.tags, one.info.image_id) for one in find_versions(infos)] == [
        ('small', ('latest', 'v1'), '1'), ('twin', ('v1',), '1'),
        ('registry:5000/team/small', ('v1',), '2'), ('small', (), '3')
    ]


def test_unnamed_ones_are_kept_by_no_rule() -> None:
    named, unnamed = daily(2)
    unnamed = Version('small', (), unnamed.info)
    assert list(apply_rules([unnamed, named], Rules(5, 5))) == [named.info.image_id]


@pytest.mark.parametrize('last, weekly, said', [
    (None, None, '--prune: nothing says what is kept'),
    ('0', None, "--keep-last '0': not a number above 0"),
    (None, '-1', "--keep-weekly '-1': not a number above 0"),
    ('', '1', "--keep-last '': not a number above 0"),
    ('1', '٣', "--keep-weekly '٣': not a number above 0"),
    ('1.5', None, "--keep-last '1.5'"), ('9999999', None, "--keep-last '9999999'"),
])
def test_rules_that_are_none(last: Optional[str], weekly: Optional[str], said: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as issue:
        prune(PruneRequest(last, weekly))
    assert issue.value.summary.startswith(said)
