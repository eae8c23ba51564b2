# SPDX-License-Identifier: GPL-3.0-or-later
"""What others wrote, read by us: any bytes give a value or one of our errors.

KIWI_STASH_TEST_FUZZ sets how many examples each test tries.
"""
from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kiwi.exceptions import KiwiError

from kiwi_stackbuild_plugin.description.description import (
    EXCLUDE_FILES, parse_profile, parse_xml, read_excludes, read_root_description
)
from kiwi_stackbuild_plugin.description.extension import read_extension
from kiwi_stackbuild_plugin.description.origin import read_origin
from kiwi_stackbuild_plugin.host.command import last_line
from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError, printable
from kiwi_stackbuild_plugin.host.text import age_of, utc
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import (
    encode, info_from_config, make_config, make_manifest
)
from kiwi_stackbuild_plugin.image.labels import STASH_PREFIX, read_labels
from kiwi_stackbuild_plugin.image.reference import check_stash_name, parse_reference
from kiwi_stackbuild_plugin.layer import extras
from kiwi_stackbuild_plugin.layer.restore import restore_extras
from kiwi_stackbuild_plugin.stash.chain import read_chain
from kiwi_stackbuild_plugin.stash.export import check_exports
from kiwi_stackbuild_plugin.stash.new_image import parse_labels
from kiwi_stackbuild_plugin.stash.stash_list import (
    describe as list_row, format_json, format_table
)
from kiwi_stackbuild_plugin.storage.messages import explain
from kiwi_stackbuild_plugin.storage.parsing import (
    parse_config, parse_infos, parse_manifest, parse_remote_config,
    parse_remote_manifest, parse_tags
)
from kiwi_stackbuild_plugin.tree.opening import open_tree

EXAMPLES = int(os.environ.get('KIWI_STASH_TEST_FUZZ', '60'))
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
TEXTS = st.text(max_size=60) | st.text('a:/@.-_~[]\\\0\n\x1b0Az=', max_size=40)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS \
    | st.sampled_from(['f' * 64, 'sha256:' + '0' * 64, '9' * 5000, '../..', '2020-01-01T00:00:00Z'])
