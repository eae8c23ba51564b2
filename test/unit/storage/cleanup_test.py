# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run did to the storage is undone at its end, or after it was killed."""
from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import List

import pytest
from fake_storage import FakeStorage

from kiwi_stackbuild_plugin.graph.notes import (
    UNFINISHED, marked_layers, note_import, read_imports
)
from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashDamaged, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.locks import in_use
from kiwi_stackbuild_plugin.host.workspace import IMAGE, MOUNT, STORAGE, PREFIX
from kiwi_stackbuild_plugin.storage import cleanup, local
from kiwi_stackbuild_plugin.storage.directories import graph_root, storage_key

IMAGE_ID, OTHER = 'a' * 64, 'b' * 64


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Give a directory such as /var/tmp."""
    path = tmp_path / 'tmp'
    path.mkdir()
    path.chmod(0o1777)
    return path


def killed(parent: Path, *notes: str, storage: str = '') -> Path:
    """Leave what a killed run leaves."""
    place = parent / f'{PREFIX}dead'
    place.mkdir(mode=0o700)
    (place / 'owner.lock').touch()
    (place / 'layout').mkdir()
    (place / 'layout/blob').write_text('x')
    lines = [f'+{STORAGE} {storage or storage_key()}', *notes]
    (place / 'journal').write_text(''.join(f'{line}\n' for line in lines))
    return place


def test_failed_undo_is_not_forgotten(
    parent: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal stays, without the rest; the next sweep tries again."""
    undone: List[str] = []

    def failing(image_id: str) -> bool:
        raise KiwiStashToolFailed(f'{image_id[:12]} stays mounted')

    def done(image_id: str) -> bool:
        undone.append(image_id)
        return True
    monkeypatch.setitem(cleanup._UNDO, MOUNT, failing)
    monkeypatch.setitem(cleanup._UNDO, IMAGE, done)
    with cleanup.open_space(str(parent)) as space:
        space.note(MOUNT, IMAGE_ID)
        space.note(IMAGE, 'b' * 64)
        (Path(space.path) / 'layout').mkdir()
    assert undone == ['b' * 64]
    assert 'the next run tries again: aaaaaaaaaaaa stays mounted' in caplog.text
    assert sorted(os.listdir(parent / space.name)) == ['journal', 'owner.lock']
    cleanup.sweep([str(parent)])
    assert os.listdir(parent) == [space.name]
    monkeypatch.setitem(cleanup._UNDO, MOUNT, done)
    cleanup.sweep([str(parent)])
    assert undone == ['b' * 64, IMAGE_ID]
    assert os.listdir(parent) == []


def test_what_another_run_uses_is_left_to_a_later_one(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cleanup._UNDO, IMAGE, lambda image_id: False)
    with cleanup.open_space(str(parent)) as space:
        space.note(IMAGE, IMAGE_ID)
    assert (IMAGE, IMAGE_ID) in space.open_notes()
    shutil.rmtree(parent / space.name)


def test_all_is_undone_at_the_end(storage: FakeStorage, parent: Path) -> None:
    """Also when the block fails; a published image stays."""
    storage.add(IMAGE_ID)
    storage.add(OTHER)
    with pytest.raises(ZeroDivisionError), cleanup.open_space(str(parent)) as space:
        space.note(IMAGE, IMAGE_ID)
        space.note(IMAGE, OTHER)
        space.note(MOUNT, OTHER)
        run_command(['podman', 'image', 'mount', OTHER])
        local.tag_image(space, OTHER, 'localhost/x:1')
        raise ZeroDivisionError
    assert storage.names() == {OTHER: ['localhost/x:1']}
    assert storage.state['mounts'] == {OTHER: 0}
    assert os.listdir(parent) == []


def test_tools_make_their_files_in_the_workspace(storage: FakeStorage, parent: Path) -> None:
    with cleanup.open_space(str(parent)) as space:
        run_command(['skopeo', 'inspect', 'x'], check=False)
    run_command(['skopeo', 'inspect', 'y'], check=False)
    first, second = storage.calls('skopeo')
    assert f'--tmpdir={space.path}' in first
    assert not any(word.startswith('--tmpdir') for word in second)


@pytest.mark.parametrize(('notes', 'left'), [
    ([f'+{IMAGE} {IMAGE_ID}'], [OTHER]),
    ([f'+{IMAGE} {IMAGE_ID}', f'-{IMAGE} {IMAGE_ID}'], [IMAGE_ID, OTHER]),
    ([f'+{IMAGE} {OTHER}'], [IMAGE_ID, OTHER]),
    ([f'+{IMAGE} {"c" * 64}'], [IMAGE_ID, OTHER]),
    ([f'+{IMAGE} --all', f'+{IMAGE} {IMAGE_ID[:12]}'], [IMAGE_ID, OTHER]),
    (['', f'+{IMAGE}', '+', 'x' * 5000], [IMAGE_ID, OTHER]),
])
def test_sweep_after_a_kill(
    storage: FakeStorage, parent: Path, notes: List[str], left: List[str]
) -> None:
    storage.add(IMAGE_ID)
    storage.add(OTHER, 'localhost/named:1')
    killed(parent, *notes)
    cleanup.sweep([str(parent), str(parent / 'gone')])
    assert list(storage.names()) == left
    assert os.listdir(parent) == []


