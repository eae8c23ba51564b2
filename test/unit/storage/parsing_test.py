# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON of strangers: a value, or one of our errors."""
from __future__ import annotations

import json
from typing import Any, List

import pytest

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashImageNotFound, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.image.image import encode
from kiwi_stackbuild_plugin.storage.parsing import (
    parse_config, parse_manifest, parse_remote_config, parse_remote_manifest,
    parse_tags
)

DIGEST = f'sha256:{"a" * 64}'
LAYER = {'mediaType': 'x', 'digest': DIGEST, 'size': 5}
#: what stands where something else belongs
ODD: List[Any] = [
    None, True, 5, -5, 1.5, 1e400, 10**400, '', 'x', [], [[]], {}, {'a': None}, [None], ['x'], [5],
    [{}], {'layers': {}}, [{'digest': None}]
]
DEEP = '[' * 100_000


@pytest.mark.parametrize('value', ODD, ids=repr)
@pytest.mark.parametrize('field', [
    'rootfs', 'config', 'history', 'created', 'author', 'architecture'
])
def test_config_with_odd_values(field: str, value: Any) -> None:
    text = json.dumps({'rootfs': {'diff_ids': [DIGEST]}, field: value})
    try:
        found = parse_remote_config(text, 'x')
    except KiwiStashImageNotFound as issue:
        assert issue.summary == 'x: what is there is no image'
    else:
        for name in ('created', 'author', 'architecture'):
            assert isinstance(found.get(name) or '', str)
        assert all(isinstance(one, dict) for one in found.get('history') or ())
        assert isinstance(found.get('config') or {}, dict)


@pytest.mark.parametrize('value', ODD, ids=repr)
@pytest.mark.parametrize('field', [
    'layers', 'manifests', 'size', 'digest', 'mediaType', 'platform'
])
def test_manifest_with_odd_values(field: str, value: Any) -> None:
    document = {
        'layers': [{**LAYER, field: value}], 'manifests': [{'digest': DIGEST, field: value}]
    }
    if field in document:
        document[field] = value
    try:
        found = parse_remote_manifest(json.dumps(document), 'x')
    except KiwiStashImageNotFound as issue:
        assert issue.summary == 'x: what is there is no image'
    else:
        assert sum(layer['size'] for layer in found.get('layers') or ()) < 2**63
        for entry in found.get('manifests') or ():
            assert entry['digest'] == DIGEST
            assert (entry.get('platform') or {}).get('architecture') is None


@pytest.mark.parametrize('text', [
    '', 'null', '[]', '5', '"x"', '{', DEEP, '{"Tags": 5}', '{"Tags": {"a": 1}}', '{"Tags": [1]}',
    '{"Tags": [null]}', '{"rootfs": ' + DEEP, 'NaN', '9' * 5000
])
def test_replies_that_are_none(text: str) -> None:
    for parse in (parse_remote_config, parse_remote_manifest, parse_tags):
        if parse is parse_remote_manifest and text.startswith('{"Tags'):
            continue
        with pytest.raises(KiwiStashImageNotFound, match=r'^x: what is there is no'):
            parse(text, 'x')
    for parse_stored in (parse_config, parse_manifest):
        with pytest.raises(KiwiStashToolFailed):
            parse_stored(text, 'x')


def test_tags_that_are_none_are_passed_over() -> None:
    tags = ['v1', 'a b', '', '../x', 'é', '٣', '-x', 'a\n', '\x1b', 'x' * 129, 'latest', 'v1']
    assert parse_tags(json.dumps({'Tags': tags}), 'x') == ['latest', 'v1']
    assert parse_tags('{"Tags": null}', 'x') == parse_tags('{}', 'x') == []


@pytest.mark.parametrize('text', ['\ud800', '\udcff', 'a\udfff\ud800b', 'ä', '\0'])
def test_config_of_a_base_is_written_again(text: str) -> None:
    """JSON has escapes for halves of pairs, which no encoding has."""
    assert json.loads(encode({'a': text}).decode('utf-8', 'surrogateescape')) == {'a': text}


