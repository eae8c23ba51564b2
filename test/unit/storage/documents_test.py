# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and configs as skopeo prints them: read, checked, byte for byte."""
from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from fake_storage import FakeStorage, config_of, manifest_of

from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace, workspace
from kiwi_stackbuild_plugin.image.cache import WORTH
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


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Give a workspace, and a cache with nothing in it."""
    monkeypatch.setenv('KIWI_STASH_CACHE', f'{tmp_path}/cache')
    with workspace(str(tmp_path)) as made:
        yield made
        assert not [name for name in os.listdir(made.path) if 'packed' in name]


def layers_in(archive: Path) -> List[Dict[str, Any]]:
    """Read what an archive lists; each blob in it is what its digest says."""
    with tarfile.open(archive) as opened:
        blobs = {
            member.name: opened.extractfile(member).read()  # type: ignore[union-attr]
            for member in opened.getmembers()
        }
    index = json.loads(blobs.pop('index.json'))
    blobs.pop('oci-layout')
    for name, data in blobs.items():
        assert name == f'blobs/sha256/{hashlib.sha256(data).hexdigest()}'
    manifest = json.loads(blobs[f'blobs/sha256/{index["manifests"][0]["digest"][7:]}'])
    listed = [f'blobs/sha256/{layer["digest"][7:]}' for layer in manifest['layers']]
    assert set(listed) < set(blobs) and len(blobs) == len(set(listed)) + 2
    found: List[Dict[str, Any]] = manifest['layers']
    return found


def test_archive_is_written(stored: FakeStorage, space: Workspace, tmp_path: Path) -> None:
    write_archive(space, IMAGE_ID, f'{tmp_path}/x.tar', 'tag')
    assert layers_in(tmp_path / 'x.tar')
    assert stored.state['pushed'][0].endswith(':tag')
    stored.fail('skopeo copy', 'no space left on device', 1)
    with pytest.raises(KiwiStashToolFailed, match='no space left'):
        write_archive(space, IMAGE_ID, f'{tmp_path}/y.tar', 'tag')


def test_full_disk_of_an_archive_is_named(stored: FakeStorage, space: Workspace) -> None:
    with pytest.raises(KiwiStashToolFailed, match=r'^copying to oci-archive:x failed: No space'):
        write_archive(space, IMAGE_ID, '/dev/full', 'tag', shown='oci-archive:x')


@pytest.mark.parametrize(('sizes', 'kept'), [
    ([WORTH, WORTH - 1], [0]), ([7, 8], []), ([WORTH, 2 * WORTH], [0, 1])
])
def test_large_layers_are_packed_once(
    storage: FakeStorage, space: Workspace, tmp_path: Path, sizes: List[int], kept: List[int]
) -> None:
    diff_ids = [f'sha256:{digit * 64}' for digit in '12']
    storage.add(
        IMAGE_ID, config=config_of(diff_ids),
        manifest=manifest_of('tar+gzip:1', 'tar:2', sizes=sizes)
    )
    write_archive(space, IMAGE_ID, f'{tmp_path}/first.tar', 'tag')
    first = layers_in(tmp_path / 'first.tar')
    found = {path.name[:64]: path for path in tmp_path.glob('cache/layers/*')}
    assert sorted(found) == sorted(diff_ids[number][7:] for number in kept)
    # other bytes for the same layer show where they come from
    for number in kept:
        data = b'packed by somebody else: %d' % number
        digest = hashlib.sha256(data).hexdigest()
        path = found[diff_ids[number][7:]]
        path.write_bytes(data)
        path.rename(path.with_name(f'{path.name[:64]}.{digest}'))
        first[number] = {**first[number], 'digest': f'sha256:{digest}', 'size': len(data)}
    write_archive(space, IMAGE_ID, f'{tmp_path}/second.tar', 'tag')
    assert layers_in(tmp_path / 'second.tar') == first
