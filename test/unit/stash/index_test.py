# SPDX-License-Identifier: GPL-3.0-or-later
"""Indexes: what comes back, and when there is none."""
from __future__ import annotations

import errno
import marshal
import os
import re
from pathlib import Path
from typing import Iterator, List

import pytest
import zstandard
from kiwi_stackbuild_plugin.stash import index
from kiwi_stackbuild_plugin.stash.index import IndexDamaged, IndexWriter, read_index
from kiwi_stackbuild_plugin.tree.entry import Entry, Row, named
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.rows import LENGTH, send, send_batch
from kiwi_stackbuild_plugin.tree.scan import Exclusion, scan_rows
from kiwi_stackbuild_plugin.tree.times import Times
from trees import make_root

IMAGE = 'a' * 64
NONE = Exclusion()


@pytest.fixture
def entries(tmp_path: Path) -> List[Row]:
    """Give the entries of a tree of more than one batch."""
    root = make_root(tmp_path / 'root')
    for number in range(1200):
        (root / f'etc/{number}').write_text(str(number))
    os.utime(root / 'etc/7', ns=(1, -1_500_000_001))
    os.symlink(b'to\xff', root / 'etc/link')
    os.setxattr(root / 'etc/8', 'user.binary', b'\0\xff')
    fd = open_tree(str(root))
    found = list(scan_rows(fd))
    os.close(fd)
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory for indexes."""
    where = tmp_path / 'cache'
    monkeypatch.setenv('KIWI_STASH_CACHE', str(where))
    return where


def write(
    tmp_path: Path, entries: List[Row], image: str = IMAGE, exclusion: Exclusion = NONE
) -> IndexWriter:
    writer = IndexWriter(str(tmp_path / 'index'), exclusion)
    send(writer.begin(), entries)
    writer.keep(image)
    return writer


def seen(entry: Entry) -> object:
    """All of an entry that a comparison looks at."""
    status = entry.stat
    return (
        entry.path, entry.xattrs, entry.target, entry.inode, status.st_mode,
        status.st_nlink, status.st_uid, status.st_gid, status.st_size,
        status.st_mtime_ns, status.st_rdev
    )


def read(exclusion: Exclusion = NONE) -> List[object]:
    found = read_index(IMAGE, exclusion)
    assert found is not None
    return [seen(entry) for entry in found]


def test_what_was_written_comes_back(tmp_path: Path, entries: List[Row]) -> None:
    write(tmp_path, entries)
    assert read() == [seen(entry) for entry in named(entries)]
    assert os.listdir(tmp_path / 'cache') == [IMAGE]


def test_a_second_scan_begins_anew(tmp_path: Path, entries: List[Row]) -> None:
    writer = IndexWriter(str(tmp_path / 'index'), NONE)
    send(writer.begin(), entries)
    send(writer.begin(), entries[:600])
    writer.keep(IMAGE)
    assert len(read()) == 600


def test_half_a_scan_is_no_index(tmp_path: Path, entries: List[Row]) -> None:
    writer = IndexWriter(str(tmp_path / 'index'), NONE)
    send_batch(writer.begin(), entries[:700])
    writer.keep(IMAGE)
    with pytest.raises(IndexDamaged):
        read()

    def failing() -> Iterator[Row]:
        yield from entries[:700]
        raise PermissionError(errno.EACCES, 'not for you')

    send(writer.begin(), failing())
    writer.keep(IMAGE)
    with pytest.raises(IndexDamaged, match='not for you'):
        read()


def test_other_exclusions_need_a_scan(tmp_path: Path, entries: List[Row]) -> None:
    exclusion = Exclusion(frozenset({b'var'}), frozenset({b'dev'}), re.compile(b'x.*'))
    write(tmp_path, entries, exclusion=exclusion)
    assert len(read(exclusion)) == len(entries)
    assert read_index(IMAGE, NONE) is None
    assert read_index(IMAGE, Exclusion(frozenset({b'var'}), frozenset({b'dev'}))) is None


@pytest.mark.parametrize('version', ['2.0.0.dev', '3'])
def test_other_versions_need_a_scan(
    tmp_path: Path, entries: List[Row], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    write(tmp_path, entries)
    monkeypatch.setattr(index, '__version__', version)
    assert read_index(IMAGE, NONE) is None


def cut(data: bytes) -> bytes:
    return data[:len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1:]


def endless(data: bytes) -> bytes:
    """All batches, but not the word that they were all."""
    plain = zstandard.ZstdDecompressor().stream_reader(data).read()
    last = marshal.dumps((0, ''))
    assert plain.endswith(last)
    return zstandard.ZstdCompressor().compress(plain[:-len(last) - LENGTH])


@pytest.mark.parametrize('damage', [cut, flip, endless])
def test_damage_is_told(
    tmp_path: Path, entries: List[Row], cache: Path, damage: object
) -> None:
    write(tmp_path, entries)
    path = cache / IMAGE
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    found = read_index(IMAGE, NONE)
    # found out at once, or on the way; a small index is one block
    if found is not None or damage is endless:
        assert found is not None
        with pytest.raises(IndexDamaged):
            list(found)


@pytest.mark.parametrize('content', [b'', b'no index', b'\0' * 100])
def test_what_is_no_index_is_none(cache: Path, content: bytes) -> None:
    cache.mkdir(mode=0o700)
    (cache / IMAGE).write_bytes(content)
    assert read_index(IMAGE, NONE) is None


def test_what_others_can_write_is_not_read(
    tmp_path: Path, entries: List[Row], cache: Path
) -> None:
    write(tmp_path, entries)
    (cache / IMAGE).chmod(0o666)
    assert read_index(IMAGE, NONE) is None
    (cache / IMAGE).chmod(0o644)
    assert len(read()) == len(entries)
    cache.chmod(0o777)
    assert read_index(IMAGE, NONE) is None
    write(tmp_path, entries, 'b' * 64)
    assert not (cache / ('b' * 64)).exists()


def test_full_disk_costs_only_the_index(entries: List[Row]) -> None:
    writer = IndexWriter('/dev/full', NONE)
    send(writer.begin(), entries * 20)
    writer.keep(IMAGE)
    assert read_index(IMAGE, NONE) is None


def test_other_file_system_is_copied_to(
    tmp_path: Path, entries: List[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', f'/dev/shm/{tmp_path.name}-{os.getpid()}')
    where = Path(os.environ['KIWI_STASH_CACHE'])
    try:
        write(tmp_path, entries)
        assert len(read()) == len(entries)
        assert os.listdir(where) == [IMAGE]
    finally:
        for path in where.glob('*'):
            path.unlink()
        where.rmdir()


def test_no_directory_no_index(
    tmp_path: Path, entries: List[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', '')
    write(tmp_path, entries)
    assert read_index(IMAGE, NONE) is None
    assert not (tmp_path / 'index').exists()


def test_the_ones_used_last_are_kept(
    tmp_path: Path, entries: List[Row], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, '_KEPT', 2)
    for name in ('a', 'b'):
        write(tmp_path, entries[:3], name * 64)
        os.utime(cache / (name * 64), (ord(name), ord(name)))
    assert len(read()) == 3, 'a is used now, b is older'
    write(tmp_path, entries[:3], 'c' * 64)
    assert sorted(os.listdir(cache)) == ['a' * 64, 'c' * 64]


def test_times_of_the_image_are_written_down(tmp_path: Path, entries: List[Row]) -> None:
    """Not those of the tree, where they differ."""
    paths = [path for path, *_ in entries]
    times = Times(10, {paths[0]: 11, paths[-1]: -1})
    writer = IndexWriter(str(tmp_path / 'index'), NONE)
    send(writer.begin(), entries)
    writer.keep(IMAGE, times)
    assert read() == [seen(entry) for entry in times.apply(named(entries))]
    assert read() != [seen(entry) for entry in named(entries)]
    assert sorted(os.listdir(tmp_path)) == ['cache', 'root']


def test_half_a_scan_stays_half_with_other_times(tmp_path: Path, entries: List[Row]) -> None:
    writer = IndexWriter(str(tmp_path / 'index'), NONE)
    send_batch(writer.begin(), entries[:700])
    writer.keep(IMAGE, Times(10))
    with pytest.raises(IndexDamaged):
        read()