WORDS = (
    'image', 'name', 'digest', 'moment', 'device', 'inode', 'Id', 'RepoTags', 'Labels', 'Size',
    'Created', 'RootFS', 'Layers', 'History', 'Author', 'layers', 'mediaType', 'size', 'config',
    'rootfs', 'diff_ids', 'history', 'empty_layer', 'mtime', 'xattrs', 'sparse', 'etc/hosts',
    '..', '/etc/hosts', 'etc/../..', '.', '', 'etc/', 'io.osinside.kiwi.stash.extras',
    'io.osinside.kiwi.stash.profiles', 'io.osinside.kiwi.stash.schema'
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(WORDS) | TEXTS, inner, max_size=6
    ), max_leaves=20
)
DOCUMENTS = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=12)
#: whole and cut off, with other bytes in between
JSON = st.builds(
    lambda value, cut, more: (text := json.dumps(value).encode())[:cut % (len(text) + 1)] + more,
    VALUES | DOCUMENTS, st.integers(0, 10_000) | st.just(-1), st.binary(max_size=4) | st.just(b'')
) | st.builds(lambda value: json.dumps(value).encode(), DOCUMENTS) | st.binary(max_size=200)
TAGS = st.sampled_from((
    '<image', ' name="a"', ' stashed="b"', ' schemaversion="7.4"', '>', '</image>', '<packages',
    ' type="image">', '</packages>', '<package name="x"/>', '<!DOCTYPE image [', ']>', '&x;',
    '<!ENTITY x SYSTEM "/etc/passwd">', '<include from="file:///etc/passwd"/>', '<type', '/>',
    '<preferences>', '</preferences>', '<?xml version="1.0" encoding="utf-16"?>', '\0', '\ufeff'
))
XML = st.lists(TAGS | TEXTS, max_size=14).map(''.join).map(
    lambda text: text.encode('utf-8', 'surrogatepass')
) | st.binary(max_size=200)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree below a directory that must stay as it is."""
    (tmp_path / 'above/tree/image').mkdir(parents=True)
    (tmp_path / 'above/tree/etc').mkdir()
    (tmp_path / 'above/tree/etc/hosts').write_text('')
    return tmp_path / 'above/tree'


def write(tree: Path, name: str, data: bytes) -> int:
    (tree / 'image' / name).write_bytes(data)
    return open_tree(str(tree))


@FUZZ
@given(JSON)
def test_stash_json(tree: Path, data: bytes) -> None:
    fd = write(tree, 'stash.json', data)
    try:
        record = read_origin(fd)
    finally:
        os.close(fd)
    assert record is None or len(record.image) == 64


@FUZZ
@given(st.binary(max_size=300) | TEXTS.map(lambda text: f"kiwi_type='{text}'\n".encode(
    'utf-8', 'surrogatepass'
)))
def test_profile(data: bytes) -> None:
    for value in parse_profile(data).values():
        assert not set('$`') & set(value)


@FUZZ
@given(XML, st.binary(max_size=100))
def test_description(tree: Path, data: bytes, profile: bytes) -> None:
    (tree / '.profile').write_bytes(profile)
    fd = write(tree, 'config.xml', data)
    try:
        with suppress(KiwiStackBuildError):
            read_root_description(fd)
        with suppress(KiwiStackBuildError):
            assert b'root:' not in repr(parse_xml(data, 'a').xpath('string()')).encode()
    finally:
        os.close(fd)


@FUZZ
@given(XML.map(lambda data: data.replace(b'<image', b'<image stashed="a" name="b"')))
def test_extension(tree: Path, data: bytes) -> None:
    (tree / 'config.xml').write_bytes(data)
    with suppress(KiwiError):
        read_extension(str(tree / 'config.xml'), str(tree))


@FUZZ
@given(JSON)
def test_what_podman_says_of_images(data: bytes) -> None:
    with suppress(KiwiStackBuildError):
        for info in parse_infos(data.decode('utf-8', 'surrogateescape')):
            extras.decode(info.labels.get('io.osinside.kiwi.stash.extras', ''))
            list_row(info, 'name', 'tag', [])


@FUZZ
@given(DOCUMENTS)
def test_image_of_a_stranger(document: Dict[str, Any]) -> None:
    with suppress(KiwiStackBuildError):
        for info in parse_infos(json.dumps([{'Id': 'f' * 64, **document}])):
            list_row(info, 'name', 'tag', [])
            assert info.display_name


@FUZZ
@given(JSON)
def test_manifests_and_configs(data: bytes) -> None:
    text = data.decode('utf-8', 'surrogateescape')
    with suppress(KiwiStackBuildError):
        make_manifest(parse_manifest(text, 'x')['layers'], None, {}, {})
    with suppress(KiwiStackBuildError):
        config = make_config(
            parse_config(text, 'x'), {'labels': {'a': 'b'}}, 'sha256:0', 'now', 'x86_64'
        )
        assert config['rootfs']['diff_ids'][-1] == 'sha256:0'


@FUZZ
@given(JSON | JSON.map(lambda data: b'{"rootfs": {"diff_ids": []}, ' + data[1:]))
def test_replies_of_a_registry(data: bytes) -> None:
    text = data.decode('utf-8', 'surrogateescape')
    with suppress(KiwiStackBuildError):
        assert all(tag.isascii() for tag in parse_tags(text, 'x'))
    with suppress(KiwiStackBuildError):
        found = parse_remote_manifest(text, 'x')
        assert all(entry['digest'] for entry in found.get('manifests') or ())
    with suppress(KiwiStackBuildError):
        info = info_from_config(parse_remote_config(text, 'x'), 'f' * 64, 'sha256:x', 5)
        row = list_row(info, 'a', 'b', [], read_chain(info.layers, info.history, []))
        json.loads(format_json([row]))
        assert format_table([row]).replace('\n', '').isprintable()
        encode(parse_config(text, 'x'))


@FUZZ
@given(st.dictionaries(st.sampled_from([
    value for value in vars(labels).values() if isinstance(value, str) and '.' in value
]) | TEXTS, TEXTS | JSON.map(lambda data: data.decode('utf-8', 'surrogateescape')), max_size=9))
def test_labels_of_a_stranger(found: Dict[str, str]) -> None:
    told = read_labels(found)
    assert not told.root_owner or max(told.root_owner) < 2**32 - 1
    assert all(not name.startswith('-') for name in (*(told.profiles or ()), told.build_type or ''))
    assert all(key in found and found[key] for key in (
        text.partition('=')[0] for text in told.wrong
    ) if key.startswith(STASH_PREFIX))


@FUZZ
@given(TEXTS | st.from_regex(
    r'\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})\Z'
))
def test_times_of_a_stranger(text: str) -> None:
    age_of(text)
    assert age_of(utc(text)) is None or utc(utc(text)) == utc(text)


@FUZZ
@given(st.text('!&*<:{}[]-?,|>%@ \n"\'0az', max_size=60).map(str.encode) | st.binary(max_size=200))
def test_exclude_file(tree: Path, data: bytes) -> None:
    fd = write(tree, 'exclude_files.yaml', b'exclude: ' + data)
    try:
        with suppress(KiwiStackBuildError):
            assert all(isinstance(one, str) for one in read_excludes(fd, EXCLUDE_FILES[0]))
    finally:
        os.close(fd)


@FUZZ
@given(JSON)
def test_extras_of_a_stranger(tree: Path, data: bytes) -> None:
    """They are restored by paths of the tree, and nowhere else."""
    before = (tree.parent.stat().st_mtime_ns, tree.parent.parent.stat().st_mtime_ns)
    found = extras.decode(data.decode('utf-8', 'surrogateescape'))
    fd = open_tree(str(tree))
    try:
        restore_extras(fd, found)
    finally:
        os.close(fd)
    assert (tree.parent.stat().st_mtime_ns, tree.parent.parent.stat().st_mtime_ns) == before


@pytest.mark.parametrize('path', [
    '..', '.', 'etc/..', 'etc/.', '/etc/hosts', '../tree', 'etc//hosts', 'etc/', 'a\0b',
    '\udc00\ud800'
])
def test_paths_of_extras_stay_in_the_tree(tree: Path, path: str) -> None:
    before = tree.parent.stat().st_mtime_ns
    label = json.dumps({path: {'mtime': 5, 'xattrs': {'user.a': 'YQ=='}}})
    fd = open_tree(str(tree))
    try:
        restore_extras(fd, extras.decode(label))
    finally:
        os.close(fd)
    assert tree.parent.stat().st_mtime_ns == before
    assert extras.decode(label) == {}


@FUZZ
@given(TEXTS)
def test_words_of_a_user(text: str) -> None:
    for call in (
        lambda: parse_reference(text), lambda: check_stash_name(text, text, 'x'),
        lambda: check_exports([text]), lambda: parse_labels([text])
    ):
        with suppress(KiwiStackBuildError):
            call()


@FUZZ
@given(TEXTS | st.binary(max_size=60).map(os.fsdecode))
def test_what_is_shown_is_printable(text: str) -> None:
    assert printable(text).replace('\n', '').isprintable()
    assert str(KiwiStackBuildError(text, text)).replace('\n', '').isprintable()
    assert last_line(text)
    explain(text)


@FUZZ
@given(st.binary(max_size=200) | st.lists(st.sampled_from((
    b'+mount ', b'-mount ', b'+image ', b'--all', b'f' * 64, b'\n', b'+storage ', b'\xff'
)), max_size=12).map(b''.join))
def test_journal(tree: Path, data: bytes) -> None:
    (tree / 'journal').write_bytes(data)
    for kind, value in Workspace(str(tree)).open_notes():
        assert kind == 'storage' or len(value) == 64
