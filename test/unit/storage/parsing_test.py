# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON, YAML and times of strangers: a value, or one of our errors."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, List

import pytest

from kiwi_stackbuild_plugin.description.description import EXCLUDE_FILES, read_excludes
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashImageNotFound, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.text import age_of, human_age, parse_moment, utc
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


@pytest.mark.parametrize(('text', 'told'), [
    ('2026-01-02T03:04:05Z', '2026-01-02T03:04:05Z'),
    ('2026-01-02T03:04:05.123456789+01:30', '2026-01-02T01:34:05Z'),
    ('2026-01-02t03:04:05z', '2026-01-02T03:04:05Z'),
    ('2026-01-02 03:04:05', '2026-01-02T03:04:05Z'),
    ('1066-10-14T09:00:00Z', '1066-10-14T09:00:00Z'),
    ('0001-01-01T00:00:01Z', '0001-01-01T00:00:01Z'),
    ('9999-12-31T23:59:59Z', '9999-12-31T23:59:59Z')
])
def test_times(text: str, told: str) -> None:
    assert utc(text) == told
    assert age_of(text) is not None and human_age(text)


@pytest.mark.parametrize('text', [
    '', '0001-01-01T00:00:00Z', '0001-01-01T00:00:00+01:00', '9999-12-31T23:59:59-01:00',
    '0000-01-01T00:00:00Z', '2026-13-01T00:00:00Z', '2026-02-30T00:00:00Z', '2026-01-01',
    '2026-01-01T00:00:00+99:99:99', '-2026-01-01T00:00:00Z', '12026-01-01T00:00:00Z', 'long ago',
    '٢٠٢٦-01-01T00:00:00Z', '2026-01-01T00:00:00Z\n', '2026-01-01T24:00:00Z', 'x' * 10**6
])
def test_times_that_are_none(text: str) -> None:
    assert parse_moment(text) is None and age_of(text) is None
    assert utc(text) == text
    assert human_age(text) in (text, '-')


def test_moment_that_nobody_has_set() -> None:
    assert human_age('0001-01-01T00:00:00Z') == '-'


def excludes(tree: Path, data: bytes) -> List[str]:
    """Return what a tree with such a file leaves out."""
    (tree / 'image').mkdir(exist_ok=True)
    (tree / 'image/exclude_files.yaml').write_bytes(data)
    fd = os.open(tree, os.O_RDONLY)
    try:
        return read_excludes(fd, EXCLUDE_FILES[0])
    finally:
        os.close(fd)


@pytest.mark.parametrize(('data', 'patterns'), [
    (b'exclude:\n  - /usr/share/*.txt\n  - boot\n', ['usr/share/*.txt', 'boot']),
    (b'exclude: []', []), (b'exclude:', []), (b'exclude: usr', []), (b'other: 1', []),
    ('exclude: ["ä"]'.encode(), ['ä'])
])
def test_exclude_file(tmp_path: Path, data: bytes, patterns: List[str]) -> None:
    assert excludes(tmp_path, data) == patterns


LAUGHS = b'a: &a {k: v}\n' + b''.join(
    b'%c: &%c {<<: [*%c, *%c]}\n' % (name, name, name - 1, name - 1) for name in range(98, 123)
)


@pytest.mark.parametrize('data', [
    b'', b'{', b'- usr', b'usr', b'5', b'exclude: [5]', b'exclude: [[usr]]', b'exclude: [null]',
    b'exclude: [{a: b}]', b'exclude: ["a\\0b"]', b'exclude: [2001-01-01]', b'exclude: ["\xff"]',
    b'\xff\xfee\0', b'!!python/object/apply:os.system ["false"]', b'exclude: !!int ""',
    b'exclude: [!!timestamp x]', b'exclude: [!!bool x]', b'exclude: [!unknown x]', LAUGHS,
    b'exclude: &a [*a]', b'? [a]\n: b', b'[' * 100_000, b'exclude: [' + b'9' * 5000 + b']',
    b'#' * 300_000, b'--- {}\n--- {}', b'exclude: [!!float x]', b'!!set {a, b}'
], ids=lambda data: ascii(data[:30]))
def test_exclude_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid, match=r'exclude_files\.yaml: not a list'):
        excludes(tmp_path, data)
