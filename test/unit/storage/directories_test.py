# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of the overlay driver, opened where they are, or mounted: all of them, or none."""
from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Callable, List

import pytest
from disks import stored
from fake_storage import FakeStorage
from storages import mounts_below

from kiwi_stackbuild_plugin.graph.records import GraphRoot
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.directories import (
    ask_ahead, graph_root, merged, open_layers, short_links, shown_layers
)
from kiwi_stackbuild_plugin.storage.removal import needed_images

LAYERS = ('sha256:a', 'sha256:b', 'sha256:c')


@pytest.fixture
def paths(tmp_path: Path) -> List[Path]:
    """Give the directories of three layers, from the bottom up."""
    found = [tmp_path / name for name in ('one', 'two', 'three')]
    for path in found:
        path.mkdir()
    return found


def info(paths: List[Path]) -> ImageInfo:
    return ImageInfo('f' * 64, layers=LAYERS, directories=tuple(map(str, paths)))


def open_files() -> int:
    return len(os.listdir('/proc/self/fd'))


def test_from_the_bottom_up_and_closed_at_the_end(paths: List[Path]) -> None:
    before = open_files()
    with open_layers(info(paths)) as found:
        assert [os.fstat(fd).st_ino for fd in found] == [path.stat().st_ino for path in paths]
    assert open_files() == before


def test_closed_after_an_error_of_the_block(paths: List[Path]) -> None:
    before = open_files()
    with pytest.raises(OSError, match='of the block'), open_layers(info(paths)):
        raise OSError('of the block')
    assert open_files() == before


def gone(path: Path) -> None:
    path.rmdir()


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.with_name('aside'))
    path.symlink_to('aside')


def replaced_by_a_file(path: Path) -> None:
    path.rmdir()
    path.touch()


def replaced_by_a_fifo(path: Path) -> None:
    path.rmdir()
    os.mkfifo(path)


def stored_by_digest(path: Path) -> None:
    """Layers are named <ID>/diff, what belongs to one is beside it."""
    (path.parent / 'composefs-data').mkdir()


def owners_in_attributes(path: Path) -> None:
    os.setxattr(path, 'user.containers.override_stat', b'0:0:0755')


@pytest.mark.parametrize('number', [0, 1, 2])
@pytest.mark.parametrize('change', [
    gone, replaced_by_a_link, replaced_by_a_file, replaced_by_a_fifo, stored_by_digest,
    owners_in_attributes
])
def test_all_or_none(paths: List[Path], change: Callable[[Path], None], number: int) -> None:
    change(paths[number])
    before = open_files()
    with open_layers(info(paths)) as found:
        assert found == []
    assert open_files() == before


def test_another_driver_has_no_directories(paths: List[Path]) -> None:
    with open_layers(info([])) as found:
        assert found == []


def test_directories_of_another_number_are_not_those_of_the_layers(paths: List[Path]) -> None:
    for some in (paths[:2], [*paths, paths[0]]):
        with open_layers(info(some)) as found:
            assert found == []


as_root = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')


@as_root
@pytest.mark.parametrize('count', [1, 2, 60])
def test_layers_are_mounted_to_look_at(tmp_path: Path, count: int) -> None:
    info = stored(tmp_path, count)
    with merged(info, str(tmp_path)) as path:
        assert Path(path, 'all').read_text() == str(count - 1)
        assert len(os.listdir(path)) == count + 1
        with pytest.raises(OSError, match='Read-only'):
            Path(path, 'new').touch()
        found = subprocess.run(
            ['findmnt', '--noheadings', '--output=VFS-OPTIONS', path], check=True,
            stdout=subprocess.PIPE, text=True
        ).stdout
        assert {'nodev', 'nosuid', 'noexec'} < set(found.strip().split(','))
    assert mounts_below(tmp_path) == []


@as_root
def test_whiteout_of_the_lowest_layer_is_not_seen(tmp_path: Path) -> None:
    """An image of a single layer is an overlay like any other."""
    info = stored(tmp_path, 1)
    os.mknod(os.path.join(info.directories[0], 'gone'), 0o20000, os.makedev(0, 0))
    with merged(info, str(tmp_path)) as path:
        assert sorted(os.listdir(path)) == ['0', 'all']


@as_root
def test_unmounted_after_an_error_of_the_block(tmp_path: Path) -> None:
    info = stored(tmp_path, 2)
    with pytest.raises(ZeroDivisionError), merged(info, str(tmp_path)) as path:
        assert path
        raise ZeroDivisionError
    assert mounts_below(tmp_path) == []


