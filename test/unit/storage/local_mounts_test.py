# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored images are mounted for a block, and what is left of mounts of killed runs."""
from __future__ import annotations

from pathlib import Path

import pytest
from fake_storage import FakeStorage

from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.locks import in_use
from kiwi_stackbuild_plugin.host.workspace import MOUNT, Workspace
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.directories import storage_key

ONE = 'a' * 64
NO_POINT = 'Error: lstat {}/merged: no such file or directory\n'


def test_mounted_for_a_block(storage: FakeStorage, space: Workspace) -> None:
    storage.add(ONE, tree='/some/tree')
    with pytest.raises(ZeroDivisionError), local.mounted(space, ONE) as path:
        assert (path, storage.state['mounts']) == ('/some/tree', {ONE: 1})
        assert space.open_notes() == [(MOUNT, ONE)], 'for whoever sweeps after a kill'
        raise ZeroDivisionError
    assert storage.state['mounts'] == {ONE: 0} and space.open_notes() == []


def test_mount_that_stays_is_noted(storage: FakeStorage, space: Workspace) -> None:
    storage.add(ONE, tree='/some/tree')
    storage.fail('unmount', 'Error: device busy\n', times=1)
    with local.mounted(space, ONE):
        pass
    assert space.open_notes() == [(MOUNT, ONE)]
    assert local.unmount_unused(ONE) and storage.state['mounts'] == {ONE: 0}


@pytest.mark.parametrize(('said', 'hint'), [
    ('Error: max depth exceeded', 'podman build --squash-all'),
    ('Error: layer not known', 'additionalimagestores'), ('Error: other', '')
])
def test_what_cannot_be_mounted(
    storage: FakeStorage, space: Workspace, said: str, hint: str
) -> None:
    storage.fail('image mount', said)
    with pytest.raises(KiwiStashToolFailed, match='podman image mount aaaaaaaaaaaa: ') as raised, \
            local.mounted(space, ONE):
        pass
    assert hint in raised.value.hint and bool(hint) == bool(raised.value.hint)


def test_podman_that_was_killed_as_it_unmounted_is_helped(
    storage: FakeStorage, space: Workspace, tmp_path: Path
) -> None:
    """The mount point is gone, the mount is still counted."""
    storage.add(ONE, tree='/some/tree')
    storage.change(mounts={ONE: 1})
    storage.fail('image mount', NO_POINT.format(tmp_path), times=1)
    with local.mounted(space, ONE) as path:
        assert path == '/some/tree' and storage.state['mounts'] == {ONE: 1}
    assert (tmp_path / 'merged').is_dir()
    storage.fail('image mount', NO_POINT.format(tmp_path / 'nowhere'))
    with pytest.raises(KiwiStashToolFailed, match='no such file'), local.mounted(space, ONE):
        pass
    assert not (tmp_path / 'nowhere').exists()


def test_mount_of_a_killed_run_that_another_shares_stays(storage: FakeStorage) -> None:
    storage.add(ONE)
    storage.change(mounts={ONE: 2})
    with in_use(local._MOUNTED, ONE, storage_key()):
        assert not local.unmount_unused(ONE)
        assert storage.state['mounts'] == {ONE: 2}
    storage.fail('unmount', 'Error: device busy\n')
    with pytest.raises(KiwiStashToolFailed, match=r'aaaaaaaaaaaa stays mounted: .*busy'):
        local.unmount_unused(ONE)
