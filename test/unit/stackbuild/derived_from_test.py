# SPDX-License-Identifier: GPL-3.0-or-later
"""The container below a stash: who needs it, is it the same, how it comes back."""
from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import kiwi.system.prepare
import pytest
from stored_images import StoredImages, own_labels
from trees import CONFIG, make_root

from kiwi_stackbuild_plugin.description.description import load_stashed
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid
)
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stackbuild.derived_from import (
    check_container, choose_import, restore_import
)
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import without_import

LAYERS = tuple(f'sha256:{digit * 64}' for digit in 'ab')
CONTAINER = json.dumps({'rootfs': {'diff_ids': LAYERS[:1]}})
DERIVED = ImageInfo('d' * 64, ('localhost/small:v1',), layers=LAYERS,
                    labels=own_labels(LAYERS[1], IMPORTED_ROOT=CONTAINER))
PLAIN = ImageInfo('e' * 64, ('localhost/plain:v1',), layers=LAYERS)
BASE, OTHER = 'obs://project/base', 'obs://project/other'


def config(kind: str) -> str:
    return CONFIG.format(schema='7.4', name='small').replace('<type image="tbz"/>', kind)


def described(where: Path, kind: str) -> Any:
    """Return kiwi's state of a description with such a type."""
    where.mkdir()
    (where / 'config.xml').write_text(config(kind))
    return load_stashed(str(where), None, None)[0]


@pytest.mark.parametrize(('kind', 'base', 'created', 'chosen', 'said'), [
    ('image="oci" derived_from="obs://a"', DERIVED, False, True, ''),
    ('image="docker" derived_from="obs://a"', DERIVED, True, True, ''),
    ('image="tbz"', DERIVED, False, False, ''),
    ('image="oci"', DERIVED, False, False, ''),
    ('image="oci" derived_from="obs://a" delta_root="true"', DERIVED, False, False, ''),
    ('image="oci" derived_from="obs://a"', PLAIN, False, False, 'over it'),
    ('image="oci"', PLAIN, False, False, ''),
])
def test_who_needs_the_container(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, base: ImageInfo,
    created: bool, chosen: bool, said: str
) -> None:
    root = str(make_root(tmp_path / 'root')) if created else ''
    state = described(tmp_path / 'd', f'<type {kind}/>')
    assert choose_import(state, base, root) is (base if chosen else None)
    warnings = [one.getMessage() for one in caplog.records if one.levelname == 'WARNING']
    assert len(warnings) == bool(said) and said in ''.join(warnings)


def test_container_that_nobody_knows(tmp_path: Path) -> None:
    """What an older plugin stashed may have the archive itself."""
    root = make_root(tmp_path / 'root')
    state = described(tmp_path / 'd', f'<type image="oci" derived_from="{BASE}"/>')
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        choose_import(state, PLAIN, str(root))
    assert issue.value.summary.startswith('localhost/plain:v1 was derived from a container')
    (root / 'image/imported_root').write_text('archive')
    assert choose_import(state, PLAIN, str(root)) is None


@pytest.mark.parametrize(('stashed', 'described_as', 'wanted', 'outcome'), [
    (BASE, BASE, BASE, ''), (BASE, OTHER, OTHER, 'warning'), (BASE, BASE, OTHER, 'refused'),
    ('', BASE, BASE, ''), ('', BASE, OTHER, 'refused'), (BASE, OTHER, BASE, 'refused'),
])
def test_containers_are_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stashed: str, described_as: str,
    wanted: str, outcome: str
) -> None:
    """A description is only warned of; arguments that ask for another one are wrong."""
    root = make_root(tmp_path / 'root')
    if stashed:
        (root / 'image/config.xml').write_text(
            config(f'<type image="oci" derived_from="{stashed}"/>')
        )
    state = described(tmp_path / 'd', f'<type image="oci" derived_from="{wanted}"/>')
    if outcome == 'refused':
        with pytest.raises(KiwiStashArgumentInvalid, match=f'derive the image from {wanted}'):
            check_container(state, DERIVED, described_as, str(root))
    else:
        check_container(state, DERIVED, described_as, str(root))
    told = f'was derived from {BASE} and stays so, the description says {wanted}'
    assert (told in caplog.text) is (outcome == 'warning')


