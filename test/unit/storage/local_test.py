# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored images: found, listed, mounted, added and named, and what goes wrong there."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import List, Optional

import pytest
from fake_storage import FakeStorage, config_of, manifest_of

from kiwi_stackbuild_plugin.graph.records import GraphRoot
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.locks import in_use
from kiwi_stackbuild_plugin.host.workspace import IMAGE, Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.directories import graph_root, storage_key

ONE, TWO, THREE = 'a' * 64, 'b' * 64, 'c' * 64
CONFIG = config_of(['sha256:1'])
ADDED = hashlib.sha256(CONFIG.encode()).hexdigest()


def test_find_by_name_and_id(storage: FakeStorage) -> None:
    storage.add(ONE, 'localhost/a:1')
    for name in ('localhost/a:1', ONE, ONE[:12]):
        found = local.find_image(name)
        assert found is not None and found.image_id == ONE
    assert local.find_image('localhost/a:2') is None
    assert local.find_image('--all') is None, 'no option'


@pytest.mark.parametrize('said', [
    'Error: no such image x', 'Error: x: image not known',
    'Error: unable to find a name and tag match for x: No Such Image'
])
def test_every_podman_says_in_its_way_that_there_is_none(
    storage: FakeStorage, said: str
) -> None:
    storage.fail('image inspect', said)
    assert local.find_image('x') is None


@pytest.mark.parametrize('call', ['image inspect', 'podman images'])
def test_storage_that_cannot_be_read_is_no_empty_one(storage: FakeStorage, call: str) -> None:
    storage.add(ONE)
    storage.fail(call, 'warning\nError: database is locked\n')
    with pytest.raises(KiwiStashToolFailed, match=r'cannot read its storage: .*database is locked'):
        local.list_images()


def test_lists(storage: FakeStorage) -> None:
    assert local.list_images() == []
    storage.add(ONE, 'localhost/a:1', 'localhost/b:1', Labels={labels.META: 'x'})
    storage.add(TWO, 'localhost/a:2')
    storage.add(THREE, Labels={labels.META: ''})

    def ids(*infos: local.ImageInfo) -> List[str]:
        return [info.image_id for info in infos]
    assert ids(*local.list_images()) == [ONE, TWO, THREE], 'each once'
    assert ids(*local.list_images(repository='localhost/a')) == [ONE, TWO]
    assert ids(*local.list_stashes()) == [ONE, THREE]
    assert ids(*local.list_stashes('localhost/b')) == [ONE]
    assert local.list_images(repository='localhost') == []


def test_image_that_goes_between_two_calls_is_passed_over(storage: FakeStorage) -> None:
    storage.add(ONE, 'localhost/a:1')
    storage.change(ghosts=[{'Id': TWO, 'RepoTags': ['localhost/a:2']}])
    assert [info.image_id for info in local.list_images()] == [ONE]
    storage.change(images=[])
    assert local.list_images() == []


@pytest.mark.parametrize(('full', 'shown'), [
    ('localhost/a:1', ('a', '1')), ('h:5000/a:1', ('h:5000/a', '1')),
    ('localhost:5000/a:1', ('localhost:5000/a', '1')), ('localhost/b/a:1', ('b/a', '1'))
])
def test_names_as_they_are_shown(full: str, shown: object) -> None:
    assert local.split_name(full) == shown


@pytest.mark.parametrize('text', ['0', '-1', '', 'x', 'nan', 'inf', '1e12', '1 h'])
def test_time_limits_that_are_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv('KIWI_STASH_TIMEOUT', text)
    with pytest.raises(KiwiStashArgumentInvalid, match='not a number of seconds'):
        local.network_timeout()


def test_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('KIWI_STASH_TIMEOUT', raising=False)
    assert local.network_timeout() == 3600
    monkeypatch.setenv('KIWI_STASH_TIMEOUT', '0.5')
    assert local.network_timeout() == 0.5


def test_tools_that_are_missing_are_all_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(KiwiStashToolFailed, match=r'podman and skopeo.*\n.*podman skopeo'):
        local.require_storage_tools()


