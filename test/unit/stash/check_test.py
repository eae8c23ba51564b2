# SPDX-License-Identifier: GPL-3.0-or-later
"""Slices, and what is told; the reading itself is in graph/check_test.py."""
from __future__ import annotations

import json
import re

import pytest

from kiwi_stackbuild_plugin.graph.check import Damage
from kiwi_stackbuild_plugin.graph.records import LayerRecord
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid, KiwiStashDamaged
from kiwi_stackbuild_plugin.stash.check import (
    CheckedStash, CheckReport, Part, check_document, format_check, parse_part
)

WHOLE = CheckedStash('a', 'v1', 'a' * 64, 2, 2, ())
DAMAGED = CheckedStash('b', 'v1', 'b' * 64, 2, 1, tuple(
    (f'sha256:{"c" * 64}', Damage(b'usr/\x1b%d\xff' % number, 'not there')) for number in range(30)
))


@pytest.mark.parametrize(('text', 'part'), [
    ('1/1', Part()), ('2/7', Part(2, 7)), ('07/07', Part(7, 7))
])
def test_slices(text: str, part: Part) -> None:
    assert parse_part(text) == part


@pytest.mark.parametrize('text', [
    '', '1', '/', '0/1', '2/1', '1/0', '-1/2', '1/2/3', '1/2\n', ' 1/2', '+1/2', '1.0/2',
    '\u0661/\u0663', '1/1000000', f'1/{"9" * 5000}'
])
def test_slices_that_are_none(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match='is no slice'):
        parse_part(text)


def test_each_layer_is_in_one_slice() -> None:
    layers = [LayerRecord(f'{number * 7919:064x}', '', '', '') for number in range(200)]
    for count in (1, 2, 7):
        parts = [Part(number, count) for number in range(1, count + 1)]
        assert all(sum(part.has(layer) for part in parts) == 1 for layer in layers)


def test_what_is_told() -> None:
    report = CheckReport((WHOLE, DAMAGED), 5000)
    table = format_check(report)
    assert re.search(r'a +v1 +a{12} +2 +2 +whole', table) and '5.0 kB read' in table
    assert r'layer cccccccccccc: usr/\x1b0\xff: not there' in table
    assert 'and 10 more, see --format=json' in table
    whole, damaged = json.loads(check_document(report))['stashes']
    assert whole['state'] == 'whole' and whole['damage'] == []
    assert damaged['state'] == 'damaged' and len(damaged['damage']) == 30
    with pytest.raises(KiwiStashDamaged, match='1 of 2 stashes are damaged: b:v1'):
        report.raise_damage()
    CheckReport((WHOLE,), 0).raise_damage()


def test_part_that_was_read() -> None:
    assert 'whole as far as read' in format_check(
        CheckReport((CheckedStash('a', '', 'a' * 64, 2, 1, ()),), 0)
    )
