# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash" on small trees, from the request to what the storage has."""
from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

import kiwi.defaults
import pytest
from stored_images import StoredImages
from trees import CONFIG, describe, make_root

from kiwi_stackbuild_plugin.description.origin import read_origin
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid,
    KiwiStashLocked, KiwiStashNotStorable, KiwiStashRootInvalid, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import extras_of, is_own_stash
from kiwi_stackbuild_plugin.stash.stash import StashRequest, stash
from kiwi_stackbuild_plugin.tree.opening import open_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / 'root')


@pytest.fixture(autouse=True)
def temp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a directory for temporary files; nothing may stay in it."""
    where = tmp_path / 'temp'
    where.mkdir()
    monkeypatch.setattr(kiwi.defaults, 'TEMP_DIR', str(where))
    monkeypatch.delenv('SOURCE_DATE_EPOCH', raising=False)
    yield where
    assert os.listdir(where) == []


def bytes_of(root: Path) -> Any:
    """Return all of a tree but the record of what it came from."""
    return describe(root, ('image/stash.json',))


def record_of(root: Path) -> str:
    """Return the image that a tree says to have come from."""
    fd = open_tree(str(root))
    try:
        record = read_origin(fd)
    finally:
        os.close(fd)
    return record.image if record else ''


def test_first_stash_is_whole_and_the_next_a_change(
    root: Path, stored: StoredImages
) -> None:
    before = bytes_of(root)
    assert stash(StashRequest(str(root), labels=('user=x',))) == ''
    first, = stored.infos()
    assert first.names == ('localhost/small:latest',) and is_own_stash(first)
    assert (record_of(root), first.labels['user']) == (first.image_id, 'x')
    (root / 'etc/new').write_text('new')
    stash(StashRequest(str(root), 'other', 'v2'))
    _, second = stored.infos()
    assert second.names == ('localhost/other:v2',)
    assert second.layers[:1] == first.layers and len(second.layers) == 2
    assert second.history[-1]['comment'].startswith('KIWI Root Tree Stash: 1 added, 1 changed')
    assert stored.calls('mount') == [], 'the index knew it all'
    stash(StashRequest(str(root), 'other', 'v3'))
    assert len(stored.infos()) == 2 and stored.infos()[1].names[-1] == 'localhost/other:v3'
    (root / 'etc/new').unlink()
    os.utime(root / 'etc', ns=(1, before[b'etc'][4]))
    assert bytes_of(root) == before, 'the tree stays as it was'


def test_unchanged_tree_stays_what_it_was_built_of(root: Path, stored: StoredImages) -> None:
    """A change of it is another thing, of which nobody knows what it was built of."""
    stash(StashRequest(str(root), 'web', inputs='what it is made of'))
    for more in ({}, {'container_name': 'copy'}):
        stash(StashRequest(str(root), **{'container_name': 'web', **more}))
        assert len(stored.infos()) == 1
    stash(StashRequest(str(root), 'web', labels=('user=x',)))
    assert stored.infos()[-1].stash_labels.inputs == 'what it is made of'
    (root / 'etc/new').write_text('new')
    stash(StashRequest(str(root), 'web'))
    assert not stored.infos()[-1].stash_labels.inputs


@pytest.mark.parametrize(('more', 'kind', 'said'), [
    ({'root': ''}, KiwiStashRootInvalid, 'the directory name is empty'),
    ({'root': '/nowhere'}, KiwiStashRootInvalid, '/nowhere'),
    ({'root': '/'}, KiwiStashRootInvalid, 'the root of this machine'),
    ({'container_name': 'A'}, KiwiStashArgumentInvalid, "--container-name 'A'"),
    ({'tag': ''}, KiwiStashArgumentInvalid, '--tag'),
    ({'tag': '-'}, KiwiStashArgumentInvalid, "--tag '-'"),
    ({'labels': ('x',)}, KiwiStashArgumentInvalid, "--label 'x'"),
    ({'exports': ('x',)}, KiwiStashArgumentInvalid, "'x'"),
    ({'base': 'A'}, KiwiStashArgumentInvalid, "--base 'A'"),
    ({'ignore_times': True, 'no_base': True}, KiwiStashArgumentInvalid, '--ignore-times: with'),
    ({'clamp_mtime': True}, KiwiStashArgumentInvalid, 'SOURCE_DATE_EPOCH is not set'),
    ({'base': 'nowhere'}, KiwiStackBuildError, '--base'),
])
def test_what_is_wrong_with_a_request(
    root: Path, stored: StoredImages, more: Any, kind: Any, said: str
) -> None:
    before = describe(root)
    with pytest.raises(kind) as issue:
        stash(replace(StashRequest(str(root)), **more))
    assert said in issue.value.summary
    assert stored.infos() == [] and describe(root) == before


@pytest.mark.parametrize(('name', 'value'), [
    ('KIWI_STASH_MAX_LAYERS', '0'), ('SOURCE_DATE_EPOCH', 'x'), ('KIWI_STASH_TIMEOUT', '-1'),
])
def test_environment_is_checked_first(
    root: Path, stored: StoredImages, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(KiwiStashArgumentInvalid, match=name):
        stash(StashRequest(str(root)))
    assert stored.calls() == []


@pytest.mark.parametrize(('config', 'said', 'hint'), [
    (None, 'has no image/config.xml to take a name from', '--container-name'),
    ('<image', 'config.xml', ''), (CONFIG.format(schema='7.4', name='a b'), "'a b' cannot", ''),
    (CONFIG.format(schema='7.4', name='../x'), "'../x' cannot", ''),
])
def test_name_of_the_description(
    root: Path, stored: StoredImages, config: Any, said: str, hint: str
) -> None:
    (root / 'image/config.xml').unlink()
    if config:
        (root / 'image/config.xml').write_text(config)
    with pytest.raises((KiwiStashDescriptionInvalid, KiwiStashArgumentInvalid)) as issue:
        stash(StashRequest(str(root)))
    assert said in issue.value.summary and hint in issue.value.hint
    if config != '<image':
        stash(StashRequest(str(root), 'given'))
        assert stored.infos()[0].names == ('localhost/given:latest',)


def test_name_of_a_description_in_upper_case(root: Path, stored: StoredImages) -> None:
    (root / 'image/config.xml').write_text(CONFIG.format(schema='7.4', name='Small-OS'))
    stash(StashRequest(str(root)))
    assert stored.infos()[0].names == ('localhost/small-os:latest',)


@pytest.mark.parametrize('form', [None, 'json'])
def test_dry_run_stores_nothing(root: Path, stored: StoredImages, form: Any) -> None:
    stash(StashRequest(str(root)))
    (root / 'etc/new').write_text('12345')
    calls, record = len(stored.calls('copy')), record_of(root)
    text = stash(StashRequest(str(root), dry_run=True, form=form))
    assert (json.loads(text) if form else text) and 'etc/new' in text
    assert 'usr/bin/tool' not in text
    assert (len(stored.calls('copy')), record_of(root)) == (calls, record)


@pytest.mark.parametrize('strict', [False, True])
def test_what_no_layer_can_hold(
    root: Path, stored: StoredImages, caplog: pytest.LogCaptureFixture, strict: bool
) -> None:
    (root / 'etc/.wh.x').write_text('')
    if strict:
        with pytest.raises(KiwiStashNotStorable, match=r'etc/\.wh\.x'):
            stash(StashRequest(str(root), strict=True))
        assert stored.infos() == [] and record_of(root) == ''
    else:
        stash(StashRequest(str(root)))
        assert len(stored.infos()) == 1
    assert 'left out: etc/.wh.x' in caplog.text


def test_extras_are_of_what_is_stored(root: Path, stored: StoredImages) -> None:
    os.utime(root / 'etc/hostname', (0, -1))
    stash(StashRequest(str(root)))
    extras = extras_of(stored.infos()[0])
    assert extras[b'etc/hostname'].mtime == -10**9
    assert set(extras) == {b'', b'etc/hostname'}


@pytest.mark.parametrize('what', ['root', 'name'])
def test_two_at_a_time(root: Path, stored: StoredImages, what: str) -> None:
    key = ('the root tree', os.path.realpath(root)) if what == 'root' else (
        'the stash', 'small:latest', os.environ['CONTAINERS_STORAGE_CONF']
    )
    with locked(*key), pytest.raises(KiwiStashLocked, match=key[0]):
        stash(StashRequest(str(root)))
    assert stored.calls('copy') == []


@pytest.mark.parametrize('tool', ['copy', 'tag'])
def test_tool_that_fails_leaves_the_state_before(
    root: Path, stored: StoredImages, tool: str
) -> None:
    stash(StashRequest(str(root)))
    before, record = stored.infos(), record_of(root)
    (root / 'etc/new').write_text('new')
    stored.fail(tool)
    with pytest.raises(KiwiStashToolFailed):
        stash(StashRequest(str(root)))
    assert stored.infos() == before and record_of(root) == record


def test_full_chain_starts_over(
    root: Path, stored: StoredImages, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'kiwi')
    monkeypatch.setenv('KIWI_STASH_MAX_LAYERS', '2')
    for number in range(3):
        (root / f'etc/{number}').write_text('')
        stash(StashRequest(str(root), tag=f'v{number}'))
    assert [len(info.layers) for info in stored.infos()] == [1, 2, 1]
    last = stored.infos()[-1]
    assert last.labels[labels.BASE_NAME] == ''
    assert 'starting a new single layer' in caplog.text


def test_copy_of_a_tree_comes_from_the_same_base(
    root: Path, stored: StoredImages, tmp_path: Path
) -> None:
    """Its record says so, but no time in it is believed: files are compared."""
    stash(StashRequest(str(root)))
    first, = stored.infos()
    shutil.copytree(root, stored.tree(first.image_id), symlinks=True)
    shutil.copytree(root, tmp_path / 'copy', symlinks=True)
    stash(StashRequest(str(tmp_path / 'copy'), 'copy'))
    assert stored.infos()[-1].layers[:1] == first.layers
    assert stored.calls('mount') != []