def test_add_then_name(storage: FakeStorage, space: Workspace) -> None:
    storage.offer('oci-archive:/x', config=CONFIG, manifest=manifest_of('tar:1'))
    digest = local.import_image(space, 'oci-archive:/x', ADDED)
    assert digest == f'sha256:{hashlib.sha256(manifest_of("tar:1").encode()).hexdigest()}'
    assert storage.names() == {ADDED: []} and space.open_notes() == [(IMAGE, ADDED)]
    assert not local.remove_unnamed(ADDED), 'we use it'
    local.tag_image(space, ADDED, 'localhost/a:1')
    assert storage.names() == {ADDED: ['localhost/a:1']} and space.open_notes() == []


def test_what_is_there_already_is_not_ours_to_take_back(
    storage: FakeStorage, space: Workspace
) -> None:
    storage.add(ADDED, Digest='sha256:there')
    assert local.import_image(space, 'oci-archive:/x', ADDED) == 'sha256:there'
    assert space.open_notes() == []


def test_failed_copy_is_noted_before(storage: FakeStorage, space: Workspace) -> None:
    with pytest.raises(KiwiStashToolFailed, match='skopeo copy'):
        local.import_image(space, 'oci-archive:/gone', ADDED)
    assert space.open_notes() == [(IMAGE, ADDED)]


@pytest.mark.parametrize(('names', 'kept'), [
    ([], [f'localhost/kiwi-imported:{ONE[:12]}']), (['localhost/a:1'], ['localhost/a:1'])
])
def test_what_came_without_a_name_gets_one_of_ours(
    storage: FakeStorage, space: Workspace, names: List[str], kept: List[str]
) -> None:
    storage.add(ONE, *names)
    stranger = local.find_image(ONE)
    assert stranger is not None
    local.keep_added(space, stranger)
    assert storage.names() == {ONE: names}, 'not added by this run'
    info = local.find_added(space, ONE)
    assert info is not None
    local.keep_added(space, info)
    assert storage.names() == {ONE: kept}


@pytest.mark.parametrize(('use', 'names', 'done', 'left'), [
    (None, [], True, False), (None, ['localhost/a:1'], True, True),
    (local._ADDED, [], False, True), (local._MOUNTED, [], False, True),
])
def test_unnamed_ones_are_removed_unless_used(
    storage: FakeStorage, use: Optional[str], names: List[str], done: bool, left: bool
) -> None:
    storage.add(ONE, *names)
    with in_use(use or 'other', ONE, storage_key()):
        assert local.remove_unnamed(ONE) is done
    assert bool(storage.names()) is left
    assert local.remove_unnamed(TWO), 'gone already'


def said(words: str) -> str:
    return f'time="2026-11-26T21:00:45Z" level=debug msg="{words}"\n'


@pytest.mark.parametrize(('lines', 'asked'), [
    (['Using graph driver overlay', 'Using graph root @'], 0),
    # storage.conf names no driver, as on Debian
    (['Using graph driver ', 'Using graph root @',
      '[graphdriver] using prior storage driver: overlay'], 0),
    (['Using graph driver ', 'Using graph root @'], 1),
    (['Using graph driver vfs', 'Using graph root @'], 1),
    (['Using graph driver overlay', 'Using graph root @/gone'], 1),
    (['Using graph driver overlay', r'Using graph root @\\"'], 1),
    (['Using graph driver overlay'], 1), ([], 1),
])
def test_graph_root_is_heard_or_asked_for(
    storage: FakeStorage, lines: List[str], asked: int
) -> None:
    """To ask takes half a second, and is done where nothing was heard that is there."""
    place = storage.state['graph_root']
    storage.change(log=''.join(said(line.replace('@', place)) for line in lines))
    for _ in range(2):
        assert graph_root() == GraphRoot(place, 'overlay')
    assert len(storage.calls('podman', 'info')) == asked
    assert len(storage.calls('podman', 'exists')) == 1


@pytest.mark.parametrize(('graph_root', 'longest'), [
    ('/g', 4095 - len('/g/overlay//diff/') - 64), ('/ü', 4095 - len('/uu/overlay//diff/') - 64)
])
def test_longest_path_in_bytes(storage: FakeStorage, graph_root: str, longest: int) -> None:
    storage.change(graph_root=graph_root)
    assert local.longest_path() == longest
