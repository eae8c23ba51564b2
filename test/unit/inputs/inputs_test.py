# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of inputs: what they say of a change, and what is none."""
from __future__ import annotations

import json
from typing import Dict, List

import pytest

from kiwi_stackbuild_plugin.inputs.inputs import changed_inputs, decode_inputs, encode_inputs

ONE = {'type': 'oci', 'stash 1': 'sha256:aa'}


def test_record_comes_back() -> None:
    assert decode_inputs(encode_inputs(ONE)) == ONE
    assert encode_inputs(ONE) == encode_inputs(dict(reversed(ONE.items())))


@pytest.mark.parametrize('text', [
    '', 'x', '[]', '{}', '[' * 100_000, '{"schema":2}',
    '{"schema":1,"inputs":[]}', '{"schema":1,"inputs":{"a":1}}',
    encode_inputs(ONE).replace('oci', 'iso'),
    encode_inputs({str(number): 'x' for number in range(5000)}),
    encode_inputs({'a': 'x' * 5000}),
])
def test_what_is_no_record(text: str) -> None:
    assert decode_inputs(text) is None


@pytest.mark.parametrize(('before', 'now', 'expected'), [
    (ONE, ONE, []),
    (ONE, {**ONE, 'type': 'iso'}, ['type changed from oci to iso']),
    (ONE, {**ONE, 'stash 1': 'sha256:bb'}, ['stash 1 changed']),
    (ONE, {**ONE, 'repository x': 'sha256:bb'}, ['repository x is new']),
    ({**ONE, 'repository x': 'sha256:bb'}, ONE, ['repository x is gone']),
    ({'r': ''}, {'r': ''}, ['r cannot be asked, which counts as changed']),
    ({'r': 'sha256:aa'}, {'r': ''}, ['r cannot be asked, which counts as changed']),
    ({'r': ''}, {'r': 'sha256:aa'}, ['r changed']),
])
def test_what_changed(before: Dict[str, str], now: Dict[str, str], expected: List[str]) -> None:
    assert changed_inputs(before, now) == expected


def test_record_is_json_for_others() -> None:
    told = json.loads(encode_inputs(ONE))
    assert told['inputs'] == ONE and told['key'].startswith('sha256:')
