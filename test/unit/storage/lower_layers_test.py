# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are made of the lowest layers of a stored one."""
from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List

import pytest
from fake_storage import FakeStorage, config_of, manifest_of

from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.host.workspace import IMAGE, Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.lower_layers import put_together, store_chain

ONE = 'a' * 64
LAYERS = ('sha256:d1', 'sha256:d2', 'sha256:d3')
MANIFEST = manifest_of('tar+gzip:1', 'tar+zstd:2', 'tar:3')
INFO = ImageInfo(ONE, ('localhost/a:1',), layers=LAYERS)
ENTRIES: List[Dict[str, Any]] = [
    {'comment': 'one'}, {'comment': 'env', 'empty_layer': True}, {'comment': 'two'},
    {'comment': 'cmd', 'empty_layer': True}, {'comment': 'three'}
]


def store(storage: FakeStorage, **more: Any) -> None:
    storage.add(
        ONE, 'localhost/a:1', manifest=MANIFEST, RootFS={'Layers': LAYERS},
        config=config_of(LAYERS, config={'Cmd': ['sh']}, **more)
    )


def made(storage: FakeStorage, image_id: str) -> Dict[str, Any]:
    """Return the stored image of an ID, its documents read."""
    found, = (one for one in storage.state['images'] if one['Id'] == image_id)
    assert hashlib.sha256(found['config'].encode()).hexdigest() == image_id
    return {**found, 'config': json.loads(found['config']),
            'layers': json.loads(found['manifest'])['layers']}


@pytest.mark.parametrize(('count', 'comments'), [
    # what says nothing of a layer belongs to the layer below it
    (1, ['one', 'env']), (2, ['one', 'env', 'two', 'cmd'])
])
def test_the_lowest_layers_are_an_image(
    storage: FakeStorage, space: Workspace, count: int, comments: List[str]
) -> None:
    store(storage, history=ENTRIES)
    image = made(storage, store_chain(space, INFO, count))
    assert image['config']['rootfs']['diff_ids'] == list(LAYERS[:count])
    assert image['config']['config'] == {'Cmd': ['sh']}
    assert [entry['comment'] for entry in image['config']['history']] == comments
    told = [(one['mediaType'].rpartition('.')[2], one['digest']) for one in image['layers']]
    # the storage has no zstd: it is listed as what it is unpacked
    assert told == [('tar+gzip', f'sha256:{"1" * 64}'), ('tar', 'sha256:d2')][:count]
    assert image['RepoTags'] == [] and space.open_notes() == [(IMAGE, image['Id'])]


def test_all_layers_are_the_image_itself(storage: FakeStorage, space: Workspace) -> None:
    store(storage)
    assert store_chain(space, INFO, 3) == ONE
    assert list(storage.names()) == [ONE] and space.open_notes() == []


@pytest.mark.parametrize(('history', 'kept'), [
    (None, [{'created_by': 'unknown'}] * 2),
    ([{'comment': 'three'}], [{'created_by': 'unknown'}] * 2),
    ([{}] * 9, [{'created_by': 'unknown'}] * 2),
])
def test_history_that_does_not_fit_the_layers(
    storage: FakeStorage, space: Workspace, history: Any, kept: List[Dict[str, str]]
) -> None:
    store(storage, history=history)
    assert made(storage, store_chain(space, INFO, 2))['config']['history'] == kept


def test_each_run_has_an_image_of_its_own(storage: FakeStorage, space: Workspace) -> None:
    """One takes its own away when it ends; the other still needs the layers."""
    store(storage)
    image = made(storage, store_chain(space, INFO, 1))
    assert image['config']['author'].endswith(space.name)


def test_the_container_below_comes_back_byte_for_byte(
    storage: FakeStorage, space: Workspace
) -> None:
    store(storage)
    config = f'{{ "author":"\\u00e4", "rootfs": {{"diff_ids":\n{json.dumps(LAYERS[:2])}}}}} '
    image = made(storage, put_together(space, INFO, config.encode()))
    assert image['Id'] == hashlib.sha256(config.encode()).hexdigest()
    assert [one['digest'] for one in image['layers']] == [f'sha256:{"1" * 64}', 'sha256:d2']
    assert image['RepoTags'] == []


@pytest.mark.parametrize('config', [
    config_of(['sha256:d1', 'sha256:d3']), config_of(['sha256:d2']),
    config_of([*LAYERS, 'sha256:d4']), config_of([]), '{}', '', '[]', '{"rootfs": {"diff_ids": 5}}',
    '{"rootfs": {"diff_ids": [5]}}', '\0'
])
def test_another_container_is_not_put_together(
    storage: FakeStorage, space: Workspace, config: str
) -> None:
    store(storage)
    with pytest.raises(KiwiStashDescriptionInvalid, match=r'localhost/a:1 .* not its layers'):
        put_together(space, INFO, config.encode())
    assert list(storage.names()) == [ONE] and space.open_notes() == []