@pytest.mark.parametrize(('archive', 'base', 'same'), [
    (CONTAINER, DERIVED, True), (json.dumps({'rootfs': {'diff_ids': LAYERS}}), DERIVED, False),
    ('no config', DERIVED, False), (None, DERIVED, False), (CONTAINER, PLAIN, False),
])
def test_archive_of_the_very_container(
    tmp_path: Path, stored: StoredImages, archive: Any, base: ImageInfo, same: bool
) -> None:
    """Wherever it lies; what cannot be read is another one."""
    root = make_root(tmp_path / 'root')
    path = tmp_path / 'base.tar'
    if archive is not None:
        path.write_text(archive)
    state = described(tmp_path / 'd', f'<type image="oci" derived_from="file://{path}"/>')
    if same:
        check_container(state, base, BASE, str(root))
    else:
        with pytest.raises(KiwiStashArgumentInvalid, match='the layers of another container'):
            check_container(state, base, BASE, str(root))


@pytest.mark.parametrize('there', [True, False])
def test_archive_and_checksum_are_written(
    tmp_path: Path, stored: StoredImages, space: Workspace, there: bool
) -> None:
    """From the container where it is stored, else from the lowest layers of the stash."""
    image_id = hashlib.sha256(CONTAINER.encode()).hexdigest()
    stored.add(DERIVED.image_id, layers=LAYERS)
    if there:
        stored.add(image_id, layers=LAYERS[:1])
    root = make_root(tmp_path / 'root')
    restore_import(space, DERIVED, str(root))
    archive = root / 'image/imported_root'
    with tarfile.open(archive) as opened:
        members = {name: opened.extractfile(name) for name in opened.getnames()}
        index, = json.load(members['index.json'])['manifests']
        manifest = json.load(members[f'blobs/sha256/{index["digest"][7:]}'])
        config = json.load(members[f'blobs/sha256/{manifest["config"]["digest"][7:]}'])
    assert config['rootfs']['diff_ids'] == list(LAYERS[:1])
    copied = stored.calls('skopeo', 'copy')[-1]
    assert f' containers-storage:@{image_id} oci:' in copied and copied.endswith(':base_layer')
    # kiwi up to 10.2 makes an MD5 sum
    checksum, = (root / 'image').glob('imported_root.*')
    assert checksum.read_text().split()[0] == hashlib.new(
        checksum.suffix[1:], archive.read_bytes()
    ).hexdigest()
    assert [info.layers for info in stored.infos()] == [LAYERS, LAYERS[:1]]


def test_container_that_is_not_below(
    tmp_path: Path, stored: StoredImages, space: Workspace
) -> None:
    root = make_root(tmp_path / 'root')
    info = ImageInfo('d' * 64, layers=LAYERS[1:], labels=DERIVED.labels)
    with pytest.raises(KiwiStashDescriptionInvalid, match='not stored, and has not its layers'):
        restore_import(space, info, str(root))
    assert os.listdir(root / 'image') == ['config.xml']


@pytest.mark.parametrize('active', [True, False])
def test_kiwi_imports_nothing_over_the_root(active: bool) -> None:
    """And imports again behind the block, however that ends."""
    original = kiwi.system.prepare.RootImport
    with pytest.raises(ZeroDivisionError), without_import(active):
        assert (kiwi.system.prepare.RootImport is original) is not active
        if active:
            importer = kiwi.system.prepare.RootImport.new('/nowhere', [], 'oci')
            importer.sync_data()
            importer.overlay_finalize(None)
        raise ZeroDivisionError
    assert kiwi.system.prepare.RootImport is original
