# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and configs as skopeo prints them: read, checked, byte for byte."""
from __future__ import annotations

import json
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Callable

import pytest
from fake_storage import FakeStorage, config_of, manifest_of

from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.documents import (
    ImageDocuments, layer_sizes, read_archive_config, read_config, read_manifest, write_archive
)

IMAGE_ID = 'a' * 64
CONFIG = config_of(['sha256:1', 'sha256:2'], author='Zoë')
MANIFEST = manifest_of('tar+gzip:1', 'tar:2', sizes=[7, 8])


def read_both(image_id: str) -> Any:
    with closing(ImageDocuments(image_id)) as documents:
        return documents.read()


@pytest.fixture
def stored(storage: FakeStorage) -> FakeStorage:
    """Give a storage with one image."""
    storage.add(IMAGE_ID, config=CONFIG, manifest=MANIFEST)
    return storage


def test_of_a_stored_image(stored: FakeStorage) -> None:
    assert read_config(IMAGE_ID) == json.loads(CONFIG)
    assert read_manifest(IMAGE_ID) == json.loads(MANIFEST)
    assert layer_sizes(ImageInfo(IMAGE_ID)) == [7, 8]
    assert read_both(IMAGE_ID) == (json.loads(MANIFEST), json.loads(CONFIG))


@pytest.mark.parametrize(('read', 'field', 'text', 'says'), [
    (read_config, 'config', '{}', 'image aaaaaaaaaaaa: its config is none'),
    (read_manifest, 'manifest', '{"fsLayers": []}', 'image aaaaaaaaaaaa: its manifest is of'),
    (read_both, 'config', '{}', 'image aaaaaaaaaaaa: its config is none'),
    (read_both, 'manifest', '{}', 'image aaaaaaaaaaaa: its manifest is of'),
    (read_both, 'manifest', '', 'not JSON'),
])
def test_documents_of_strangers_are_checked(
    storage: FakeStorage, read: Callable[[str], Any], field: str, text: str, says: str
) -> None:
    storage.add(IMAGE_ID, **{'config': CONFIG, 'manifest': MANIFEST, field: text})
    with pytest.raises(KiwiStashToolFailed, match=says):
        read(IMAGE_ID)


@pytest.mark.parametrize('read', [read_config, read_manifest, read_both])
def test_image_that_is_gone(storage: FakeStorage, read: Callable[[str], Any]) -> None:
    with pytest.raises(KiwiStashToolFailed, match=r'^skopeo inspect: .*not known'):
        read(IMAGE_ID)


def test_what_nobody_asked_for_is_ended(stored: FakeStorage) -> None:
    """A slow skopeo does not hold up the end of a run."""
    pids = stored.home / 'pids'
    (stored.home / 'bin/skopeo').write_text(f'#!/bin/sh\necho $$ >>{pids}\nexec sleep 60\n')
    documents = ImageDocuments(IMAGE_ID)
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        time.sleep(0.01)
    begun = time.monotonic()
    documents.close()
    assert time.monotonic() - begun < 10
    assert not any(os.path.exists(f'/proc/{pid}') for pid in pids.read_text().split())


def test_close_after_read_does_nothing(stored: FakeStorage) -> None:
    documents = ImageDocuments(IMAGE_ID)
    assert documents.read()[1] == json.loads(CONFIG)
    documents.close()


@pytest.mark.parametrize('kind', ['oci-archive', 'docker-archive'])
def test_config_in_an_archive_byte_for_byte(storage: FakeStorage, kind: str) -> None:
    """Its digest is the ID of the image: not even spaces may change."""
    text = '{ "rootfs" : {"diff_ids":[]},\n\t"author":"\\u00e4"}\n '
    storage.offer(f'{kind}:/x/y.tar', config=text)
    assert read_archive_config('/x/y.tar', kind) == text


def test_archive_is_written(stored: FakeStorage, tmp_path: Path) -> None:
    write_archive(IMAGE_ID, f'{tmp_path}/x.tar', 'tag')
    assert (tmp_path / 'x.tar').exists()
    assert stored.state['pushed'] == [f'oci-archive:{tmp_path}/x.tar:tag']
    stored.fail('skopeo copy', 'no space left on device', 1)
    with pytest.raises(KiwiStashToolFailed, match='no space left'):
        write_archive(IMAGE_ID, f'{tmp_path}/y.tar', 'tag')
