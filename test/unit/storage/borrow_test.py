# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to look at: the stored one where there is one, else fetched for the run."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Optional

import pytest
from fake_storage import FakeStorage, config_of, manifest_of

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid, KiwiStashImageNotFound
from kiwi_stackbuild_plugin.storage.borrow import borrow_image
from kiwi_stackbuild_plugin.storage.cleanup import open_space
from kiwi_stackbuild_plugin.storage.find import DEFAULT_POLICY, Policy, Sources

STORED = 'a' * 64
CONFIG = config_of(['sha256:1'])
REMOTE = hashlib.sha256(CONFIG.encode()).hexdigest()
FROM = Policy(registry='h:5000/p')


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Give a directory for workspaces."""
    (tmp_path / 'tmp').mkdir()
    return tmp_path / 'tmp'


def borrowed(parent: Path, text: str, lookup: Policy = DEFAULT_POLICY) -> str:
    with open_space(str(parent)) as space:
        return borrow_image(text, '--diff', Sources(space, lookup)).image_id


@pytest.mark.parametrize(('text', 'name'), [
    ('a', 'localhost/a:latest'), ('a:1', 'localhost/a:1'), ('localhost/a:1', 'localhost/a:1'),
    (STORED, 'localhost/a:1'), (STORED[:12], 'localhost/a:1'), ('h.x/a:1', 'h.x/a:1'),
    ('docker://h.x/a', 'h.x/a:latest'), ('containers-storage:localhost/a:1', 'localhost/a:1'),
])
def test_stored_ones_are_looked_at_where_they_are(
    storage: FakeStorage, parent: Path, text: str, name: str
) -> None:
    storage.add(STORED, name)
    assert borrowed(parent, text) == STORED
    assert storage.names() == {STORED: [name]}
    assert not storage.calls('skopeo')


@pytest.mark.parametrize(('text', 'place', 'lookup'), [
    ('h.x/a:1', 'docker://h.x/a:1', DEFAULT_POLICY),
    ('docker://h.x/a', 'docker://h.x/a:latest', DEFAULT_POLICY),
    (f'h.x/a@sha256:{"0" * 64}', f'docker://h.x/a@sha256:{"0" * 64}', DEFAULT_POLICY),
    ('oci-archive:/x/y.tar', 'oci-archive:/x/y.tar', DEFAULT_POLICY),
    ('a:1', 'docker://h:5000/p/a:1', FROM), ('h.x/a:1', 'docker://h.x/a:1', FROM),
])
def test_what_was_fetched_goes_again(
    storage: FakeStorage, parent: Path, text: str, place: str, lookup: Policy
) -> None:
    storage.offer(place, config=CONFIG, manifest=manifest_of('tar:1'))
    with open_space(str(parent)) as space:
        assert borrow_image(text, '--diff', Sources(space, lookup)).image_id == REMOTE
        assert storage.names() == {REMOTE: []}, 'no name of a stored one moves'
    assert storage.names() == {}


@pytest.mark.parametrize('name', [None, 'localhost/mine:1'])
def test_what_is_stored_anyway_is_not_fetched_and_stays(
    storage: FakeStorage, parent: Path, name: Optional[str]
) -> None:
    storage.offer('oci-archive:/x', config=CONFIG, manifest=manifest_of('tar:1'))
    storage.add(REMOTE, *([name] if name else []))
    before = storage.names()
    assert borrowed(parent, 'oci-archive:/x') == REMOTE
    assert storage.names() == before and not storage.calls('copy')


def test_registry_asked_for_is_asked_even_if_the_name_is_stored(
    storage: FakeStorage, parent: Path
) -> None:
    storage.add(STORED, 'localhost/a:1')
    storage.add('b' * 64, 'h:5000/p/a:1')
    storage.offer('docker://h:5000/p/a:1', config=CONFIG, manifest=manifest_of('tar:1'))
    assert borrowed(parent, 'a:1', FROM) == REMOTE
    assert borrowed(parent, 'localhost/a:1', FROM) == STORED


@pytest.mark.parametrize(('text', 'error', 'says'), [
    ('a', KiwiStashImageNotFound, "--diff 'a': no such stash or image"),
    ('localhost/a:1', KiwiStashImageNotFound, "--diff 'localhost/a:1': no such stash or image"),
    ('h.x/a:1', KiwiStashImageNotFound, 'docker://h.x/a:1: cannot be read: manifest unknown'),
    ('oci-archive:/gone', KiwiStashImageNotFound, 'oci-archive:/gone: cannot be read'),
    ('containers-storage:a', KiwiStashImageNotFound, '--diff containers-storage:a'),
    ('docker://a', KiwiStashArgumentInvalid, "--diff 'docker://a': docker:// needs a registry"),
    ('me:pw@h.x/a', KiwiStashArgumentInvalid, '--diff: user and password'),
    ('A', KiwiStashArgumentInvalid, "--diff 'A' is not an image reference"),
])
def test_what_is_nowhere(
    storage: FakeStorage, parent: Path, text: str, error: Any, says: str
) -> None:
    storage.add(STORED, 'localhost/other:1')
    with pytest.raises(error) as raised:
        borrowed(parent, text)
    assert raised.value.summary.startswith(says)
    assert list(storage.names()) == [STORED]
