# SPDX-License-Identifier: GPL-3.0-or-later
"""Target directories where others can write as well."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.host.mounts import is_mounted_on_itself
from kiwi_stackbuild_plugin.stackbuild import target as target_module
from kiwi_stackbuild_plugin.stackbuild.target import (
    check_target, made_directories, mark_finished, publish
)

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason='another user is needed')


def build_of_another(target: Path) -> None:
    (target / 'build').mkdir()
    os.chown(target / 'build', NOBODY, NOBODY)


def build_link(target: Path) -> None:
    (target.parent / 'elsewhere').mkdir()
    (target / 'build').symlink_to(target.parent / 'elsewhere')
    os.chown(target / 'build', NOBODY, NOBODY, follow_symlinks=False)


def marker_of_another(target: Path) -> None:
    (target / 'build/image-root').mkdir(parents=True)
    marker = target / 'build/.image-root.unfinished'
    marker.touch()
    os.chown(marker, NOBODY, NOBODY)


def marker_link(target: Path) -> None:
    (target / 'build/image-root').mkdir(parents=True)
    (target / 'build/.image-root.unfinished').symlink_to(target.parent / 'canary')


def marker_directory(target: Path) -> None:
    (target / 'build/image-root').mkdir(parents=True)
    (target / 'build/.image-root.unfinished').mkdir()


PLANTED = [
    (build_of_another, 'belongs to another user'), (build_link, 'belongs to another user'),
    (marker_of_another, 'is there from an earlier run'),
    (marker_link, 'is there from an earlier run'),
    (marker_directory, 'is there from an earlier run')
]


@as_root
@pytest.mark.parametrize(('plant', 'why'), PLANTED)
def test_what_others_planted_in_a_target_directory(
    tmp_path: Path, plant: Callable[[Path], None], why: str
) -> None:
    """A finished root is not taken for an unfinished one, a link not followed."""
    (tmp_path / 'canary').write_text('precious')
    path = tmp_path / 'out'
    path.mkdir()
    path.chmod(0o1777)
    plant(path)
    with pytest.raises(KiwiStashTargetInvalid, match=why):
        check_target(str(path))
    assert (tmp_path / 'canary').read_text() == 'precious'


@as_root
@pytest.mark.parametrize('plant', [build_of_another, build_link])
def test_planted_after_the_check(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    path = tmp_path / 'out'
    path.mkdir()
    path.chmod(0o1777)
    target = check_target(str(path))
    plant(path)
    with pytest.raises(KiwiStashTargetInvalid, match='belongs'), made_directories(target):
        pass


def test_marker_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / 'canary').write_text('precious')
    target = check_target(str(tmp_path / 'out'))
    with made_directories(target):
        os.symlink(tmp_path / 'canary', target.marker)
        (tmp_path / 'out/build/staged').mkdir()
        with pytest.raises(FileExistsError):
            publish(target, f'{target.build_dir}/staged')
    assert (tmp_path / 'canary').read_text() == 'precious'
    assert not os.path.exists(target.image_root)


@as_root
@pytest.mark.parametrize(('link', 'taken'), [('{shared}', True), ('/run', False)])
def test_what_a_killed_kiwi_mounted_outside_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, taken: bool
) -> None:
    """It binds /run/dbus on itself where the link var/run leads there."""
    shared = tmp_path / 'run/dbus'
    shared.mkdir(parents=True)
    monkeypatch.setattr(target_module, '_SHARED', str(shared))
    target = check_target(str(tmp_path / 'out'))
    with made_directories(target):
        for name in ('first', 'second'):
            staged = tmp_path / 'out/build' / name
            place = (staged / 'var').joinpath(*shared.parts[1:])
            place.parent.mkdir(parents=True)
            place.symlink_to(link.format(shared=shared))
            subprocess.run(['mount', '--bind', shared, shared], check=True)
            publish(target, str(staged))
            is_there = is_mounted_on_itself(str(shared))
            if is_there:
                subprocess.run(['umount', shared], check=True)
            # the first has no other in its place
            assert is_there is not (taken and name == 'second')


def test_marker_that_is_gone_does_not_spoil_a_build(tmp_path: Path) -> None:
    target = check_target(str(tmp_path / 'out'))
    with made_directories(target):
        (tmp_path / 'out/build/staged').mkdir()
        publish(target, f'{target.build_dir}/staged')
    os.unlink(target.marker)
    mark_finished(target)
    assert os.path.isdir(target.image_root)
