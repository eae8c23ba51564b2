# SPDX-License-Identifier: GPL-3.0-or-later
"""What is listed of a storage and of a registry, and in which form."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import pytest
from stored_images import LAYER, StoredImages, own_labels

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stash.stash_list import (
    StashInfo, describe, format_json, format_table, is_listed, list_remote, list_stashes
)
from kiwi_stackbuild_plugin.storage.access import Access

ONE, TWO, THREE, FOUR = ('1' * 64, '2' * 64, '3' * 64, '4' * 64)
ACCESS = Access()
#: what the older plugin wrote
OLD = {labels.META: 'KIWI'}


@pytest.fixture
def some(stored: StoredImages) -> StoredImages:
    """Give a storage with stashes, what was built on one, and other images."""
    stored.add(ONE, 'localhost/small:v2', 'localhost/small:v10', 'h:5000/team/web:v1',
               told=own_labels(LAYER_SIZE='7'))
    stored.add(TWO, 'localhost/built-on-it:v1', layers=(LAYER, LAYER[:-1] + 'b'),
               told=own_labels())
    stored.add(THREE, 'localhost/old:v1', layers=(LAYER, LAYER[:-1] + 'b'), told=OLD)
    stored.add(FOUR, 'localhost/debian:12')
    return stored


def names(found: Sequence[StashInfo]) -> List[str]:
    return [f'{one.name}:{one.tag}' for one in found]


@pytest.mark.parametrize(('name', 'expected'), [
    (None, ['h:5000/team/web:v1', 'old:v1', 'small:v10', 'small:v2']),
    ('small', ['small:v10', 'small:v2']), ('small:v2', ['small:v2']), ('small:', []),
    ('sma', []), ('h:5000/team/web', ['h:5000/team/web:v1']), ('built-on-it', []),
    ('debian', []), ('', []), ('localhost/small', []),
])
def test_what_is_stored(some: StoredImages, name: Any, expected: List[str]) -> None:
    found = list_stashes(name)
    assert names(found) == expected
    assert all((one.chain is None) is (name is None) for one in found)


def test_sizes_are_asked_for_where_no_label_tells(
    some: StoredImages, caplog: pytest.LogCaptureFixture
) -> None:
    assert [one.layer_size for one in list_stashes()] == [7, 2, 7, 7]
    assert len(some.calls('inspect', '--raw')) == 1
    (some.where / f'manifest{THREE}').write_text('{}')
    found = list_stashes('old')
    assert [one.layer_size for one in found] == [None]
    assert f'image {THREE[:12]}: its manifest' in caplog.text
    assert 'sizes of its layers are not known' in caplog.text
    assert found[0].chain is not None and len(found[0].chain) == 2
    assert ' - ' in format_table(found)


@pytest.mark.parametrize(('place', 'name', 'expected'), [
    ('h:5000', None, ['h:5000/team/web:v1']), ('h:5000/', None, ['h:5000/team/web:v1']),
    ('h:5000/team', None, ['h:5000/team/web:v1']), ('h:5000/te', None, []),
    ('h:5000/team/web', None, ['h:5000/team/web:v1']),
    ('h:5000', 'team/web', ['h:5000/team/web:v1']),
    ('docker://h:5000/team', 'web:v1', ['h:5000/team/web:v1']), ('h:5000', 'team/web:v2', []),
])
def test_what_a_registry_offers(
    some: StoredImages, place: str, name: Any, expected: List[str]
) -> None:
    found = list_remote(place, name, ACCESS)
    assert names(found) == expected
    assert all((one.chain is None) is (name is None) for one in found)
    assert bool(some.calls('search')) is (name is None)


def test_other_images_of_a_registry_are_passed_over(some: StoredImages) -> None:
    """Nor is what somebody built on a stash one."""
    for digit, told in (('5', {}), ('6', own_labels(LAYER[:-1] + 'b')), ('7', own_labels())):
        some.add(digit * 64, f'h:5000/more:v{digit}', told=told)
    assert names(list_remote('h:5000/more', None, ACCESS)) == ['h:5000/more:v7']


def test_registry_without_a_catalog(some: StoredImages) -> None:
    (some.where / 'no-catalog').touch()
    assert names(list_remote('h:5000/team/web', None, ACCESS)) == ['h:5000/team/web:v1']
    with pytest.raises(KiwiStashImageNotFound, match='h:5000: cannot be listed: no catalog'):
        list_remote('h:5000', None, ACCESS)
    with pytest.raises(KiwiStashImageNotFound, match='h:5000/team/api: cannot be listed'):
        list_remote('h:5000/team', 'api', ACCESS)


def test_what_cannot_be_read_is_named(
    some: StoredImages, caplog: pytest.LogCaptureFixture
) -> None:
    """One broken image hides no other one."""
    some.add('5' * 64, 'h:5000/team/api:v1', told=own_labels())
    (some.where / f'manifest{"5" * 64}').write_text('[]')
    assert names(list_remote('h:5000', None, ACCESS)) == ['h:5000/team/web:v1']
    assert 'h:5000/team/api:v1: what is there is no image' in caplog.text


@pytest.mark.parametrize('place', ['', 'me:pw@h', 'H E', 'oci:/x'])
def test_places_that_are_none(some: StoredImages, place: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid):
        list_remote(place, None, ACCESS)
    assert some.calls() == []


@pytest.mark.parametrize(('told', 'layers', 'listed'), [
    (own_labels(), (LAYER,), True), (own_labels(), (LAYER, 'sha256:x'), False),
    (own_labels(), (), False), (OLD, (LAYER, 'sha256:x'), True),
])
def test_descendants_are_none(told: Dict[str, str], layers: Tuple[str, ...], listed: bool) -> None:
    assert is_listed(ImageInfo(ONE, labels=told, layers=layers)) is listed


def test_row_and_document() -> None:
    base = own_labels(BASE_NAME='debian:12', BASE_DIGEST=LAYER, TYPE='tbz', PROFILES='a,b',
                      DESCRIPTION_DIGEST='sha256:d', AUTHORS='Me')
    info = ImageInfo(ONE, created='2026-01-02T04:04:05.5+01:00', labels=base, layers=(LAYER,),
                     size=1 << 20, digest=LAYER, author='you')
    row = describe(info, 'small', 'v1', [2048])
    told, = json.loads(format_json([row]))['stashes']
    assert told == {
        'name': 'small', 'tag': 'v1', 'id': ONE, 'digest': LAYER, 'size': 1 << 20,
        'created': '2026-01-02T03:04:05Z', 'layer_size': 2048, 'layers': 1,
        'base': {'name': 'debian:12', 'digest': LAYER}, 'description': True, 'type': 'tbz',
        'profiles': ['a', 'b'], 'packagemanager': None, 'author': 'Me'
    }
    title, line = format_table([row]).splitlines()
    assert title.split()[-3:] == ['LAYERS', 'TYPE', 'BASE']
    assert line.split()[:3] == ['small', 'v1', ONE[:12]]
    assert line.split()[-3:] == ['1', 'tbz', 'debian:12']


def test_base_of_an_older_stash_is_not_believed() -> None:
    """It inherits the label of its base."""
    row = describe(ImageInfo(ONE, labels={**OLD, labels.BASE_NAME: 'x'}), 'a', 'b', [])
    assert (row.base, row.description, row.layer_size) == (None, True, None)
    assert format_table([]).splitlines()[0].startswith('NAME')
    assert json.loads(format_json([])) == {'stashes': []}


def test_tools_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    for call in (list_stashes, lambda: list_remote('h', None, ACCESS)):
        with pytest.raises(KiwiStashToolFailed, match='podman'):
            call()
