# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents of files of two trees, compared."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import pytest

from kiwi_stackbuild_plugin.tree import content as module
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.opening import open_tree
from zoo import write

CHUNK = module._CHUNK


@pytest.fixture
def compare(tmp_path: Path) -> Iterator[ContentComparer]:
    """Compare tmp_path/one and tmp_path/two; nothing stays open."""
    fds = []
    for side in ('one', 'two'):
        (tmp_path / side).mkdir()
        fds.append(open_tree(str(tmp_path / side)))
    before = len(os.listdir('/proc/self/fd'))
    yield ContentComparer(*fds)
    assert len(os.listdir('/proc/self/fd')) == before
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize(('one', 'two', 'same', 'read'), [
    (b'', b'', True, 0), (b'a', b'a', True, 1), (b'a', b'b', False, 1),
    (b'12', b'1', False, 2), (b'1', b'12', False, 1), (b'', b'1', False, 0),
    (bytes(3 * CHUNK), bytes(3 * CHUNK), True, 3 * CHUNK),
    (bytes(CHUNK), bytes(CHUNK), True, CHUNK),
    (bytes(CHUNK), bytes(CHUNK + 1), False, CHUNK),
    (bytes(3 * CHUNK) + b'1', bytes(3 * CHUNK) + b'2', False, 3 * CHUNK + 1),
    # the first difference ends it
    (b'1' + bytes(3 * CHUNK), b'2' + bytes(3 * CHUNK), False, CHUNK),
], ids=lambda value: repr(value)[:9])
def test_contents_are_compared(
    tmp_path: Path, compare: ContentComparer, one: bytes, two: bytes, same: bool, read: int
) -> None:
    write(tmp_path / 'one/d/file', one)
    write(tmp_path / 'two/d/file', two)
    assert compare(b'd/file') is same
    assert (compare.compared_files, compare.compared_bytes) == (1, read)


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir], ids=['fifo', 'directory'])
@pytest.mark.parametrize('side', ['one', 'two'])
def test_other_kinds_are_not_the_same(
    tmp_path: Path, compare: ContentComparer, make: Any, side: str
) -> None:
    """And a fifo without a writer does not hold us up."""
    for other in ('one', 'two'):
        if other == side:
            make(tmp_path / other / 'x')
        else:
            write(tmp_path / other / 'x', b'')
    assert not compare(b'x')
    assert compare.compared_bytes == 0


def test_file_of_another_path(tmp_path: Path, compare: ContentComparer) -> None:
    write(tmp_path / 'one/a', b'1')
    write(tmp_path / 'two/a', b'2')
    write(tmp_path / 'two/b/c', b'1')
    assert compare(b'a', b'b/c') and not compare(b'a')
    assert not compare(b'a', b'missing')
    assert compare.compared_files == 2, 'what is missing was not compared'


def test_links_are_not_followed(tmp_path: Path, compare: ContentComparer) -> None:
    write(tmp_path / 'outside', b'same')
    write(tmp_path / 'two/file', b'same')
    (tmp_path / 'one/file').symlink_to(tmp_path / 'outside')
    with pytest.raises(OSError, match='Too many levels of symbolic links'):
        compare(b'file')


def test_first_file_has_to_be_there(tmp_path: Path, compare: ContentComparer) -> None:
    write(tmp_path / 'two/file', b'')
    with pytest.raises(FileNotFoundError):
        compare(b'file')
