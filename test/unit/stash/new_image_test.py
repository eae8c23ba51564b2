# SPDX-License-Identifier: GPL-3.0-or-later
"""Images made of a base and a layer, as they come to the storage."""
from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Optional

import pytest
from stored_images import LAYER, StoredImages, own_labels

from kiwi_stackbuild_plugin.description.description import RootDescription
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo, extras_of, is_own_stash
from kiwi_stackbuild_plugin.image.layout import make_layout
from kiwi_stackbuild_plugin.layer.blob import GZIP_TYPE, TAR_TYPE, ZSTD_TYPE, Layer
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.stash.new_image import (
    NewImage, annotations_of, make_history, make_labels, parse_labels, store_image
)
from kiwi_stackbuild_plugin.storage.documents import ImageDocuments

BASE = 'b' * 64
ROOT = os.stat_result((0o41777, 0, 0, 0, 7, 8, 0, 0, 0, 0))
DESCRIPTION = RootDescription('small', 'Me', 'apt', 'one,two', 'tbz', 'sha256:d')


@pytest.mark.parametrize(('texts', 'expected'), [
    ([], {}), (['a=b', 'c='], {'a': 'b', 'c': ''}), (['a=b=c'], {'a': 'b=c'}),
    (['a=1', 'a=2'], {'a': '2'}), (['org.opencontainers.image.title=x'],
                                  {'org.opencontainers.image.title': 'x'}),
    (['a=ä\n'], {'a': 'ä\n'}), (['io.osinside.kiwi.other=x'], {'io.osinside.kiwi.other': 'x'}),
])
def test_labels_of_the_user(texts: Any, expected: Dict[str, str]) -> None:
    assert parse_labels(texts) == expected


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'not of the form key=value'), ('a', 'not of the form'), ('=b', 'not of the form'),
    ('a b=c', 'not of the form'), ('a\n=c', 'not of the form'), ('a=\0', 'a zero byte'),
    ('io.osinside.kiwi.stash.schema=2', 'schema is written by the plugin itself'),
    ('io.osinside.kiwi.stash.new=', 'is written by the plugin itself'),
    (f'{labels.META}=x', 'is written by the plugin itself'),
])
def test_labels_that_are_none(text: str, said: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match=said) as issue:
        parse_labels(['good=1', text])
    assert repr(text) in issue.value.summary


def test_labels_say_how_a_tree_was_built() -> None:
    told = ImageInfo('x', labels=make_labels(
        'h:5000/small:v1', DESCRIPTION, ROOT, '2026-01-01T00:00:00Z', None, False
    )).stash_labels
    assert (told.is_stash, told.own, told.title) == (True, True, 'h:5000/small')
    assert (told.profiles, told.build_type, told.package_manager) == (('one', 'two'), 'tbz', 'apt')
    assert (told.root_mode, told.root_owner, told.author) == (0o1777, (7, 8), 'Me')
    assert told.wrong == ()


@pytest.mark.parametrize(('base', 'exact', 'expected'), [
    (None, False, 'ns'), (ImageInfo(BASE), True, 'ns'), (ImageInfo(BASE), False, 'rounded')
])
def test_labels_of_a_base(base: Optional[ImageInfo], exact: bool, expected: str) -> None:
    made = make_labels('small:v1', DESCRIPTION, ROOT, '', base, exact)
    assert made[labels.MTIME] == expected
    assert made[labels.BASE_NAME] == ('b' * 12 if base else '')


def layer(where: Path, kind: str = GZIP_TYPE) -> Layer:
    """Make a blob of no tar: the storage of these tests does not unpack."""
    data = b'no tar'
    digest = hashlib.sha256(data).hexdigest()
    path = Path(make_layout(str(where))) / digest
    path.write_bytes(data)
    return Layer(
        str(path), f'sha256:{digest}', f'sha256:{"9" * 64}', len(data), 10, 1, 2, 3, kind
    )


def test_history_and_annotations(tmp_path: Path) -> None:
    assert make_history('Me', None)['comment'] == 'KIWI Root Tree Stash: nothing changed'
    assert make_history('Me', layer(tmp_path / 'l'))['comment'] == (
        'KIWI Root Tree Stash: 1 added, 2 changed, 3 removed, 6 bytes'
    )
    assert annotations_of({
        labels.TITLE: 'x', labels.BASE_NAME: '', labels.META: 'y', 'user': 'z'
    }) == {labels.TITLE: 'x'}


