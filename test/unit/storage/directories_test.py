# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of the overlay driver, opened where they are: all of them, or none."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, List

import pytest

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.directories import open_layers

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
