# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of stashes: written whole, read through no link, dropped with the image."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from stored_images import StoredImages, own_labels

from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.stash.sbom import (
    drop_documents, keep_documents, kept_documents, state_directory
)

ONE, TWO = '1' * 64, '2' * 64


@pytest.fixture
def state(stored: StoredImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory of the documents, and a stored stash with a package."""
    monkeypatch.setenv('KIWI_STASH_STATE', str(tmp_path / 'state'))
    status = stored.tree(ONE) / 'var/lib/dpkg/status'
    status.parent.mkdir(parents=True)
    status.write_text('Package: one\nStatus: install ok installed\nVersion: 1\n')
    stored.add(ONE, 'localhost/small:v1', told={
        **own_labels(), labels.TITLE: 'small', labels.VERSION: 'v1'
    })
    return Path(state_directory())


def test_kept_and_found_again(state: Path, space: Workspace) -> None:
    assert kept_documents(ONE) == []
    keep_documents(space, ONE, 'small:v1')
    assert sorted(os.listdir(state / ONE)) == ['provenance.intoto.json', 'sbom.spdx.json']
    assert [one.kind for one in kept_documents(ONE)] == ['sbom', 'provenance']
    document = json.loads((state / ONE / 'sbom.spdx.json').read_text())
    assert [one['name'] for one in document['packages']] == ['small', 'one']
    before = {path.name: path.read_bytes() for path in (state / ONE).iterdir()}
    keep_documents(space, ONE, 'small:v1')
    assert {path.name: path.read_bytes() for path in (state / ONE).iterdir()} == before


def test_each_storage_has_its_own(
    state: Path, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_documents(space, ONE, 'small:v1')
    monkeypatch.setenv('CONTAINERS_STORAGE_CONF', '/another')
    assert kept_documents(ONE) == []
    drop_documents([])
    assert sorted(os.listdir(state / ONE))


def test_dropped_with_the_image(state: Path, space: Workspace) -> None:
    drop_documents([])
    keep_documents(space, ONE, 'small:v1')
    (state / TWO).mkdir()
    (state / 'notes').write_text('of somebody')
    drop_documents([ONE])
    assert sorted(os.listdir(state)) == [ONE, 'notes']
    drop_documents([])
    assert os.listdir(state) == ['notes']


def test_links_are_not_followed(state: Path, space: Workspace, tmp_path: Path) -> None:
    (tmp_path / 'victim').write_text('old')
    (state / ONE).mkdir(parents=True)
    (state / ONE / 'sbom.spdx.json').symlink_to(tmp_path / 'victim')
    assert kept_documents(ONE) == []
    keep_documents(space, ONE, 'small:v1')
    assert (tmp_path / 'victim').read_text() == 'old'
    assert len(kept_documents(ONE)) == 2


def test_where_others_can_write(state: Path, space: Workspace) -> None:
    (state / ONE).mkdir(parents=True)
    (state / ONE).chmod(0o777)
    with pytest.raises(KiwiStashTargetInvalid, match='others can write there'):
        keep_documents(space, ONE, 'small:v1')
    assert os.listdir(state / ONE) == []
