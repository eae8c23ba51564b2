# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run did to the storage is undone at its end, or after it was killed."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import List

import pytest
from fake_storage import FakeStorage

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.locks import in_use
from kiwi_stackbuild_plugin.host.workspace import IMAGE, MOUNT, STORAGE, PREFIX
from kiwi_stackbuild_plugin.storage import cleanup, local

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
    lines = [f'+{STORAGE} {storage or local.storage_key()}', *notes]
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
    with in_use(local._ADDED, IMAGE_ID, local.storage_key()):
        cleanup.sweep([str(parent)])
        assert list(storage.names()) == [IMAGE_ID] and os.listdir(parent)
    cleanup.sweep([str(parent)])
    assert storage.names() == {} and os.listdir(parent) == []
