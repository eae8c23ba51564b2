# SPDX-License-Identifier: GPL-3.0-or-later
"""The record in a tree: where it is believed, and what strangers put in its place."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from kiwi_stackbuild_plugin.description import origin
from kiwi_stackbuild_plugin.tree.opening import open_tree
from trees import describe

IMAGE = 'a' * 64
RECORD: Dict[str, Any] = {
    'image': IMAGE, 'name': 'n', 'digest': 'd', 'moment': 1, 'device': 2, 'inode': 3
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / 'root/image').mkdir(parents=True)
    return tmp_path / 'root'


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    fd = open_tree(str(root))
    before = len(os.listdir('/proc/self/fd'))
    yield fd
    assert len(os.listdir('/proc/self/fd')) == before
    os.close(fd)


def test_record_is_believed_only_where_it_was_written(tmp_path: Path) -> None:
    root = tmp_path / 'root'
    (root / 'image').mkdir(parents=True)
    os.utime(root / 'image', ns=(5, 7))
    fd = open_tree(str(root))
    moment = origin.take_moment(fd)
    assert moment is not None
    origin.write_origin(fd, 'a' * 64, 'name', 'digest', moment)
    assert os.listdir(root / 'image') == ['stash.json']
    assert (root / 'image').stat().st_mtime_ns == 7
    found = origin.read_origin(fd)
    assert found is not None and (found.image, found.moment) == ('a' * 64, moment)
    assert origin.trusted_moment(found, fd, origin.take_moment(fd)) == moment
    assert origin.trusted_moment(found, fd, moment - 1) is None, 'the clock was set back'
    assert origin.trusted_moment(found, fd, None) is None
    copy = tmp_path / 'copy'
    copy.mkdir()
    copy_fd = open_tree(str(copy))
    assert origin.trusted_moment(found, copy_fd, moment + 1) is None
    assert origin.take_moment(copy_fd) is None, 'it has no image/'
    origin.write_origin(copy_fd, 'a' * 64, '', '', None)
    assert origin.read_origin(copy_fd) is None
    os.close(fd)
    os.close(copy_fd)


@pytest.mark.parametrize('text', [
    '', '[]', '{}', '{"image": 1}', '\xff', '[' * 100_000,
    '{"image":"x","name":"","digest":"","moment":1,"device":1,"inode":1}',
    '{"image":"x","name":"","digest":"","moment":1e999,"device":1,"inode":1}'
])
def test_records_of_strangers_are_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / 'image').mkdir()
    (tmp_path / 'image/stash.json').write_text(text)
    fd = open_tree(str(tmp_path))
    assert origin.read_origin(fd) is None
    os.close(fd)


@pytest.mark.parametrize(('change', 'moment'), [
    ({}, 1), ({'more': 'of a later version'}, 1), ({'moment': '7'}, 7), ({'moment': 7.9}, 7),
    ({'image': IMAGE.upper()}, None), ({'image': IMAGE[1:]}, None), ({'image': f'{IMAGE}\n'}, None),
    ({'image': None}, None), ({'moment': None}, None), ({'device': 'x'}, None),
    ({'inode': []}, None), ({'inode': '9' * 5000}, None),
])
def test_records_that_are_none(
    root: Path, root_fd: int, change: Dict[str, Any], moment: Any
) -> None:
    (root / 'image/stash.json').write_text(json.dumps({**RECORD, **change}))
    found = origin.read_origin(root_fd)
    assert (found and found.moment) == moment


@pytest.mark.parametrize('kind', ['link', 'directory', 'fifo'])
def test_what_is_no_file_is_passed_over(root: Path, root_fd: int, kind: str) -> None:
    path = root / 'image/stash.json'
    (root.parent / 'outside').write_text(json.dumps(RECORD))
    {
        'link': lambda: path.symlink_to(root.parent / 'outside'),
        'directory': path.mkdir, 'fifo': lambda: os.mkfifo(path)
    }[kind]()
    assert origin.read_origin(root_fd) is None


@pytest.mark.parametrize('name', ['.stash.json.new', 'stash.json', 'image'])
def test_nothing_is_written_through_a_link(root: Path, root_fd: int, name: str) -> None:
    outside = root.parent / 'outside'
    outside.mkdir()
    (outside / 'stash.json').write_text('theirs')
    if name == 'image':
        (root / 'image').rmdir()
        (root / 'image').symlink_to(outside)
    else:
        (root / 'image' / name).symlink_to(outside / 'stash.json')
    before = describe(outside)
    moment = origin.take_moment(root_fd)
    origin.write_origin(root_fd, IMAGE, 'n', 'd', moment)
    assert describe(outside) == before
    assert (moment is None) == (name == 'image')
    if name != 'image':
        assert os.listdir(root / 'image') == ['stash.json']
        assert origin.read_origin(root_fd) == origin.Origin(
            IMAGE, 'n', 'd', moment or 0, root.stat().st_dev, root.stat().st_ino
        )


def test_a_full_disk_leaves_the_record_of_before(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.write_origin(root_fd, IMAGE, 'old', 'd', 5)
    before = describe(root)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(origin.json, 'dump', full)
    origin.write_origin(root_fd, IMAGE, 'new', 'd', 6)
    assert describe(root) == before


def test_a_moment_that_is_not_known_is_not_trusted(root: Path, root_fd: int) -> None:
    origin.write_origin(root_fd, IMAGE, 'n', 'd', None)
    found = origin.read_origin(root_fd)
    assert found is not None
    assert origin.trusted_moment(found, root_fd, origin.take_moment(root_fd)) is None


def test_moments_are_those_of_files(root: Path, root_fd: int) -> None:
    """What is written behind a moment has a ctime that is not before it."""
    before = describe(root)
    first, second = origin.take_moment(root_fd), origin.take_moment(root_fd)
    assert describe(root) == before
    (root / 'file').touch()
    assert first is not None and second is not None
    assert first <= second <= (root / 'file').stat().st_ctime_ns
