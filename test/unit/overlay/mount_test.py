# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts on layers as the overlay driver keeps them."""
from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import pytest
from disks import stored

from kiwi_stackbuild_plugin.overlay.mount import mount_overlay, reason_against

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / 'build'
    for name in ('upper', 'work', 'root'):
        (place / name).mkdir(parents=True)
    yield place
    while subprocess.run(
        ['umount', place / 'root'], check=False, stderr=subprocess.DEVNULL
    ).returncode == 0:
        pass


@pytest.mark.parametrize('count', [1, 2, 60])
def test_layers_are_mounted_with_one_to_spare(tmp_path: Path, places: Path, count: int) -> None:
    info = stored(tmp_path, count)
    assert reason_against(info, str(places)) == ''
    mount_overlay(info, str(places / 'upper'), str(places / 'work'), str(places / 'root'))
    assert (places / 'root/all').read_text() == str(count - 1)
    assert len(os.listdir(places / 'root')) == count + 1
    subprocess.run(['umount', places / 'root'], check=True)
    assert (places / 'root/all').read_text() == str(count - 1), 'the spare one went'
    (places / 'root/new').write_text('')
    assert os.listdir(places / 'upper') == ['new']


def test_why_there_is_none(tmp_path: Path, places: Path) -> None:
    info = stored(tmp_path, 2)
    assert 'driver is vfs' in reason_against(replace(info, driver='vfs'), str(places))
    assert 'way of its own' in reason_against(replace(info, directories=()), str(places))
    assert 'different file systems' in reason_against(info, '/dev/shm')
    odd = tmp_path / 'a,b'
    odd.mkdir()
    assert 'characters' in reason_against(info, str(odd))
    assert 'more than one mount' in reason_against(
        stored(tmp_path / 'many', 140), str(places)
    )
    (Path(info.directories[0]).parent / 'link').unlink()
    assert 'short names' in reason_against(info, str(places))