@as_root
def test_nothing_stays_mounted_of_who_still_has_it_open(tmp_path: Path) -> None:
    """An error comes past generators that have not ended, and children that read."""
    fds = []
    with pytest.raises(ZeroDivisionError), merged(stored(tmp_path, 2), str(tmp_path)) as path:
        fds.append(os.open(path, os.O_RDONLY))
        raise ZeroDivisionError
    assert mounts_below(tmp_path) == []
    os.close(fds[0])


@as_root
def test_layers_that_are_looked_at_are_known(tmp_path: Path, storage: FakeStorage) -> None:
    """Else they would be pruned below who looks."""
    info = stored(tmp_path, 2)
    links = set(short_links(info)[1])
    assert len(links) == 2 and not links & shown_layers()
    with merged(info, str(tmp_path)):
        assert links <= shown_layers() and needed_images([info]) == {'f' * 64: 'it is mounted'}
    assert not links & shown_layers()


def another_driver(info: ImageInfo) -> ImageInfo:
    return replace(info, driver='vfs')


def a_layer_gone(info: ImageInfo) -> ImageInfo:
    os.rename(info.directories[1], f'{info.directories[1]}-gone')
    return info


def another_store(info: ImageInfo) -> ImageInfo:
    """As additionalimagestores has them: names are those of one directory."""
    top = os.path.dirname(os.path.dirname(info.directories[0]))
    os.mkdir(f'{top}-too')
    os.rename(os.path.dirname(info.directories[0]), f'{top}-too/one')
    return replace(info, directories=(f'{top}-too/one/diff', *info.directories[1:]))


def fuse_overlayfs(info: ImageInfo) -> ImageInfo:
    """It has a file .wh.<name> where the kernel has a device."""
    top = os.path.dirname(os.path.dirname(info.directories[0]))
    Path(top, '.has-mount-program').write_text('true')
    return info


def no_short_name(info: ImageInfo) -> ImageInfo:
    os.unlink(os.path.join(os.path.dirname(info.directories[1]), 'link'))
    return info


@as_root
@pytest.mark.parametrize('change', [
    another_driver, a_layer_gone, no_short_name, another_store, fuse_overlayfs
])
def test_what_cannot_be_mounted_is_left_to_podman(
    tmp_path: Path, change: Callable[[ImageInfo], ImageInfo]
) -> None:
    info = change(stored(tmp_path, 3))
    with merged(info, str(tmp_path)) as path:
        assert path == ''
    assert mounts_below(tmp_path) == []


@as_root
@pytest.mark.parametrize(('count', 'name'), [(200, 'place'), (2, 'a,b'), (2, 'a:b')])
def test_what_a_mount_cannot_name_is_left_to_podman(
    tmp_path: Path, count: int, name: str
) -> None:
    (tmp_path / name).mkdir()
    with merged(stored(tmp_path, count), str(tmp_path / name)) as path:
        assert path == ''


@as_root
def test_kernel_that_mounts_no_such_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'mount').write_text('#!/bin/sh\nexit 32\n')
    (tmp_path / 'mount').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    with merged(stored(tmp_path, 2), str(tmp_path)) as path:
        assert path == ''


@pytest.fixture
def configured(
    storage: FakeStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeStorage:
    """Give a storage that storage.conf names."""
    conf = tmp_path / 'storage.conf'
    conf.write_text(f'[storage]\n  graphroot = "{storage.state["graph_root"]}"\n')
    monkeypatch.setenv('CONTAINERS_STORAGE_CONF', str(conf))
    return storage


def test_storage_that_is_not_there_is_not_made_ahead(configured: FakeStorage) -> None:
    """podman makes one as soon as it is asked anything."""
    if os.path.isdir(configured.state['graph_root']):
        os.rename(configured.state['graph_root'], f'{configured.state["graph_root"]}-gone')
    ask_ahead()
    assert configured.calls('podman') == []


def test_graph_root_that_was_asked_for_ahead(configured: FakeStorage) -> None:
    storage, place = configured, configured.state['graph_root']
    storage.change(log=''.join(
        f'time="2026-11-01" level=debug msg="{line}"\n'
        for line in (f'Using graph root {place}', 'Using graph driver overlay')
    ))
    os.makedirs(f'{place}/overlay-images', exist_ok=True)
    ask_ahead()
    for _ in range(2):
        assert graph_root() == GraphRoot(place, 'overlay')
    assert len(storage.calls('podman')) == 1


def test_nothing_is_said_yet_where_there_is_no_podman(
    configured: FakeStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    os.makedirs(configured.state['graph_root'], exist_ok=True)
    monkeypatch.setenv('PATH', str(tmp_path))
    ask_ahead()
