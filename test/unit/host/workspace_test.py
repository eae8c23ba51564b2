# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary directories where others can write, and what is noted in them."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest
from kiwi_stackbuild_plugin.host import workspace as module
from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.host.workspace import (
    IMAGE, MOUNT, STORAGE, find_abandoned, remove, workspace
)

NOBODY = 65534
IMAGE_ID = 'a' * 64
as_root = pytest.mark.skipif(os.geteuid() != 0, reason='another user is needed')


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Give a directory such as /var/tmp."""
    path = tmp_path / 'tmp'
    path.mkdir()
    path.chmod(0o1777)
    return path


def empty_directory(path: Path) -> None:
    path.mkdir()


def link_to_directory(path: Path) -> None:
    path.symlink_to(path.parent.parent / 'elsewhere')


def with_link_as_lock(path: Path) -> None:
    path.mkdir(mode=0o777)
    (path / 'owner.lock').symlink_to(path.parent.parent / 'elsewhere/canary')


def with_lock(path: Path) -> None:
    path.mkdir(mode=0o777)
    (path / 'owner.lock').touch()


PLANTED = [empty_directory, link_to_directory, with_link_as_lock, with_lock]


@as_root
@pytest.mark.parametrize('plant', PLANTED)
def test_taken_over_between_two_attempts(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path], None]
) -> None:
    """A sweep removes what has no lock yet, then another user has the name."""
    (tmp_path / 'elsewhere').mkdir()
    canary = tmp_path / 'elsewhere/canary'
    canary.write_text('precious')
    names: List[str] = []
    real = os.mkdir

    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: Any = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        if str(path).rpartition('/')[2].startswith('.kiwi-stash-') and len(names) < 3:
            names.append(os.path.basename(path))
            there = parent / names[-1]
            there.rmdir()
            plant(there)
            os.chown(there, NOBODY, NOBODY, follow_symlinks=False)
    monkeypatch.setattr(os, 'mkdir', mkdir)
    with workspace(str(parent)) as space:
        assert len(names) == 3 and space.name not in names
        assert os.lstat(space.path).st_uid == 0
        (Path(space.path) / 'file').write_text('ours')
        space.note(IMAGE, IMAGE_ID)
        space.forget(IMAGE, IMAGE_ID)
    assert canary.read_text() == 'precious'
    assert os.listdir(tmp_path / 'elsewhere') == ['canary']
    assert not (parent / space.name).exists()


RIVAL = '''
import os, sys
parent, user = sys.argv[1], int(sys.argv[2])
os.setuid(user)
seen = set()
while True:
    seen.update(name for name in os.listdir(parent) if name.startswith('.kiwi-stash-'))
    for name in seen:
        try:
            os.mkdir(f'{parent}/{name}', 0o777)
            os.symlink(sys.argv[3], f'{parent}/{name}/owner.lock')
            os.symlink(sys.argv[3], f'{parent}/{name}/journal')
        except OSError:
            pass
'''
SWEEPER = '''
import sys
from kiwi_stackbuild_plugin.host.workspace import find_abandoned, remove
while True:
    for space in find_abandoned(sys.argv[1]):
        remove(space)
'''


@as_root
def test_race_for_the_name(tmp_path: Path, parent: Path) -> None:
    """Sweeps at the same time, and a user who plants each name that was seen."""
    canary = tmp_path / 'canary'
    canary.write_text('precious')
    rivals = [
        subprocess.Popen([sys.executable, '-c', program, str(parent), *words])
        for program, words in (
            (RIVAL, [str(NOBODY), str(canary)]), (SWEEPER, []), (SWEEPER, [])
        )
    ]
    try:
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            with workspace(str(parent)) as space:
                space.note(MOUNT, IMAGE_ID)
                assert os.lstat(space.path).st_uid == 0
                assert space.open_notes() == [(MOUNT, IMAGE_ID)]
                space.forget(MOUNT, IMAGE_ID)
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert canary.read_text() == 'precious'
    assert all(
        (parent / name).stat().st_uid == NOBODY for name in os.listdir(parent)
    )


@as_root
def test_renamed_where_anybody_can(tmp_path: Path) -> None:
    """Without a sticky bit others can put something else in our place."""
    parent = tmp_path / 'tmp'
    parent.mkdir()
    parent.chmod(0o777)
    with workspace(str(parent)) as space:
        os.rename(parent / space.name, parent / 'away')
        (parent / space.name).symlink_to(tmp_path / 'elsewhere')
        (tmp_path / 'elsewhere').mkdir()
        space.note(IMAGE, IMAGE_ID)
        (Path(space.path) / 'file').write_text('ours')
        assert sorted(os.listdir(parent / 'away')) == ['file', 'journal', 'owner.lock']
        space.forget(IMAGE, IMAGE_ID)
    assert os.listdir(tmp_path / 'elsewhere') == []


@pytest.mark.parametrize('name', [
    'plain', 'a b', 'a:b', 'a\nb', "a'b\"c", 'a%sb', 'a,b', 'ä', 'a\udcffb', '-a'
])
def test_names_of_directories(tmp_path: Path, name: str) -> None:
    """Tools read 'oci:directory:tag', and lists of directories with colons."""
    parent = tmp_path / name
    parent.mkdir()
    with workspace(str(parent)) as space:
        assert ':' not in space.path and ' ' not in space.path and space.path.isprintable()
        assert run_command(['sh', '-c', f'echo x >{space.path}/file']).returncode == 0
        assert (parent / space.name / 'file').read_text() == 'x\n'
    assert os.listdir(parent) == []
    left = parent / '.kiwi-stash-left'
    left.mkdir(mode=0o700)
    (left / 'owner.lock').touch()
    for space in find_abandoned(str(parent)):
        remove(space)
    assert os.listdir(parent) == []


def test_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(KiwiStashTargetInvalid, match='no temporary directory'), \
            workspace(str(tmp_path / 'gone')):
        pass
    assert list(find_abandoned(str(tmp_path / 'gone'))) == []


@pytest.mark.parametrize('key', ['', '/etc/storage.conf', '/a\nb', '/a\\nb', '/a\u2028b'])
def test_storage_of_any_name_is_known_again(parent: Path, key: str) -> None:
    with workspace(str(parent)) as space:
        space.note(STORAGE, key)
        assert space.is_of_storage(key)
        assert not space.is_of_storage(key + 'x')
        assert not space.is_of_storage('/a') or key == '/a'


def test_name_that_is_there_is_not_taken(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter(['taken', 'free'])
    monkeypatch.setattr(module.secrets, 'token_hex', lambda _: next(given))
    (parent / '.kiwi-stash-taken').mkdir(mode=0o700)
    with workspace(str(parent)) as space:
        assert space.name == '.kiwi-stash-free'
    assert os.listdir(parent) == ['.kiwi-stash-taken']