def test_note_that_never_got_its_name_is_swept(storage: FakeStorage, parent: Path) -> None:
    note_import(graph_root(), IMAGE_ID, [])
    place = Path(graph_root().path, 'kiwi-stackbuild/unfinished')
    left = place / f'.{OTHER}.5'
    left.write_text('{')
    os.utime(left, (1, 1))
    cleanup.sweep([str(parent)])
    assert os.listdir(place) == []


def test_sweep_leaves_what_is_of_another_storage(storage: FakeStorage, parent: Path) -> None:
    storage.add(IMAGE_ID)
    place = killed(parent, f'+{IMAGE} {IMAGE_ID}', storage='/etc/other.conf')
    cleanup.sweep([str(parent)])
    assert list(storage.names()) == [IMAGE_ID]
    assert (place / 'layout/blob').exists()


def test_sweep_leaves_a_living_run_alone(storage: FakeStorage, parent: Path) -> None:
    storage.add(IMAGE_ID)
    with cleanup.open_space(str(parent)) as space:
        space.note(IMAGE, IMAGE_ID)
        cleanup.sweep([str(parent)])
        assert os.path.isdir(space.path) and list(storage.names()) == [IMAGE_ID]
    assert storage.names() == {}


def test_what_is_used_meanwhile_is_swept_later(storage: FakeStorage, parent: Path) -> None:
    storage.add(IMAGE_ID)
    killed(parent, f'+{IMAGE} {IMAGE_ID}')
    with in_use(local._ADDED, IMAGE_ID, storage_key()):
        cleanup.sweep([str(parent)])
        assert list(storage.names()) == [IMAGE_ID] and os.listdir(parent)
    cleanup.sweep([str(parent)])
    assert storage.names() == {} and os.listdir(parent) == []


@pytest.mark.parametrize(('names', 'is_pulled', 'left'), [
    ([], False, []), (['localhost/a:1'], False, [IMAGE_ID]),
    # podman names what it pulls before it is on the disk
    (['h/a:1'], True, []), ([], True, []),
])
def test_import_that_no_run_vouches_for(
    storage: FakeStorage, parent: Path, names: List[str], is_pulled: bool, left: List[str]
) -> None:
    storage.add(IMAGE_ID, *names)
    note_import(graph_root(), IMAGE_ID, ['sha256:1'], is_pulled)
    cleanup.sweep([str(parent)])
    assert list(storage.names()) == left
    assert read_imports(graph_root()) == [] and os.listdir(parent) == []


def test_imports_of_runs_that_live_are_left_alone(storage: FakeStorage, parent: Path) -> None:
    storage.add(IMAGE_ID)
    with cleanup.open_space(str(parent)):
        note_import(graph_root(), IMAGE_ID, ['sha256:1'])
        cleanup.sweep([str(parent)])
        assert list(storage.names()) == [IMAGE_ID]
    assert len(read_imports(graph_root())) == 1


@pytest.mark.parametrize(('noted', 'others', 'removed'), [
    (['sha256:2'], [], True), (['sha256:1', 'sha256:2'], [], True),
    # nothing of ours; or what another run has stored for its image
    (['sha256:3'], [], False), (['sha256:2'], ['sha256:2'], False),
])
def test_layers_without_an_image(
    storage: FakeStorage, parent: Path, noted: List[str], others: List[str], removed: bool
) -> None:
    graph = graph_root()
    (Path(graph.path) / 'overlay-layers').mkdir()
    Path(graph.of('layers', 'layers.json')).write_text(json.dumps([
        {'id': '1' * 64, 'diff-digest': 'sha256:1'},
        {'id': '2' * 64, 'parent': '1' * 64, 'diff-digest': 'sha256:2'}
    ]))
    with cleanup.open_space(str(parent)) as space:
        space.note(IMAGE, IMAGE_ID)
        note_import(graph, IMAGE_ID, noted)
        if others:
            note_import(graph, OTHER, others)
    assert [note.image_id for note in read_imports(graph)] == ([OTHER] if others else [])
    assert len(storage.calls('skopeo', 'copy')) == len(storage.calls('skopeo', 'delete')) == removed
    assert storage.names() == {}


def test_import_that_cannot_be_taken_back_is_marked(
    storage: FakeStorage, parent: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = graph_root()
    (Path(graph.path) / 'overlay-layers').mkdir()
    Path(graph.of('layers', 'layers.json')).write_text(json.dumps([
        {'id': '1' * 64, 'diff-digest': 'sha256:1', 'created': 'then'}
    ]))
    storage.add(IMAGE_ID)
    storage.fail('skopeo delete', 'image is in use by a container\n')
    note_import(graph, IMAGE_ID, ['sha256:1'])
    cleanup.sweep([str(parent)])
    assert 'the next run tries again' in caplog.text
    assert [why for _, why in marked_layers(graph, ['sha256:1'])] == [UNFINISHED]
    assert 'left by an import that did not end' in local.damage_of(['sha256:1'])
    with pytest.raises(KiwiStashDamaged, match='the stash: layer 1 is left by'):
        local.refuse_damage(['sha256:1'], 'the stash')
    assert [note.image_id for note in read_imports(graph)] == [IMAGE_ID]