@pytest.mark.parametrize('kind', [GZIP_TYPE, ZSTD_TYPE])
def test_first_layer(
    space: Workspace, stored: StoredImages, tmp_path: Path, kind: str
) -> None:
    """What the storage lists is never zstd, which not all tools take."""
    layout = tmp_path / 'layout'
    image_id, digest = store_image(NewImage(
        'small:v1', DESCRIPTION, ROOT, None, layer(layout, kind), {'user': 'x'}
    ), space, str(layout))
    info, = stored.infos()[-1:]
    assert (info.image_id, info.digest, info.names) == (image_id, digest, ())
    assert is_own_stash(info) and info.layers == (f'sha256:{"9" * 64}',)
    assert info.labels['user'] == 'x' and info.stash_labels.layer_size == 6
    manifest = json.loads((stored.where / f'manifest{image_id}').read_text())
    assert [one['mediaType'] for one in manifest['layers']] == [
        TAR_TYPE if kind == ZSTD_TYPE else GZIP_TYPE
    ]
    assert set(space.open_notes()) == {('image', image_id)}, 'it has no name yet'


@pytest.fixture
def base(stored: StoredImages) -> Base:
    """Give a stash of the same description."""
    told = make_labels('small:v1', DESCRIPTION, ROOT, '', None, True)
    return Base(stored.add(
        BASE, 'localhost/small:v1', told={**told, **own_labels(), 'user': 'x'},
        Digest='sha256:' + 'd' * 64
    ), 'here')


def test_layer_on_a_base(
    space: Workspace, stored: StoredImages, base: Base, tmp_path: Path
) -> None:
    documents = ImageDocuments(BASE)
    store_image(NewImage(
        'small:v2', replace(DESCRIPTION, author=''), ROOT, base, layer(tmp_path / 'layout'), {},
        documents
    ), space, str(tmp_path / 'layout'))
    documents.close()
    info = stored.infos()[-1]
    assert info.layers == (LAYER, f'sha256:{"9" * 64}') and is_own_stash(info)
    assert (info.stash_labels.base_name, info.stash_labels.title) == ('localhost/small:v1', 'small')
    assert info.labels['user'] == 'x', 'labels of users are inherited'
    assert [entry.get('empty_layer', False) for entry in info.history] == [False, False]
    assert extras_of(info) == {}


@pytest.mark.parametrize(('change', 'same'), [
    ({}, True), ({'extra': {'user': 'x'}}, True), ({'extra': {'user': 'y'}}, False),
    ({'extra': {'new': ''}}, False), ({'profiles': 'one'}, False), ({'build_type': 'oem'}, False),
    ({'mode': 0o40755}, False), ({'author': 'You'}, True), ({'foreign': True}, False),
])
def test_nothing_changed(
    space: Workspace, stored: StoredImages, base: Base, tmp_path: Path, change: Dict[str, Any],
    same: bool
) -> None:
    """Then the base is the image, unless it does not say what the stash would say."""
    extra = change.pop('extra', {})
    root = os.stat_result((change.pop('mode', 0o41777), *ROOT[1:]))
    if change.pop('foreign', False):
        base = Base(replace(base.info, layers=(*base.info.layers, 'sha256:x')), 'here')
    documents = ImageDocuments(BASE)
    image_id, digest = store_image(NewImage(
        'small:v2', replace(DESCRIPTION, **change), root, base, None, extra, documents
    ), space, str(tmp_path / 'layout'))
    documents.close()
    if same:
        assert (image_id, digest) == (BASE, base.info.digest)
        assert stored.calls('copy') == []
    else:
        info = stored.infos()[-1]
        assert info.image_id == image_id != BASE
        assert info.layers == (LAYER,) and info.history[-1]['empty_layer'] is True
        assert info.stash_labels.layer_size == 0


@pytest.mark.parametrize('copies', [1, 2])
def test_image_of_a_given_moment_may_be_there(
    space: Workspace, stored: StoredImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    copies: int
) -> None:
    monkeypatch.delenv('SOURCE_DATE_EPOCH', raising=False)
    if copies == 1:
        monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    made = set()
    for number in range(2):
        layout = tmp_path / f'layout{number}'
        made.add(store_image(NewImage(
            'small:v1', DESCRIPTION, ROOT, None, layer(layout),
            {'number': str(number * copies // 2)}
        ), space, str(layout)))
    assert (len(made), len(stored.calls('copy'))) == (copies, copies)
