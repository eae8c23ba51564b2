# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts: their tags, and whose entries in an index stay."""
from __future__ import annotations

from typing import Any, Dict, List

import pytest

from kiwi_stackbuild_plugin.image.artifacts import (
    KIND, is_attached_tag, kind_of, merge_referrers, referrers_tag
)

HEX = 'a' * 64


@pytest.mark.parametrize(('tag', 'attached'), [
    (f'sha256-{HEX}', True), (f'sha256-{HEX}.sig', True), (f'sha256-{HEX}.att', True),
    ('latest', False), (f'sha256-{HEX[1:]}', False), (f'sha256-{HEX}x', False),
    (f'x-sha256-{HEX}', False), (f'sha512-{HEX}', False), (f'sha256-{HEX}.', False),
])
def test_tags_that_are_no_version(tag: str, attached: bool) -> None:
    assert is_attached_tag(tag) is attached


def test_tag_of_the_referrers() -> None:
    assert referrers_tag(f'sha256:{HEX}') == f'sha256-{HEX}'


def entry(digit: str, kind: str = '', **more: Any) -> Dict[str, Any]:
    return {'digest': f'sha256:{digit * 64}', 'annotations': {KIND: kind} if kind else {}, **more}


@pytest.mark.parametrize(('there', 'expected'), [
    ([], 'ab'), ([entry('c')], 'cab'), ([entry('c', 'sbom')], 'ab'), ([entry('a')], 'ab'),
    ([entry('a', 'sbom'), entry('b', 'provenance')], 'ab'),
    ([entry('d'), entry('c', 'other kind of ours'), entry('e')], 'deab'),
    ([entry('c', annotations=None)], 'cab'), ([entry('c', annotations=[1])], 'cab'),
])
def test_ours_take_the_place_of_ours(there: List[Dict[str, Any]], expected: str) -> None:
    merged = merge_referrers(there, [entry('a', 'sbom'), entry('b', 'provenance')])
    assert ''.join(one['digest'][-1] for one in merged['manifests']) == expected


@pytest.mark.parametrize('one', [{}, {'annotations': None}, {'annotations': 'x'}])
def test_entries_of_others(one: Dict[str, Any]) -> None:
    assert kind_of(one) == ''
