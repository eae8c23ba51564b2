# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of real trees: bytes, digests, and what happens while they are read."""
from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import pytest
import zstandard

from kiwi_stackbuild_plugin.host.errors import KiwiStashTreeChanged
from kiwi_stackbuild_plugin.layer import blob as module
from kiwi_stackbuild_plugin.layer.blob import Layer, write_layer
from kiwi_stackbuild_plugin.tree.delta import ADDED, Change, whole_tree
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from oracle import apply_layer, read_layer, unpacked
from trees import describe
from zoo import acl, write

DEFAULT, ACCESS = 'system.posix_acl_default', 'system.posix_acl_access'


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    (tmp_path / 'blobs').mkdir()
    return tmp_path / 'blobs'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(30):
        write(tmp_path / f'root/d{number % 3}/f{number}', bytes([number]) * number * 99)
    write(tmp_path / 'root/big', os.urandom(5 << 20))
    return tmp_path / 'root'


def store(root: Path, blobs: Path, removed: Tuple[bytes, ...] = (), **more: Any) -> Layer:
    fd = open_tree(str(root))
    try:
        return write_layer(str(blobs), fd, removed, whole_tree(scan(fd)), **more)
    finally:
        os.close(fd)


def test_blob_is_what_its_digests_say(root: Path, blobs: Path) -> None:
    layer = store(root, blobs, (b'gone', b'away/b'))
    blob = Path(layer.path)
    assert os.listdir(blobs) == [blob.name]
    assert layer.digest == f'sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}'
    assert layer.digest == f'sha256:{blob.name}'
    tar = unpacked(blob)
    assert layer.diff_id == f'sha256:{hashlib.sha256(tar).hexdigest()}'
    assert (layer.size, layer.tar_size) == (blob.stat().st_size, len(tar))
    assert (layer.added, layer.changed, layer.removed) == (34, 0, 2)
    names = [member.name for member in read_layer(blob)]
    assert names[:3] == ['.wh.gone', 'away/.wh.b', 'big'], 'whiteouts come first'
    assert names[2:] == sorted(names[2:], key=lambda name: name.split('/'))


@pytest.mark.parametrize('count', [1, 2, 64, None])
def test_bytes_do_not_depend_on_processors(
    root: Path, blobs: Path, monkeypatch: pytest.MonkeyPatch, count: Any
) -> None:
    wanted = store(root, blobs).digest
    monkeypatch.setattr(os, 'cpu_count', lambda: count)
    assert store(root, blobs).digest == wanted


def test_small_layers_are_gzip_and_large_ones_are_unpacked_by_the_storage(
    root: Path, blobs: Path, tmp_path: Path
) -> None:
    write(tmp_path / 'small/file', b'x')
    small, large = store(tmp_path / 'small', blobs), store(root, blobs)
    assert (small.media_type, small.is_packed) == (module.GZIP_TYPE, False)
    assert Path(small.path).read_bytes()[:8] == b'\x1f\x8b\x08\0\0\0\0\0', 'no time'
    assert (large.media_type, large.is_packed) == (module.ZSTD_TYPE, True)


@pytest.mark.parametrize('count', [1, 192])
def test_memory_does_not_grow_with_processors(
    tmp_path: Path, blobs: Path, count: int
) -> None:
    """In MiB, of a process of its own."""
    write(tmp_path / 'tree/file', os.urandom(1 << 20) * 96)
    program = f'''
import os, re, sys
os.cpu_count = lambda: {count}
from kiwi_stackbuild_plugin.tree.delta import whole_tree
from kiwi_stackbuild_plugin.layer.blob import write_layer
from kiwi_stackbuild_plugin.tree.scan import scan
fd = os.open(sys.argv[1], os.O_RDONLY)
write_layer(sys.argv[2], fd, (), whole_tree(scan(fd)))
print(int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) >> 10)
'''
    found = subprocess.run(
        [sys.executable, '-c', program, tmp_path / 'tree', blobs],
        capture_output=True, text=True, check=True
    ).stdout
    assert int(found) < 90


def test_progress_counts_content(root: Path, blobs: Path) -> None:
    done: List[int] = []
    store(root, blobs, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == sum(
        path.stat().st_size for path in root.rglob('*') if path.is_file()
    )


def test_layer_of_nothing(tmp_path: Path, blobs: Path) -> None:
    (tmp_path / 'empty').mkdir()
    layer = store(tmp_path / 'empty', blobs)
    assert unpacked(Path(layer.path)) == bytes(1024)


def append(path: Path) -> None:
    with open(path, 'ab') as out:
        out.write(b'more')


def same_but_touched(path: Path) -> None:
    status = path.stat()
    with open(path, 'r+b') as out:
        out.write(b'#')
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def to_link(path: Path) -> None:
    path.rename(path.with_name('real'))
    path.symlink_to('real')


def shrink(path: Path) -> None:
    os.truncate(path, 5)


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def parent_to_link(path: Path) -> None:
    path.parent.rename(path.parents[1] / 'aside')
    path.parent.symlink_to('aside')


def check_change_is_named(
    root: Path, blobs: Path, before: Callable[[Path], Any], during: Callable[[Path], Any]
) -> None:
    path = write(root / 'd0/victim', os.urandom(3 << 20))
    fd = open_tree(str(root))
    changes = [
        change for change in whole_tree(scan(fd))
        if change.entry.path in (b'd0', b'd0/victim')
    ]
    before(path)
    with pytest.raises(KiwiStashTreeChanged, match=r"'d0/victim' changed while"):
        write_layer(str(blobs), fd, (), changes, lambda done: during(path))
    os.close(fd)
    assert threading.active_count() == 1


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize('change', [
    append, same_but_touched, shrink, to_link, to_fifo, parent_to_link, Path.unlink
])
def test_file_that_changed_since_the_scan_is_named(
    root: Path, blobs: Path, change: Callable[[Path], Any]
) -> None:
    check_change_is_named(root, blobs, change, nothing)


@pytest.mark.parametrize('change', [append, same_but_touched, shrink])
def test_file_that_changes_while_it_is_read_is_named(
    root: Path, blobs: Path, change: Callable[[Path], Any]
) -> None:
    check_change_is_named(root, blobs, nothing, change)


class FullDisk:
    """A disk that takes the first bytes only."""

    name = 'blob'

    def write(self, data: bytes) -> None:
        raise OSError(28, 'No space left on device')


def test_full_disk_ends_the_work(
    root: Path, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._Sink
    monkeypatch.setattr(module, '_Sink', lambda blob: real(FullDisk()))  # type: ignore
    with pytest.raises(OSError, match='No space left'):
        store(root, blobs)
    assert threading.active_count() == 1, 'no thread is left'


@pytest.mark.parametrize('error', [MemoryError(), zstandard.ZstdError('broken')])
def test_failing_worker_ends_the_work(
    root: Path, blobs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: Any, data: bytes) -> None:
        raise error
    monkeypatch.setattr(module._Sink, '_compress', fail)
    with pytest.raises(type(error)):
        store(root, blobs)
    assert threading.active_count() == 1


def test_error_of_the_caller_passes(root: Path, blobs: Path) -> None:
    def broken() -> Iterator[Change]:
        fd = open_tree(str(root))
        yield from whole_tree(scan(fd))
        os.close(fd)
        raise ZeroDivisionError
    fd = open_tree(str(root))
    with pytest.raises(ZeroDivisionError):
        write_layer(str(blobs), fd, (), broken())
    os.close(fd)
    assert threading.active_count() == 1


def test_default_acls_do_not_spread(tmp_path: Path, blobs: Path) -> None:
    """Unpacked in order, as podman does it, with inheritance by the kernel."""
    root = tmp_path / 'root'
    (root / 'd/sub/deep').mkdir(parents=True)
    write(root / 'd/plain', b'').chmod(0o641)
    os.symlink('plain', root / 'd/link')
    os.link(root / 'd/plain', root / 'hard')
    write(root / 'd/own', b'')
    os.mkfifo(root / 'd/fifo', 0o600)
    os.setxattr(root / 'd', DEFAULT, acl((7, 6)))
    os.setxattr(root / 'd/own', ACCESS, acl((8, 4)))
    layer = store(root, blobs)
    told = {
        member.name: {
            key for key in member.pax_headers if 'posix_acl' in key
        } for member in read_layer(layer.path)
    }
    access, default = f'SCHILY.xattr.{ACCESS}', f'SCHILY.xattr.{DEFAULT}'
    assert told == {
        'd': {default}, 'd/plain': {access}, 'd/fifo': {access}, 'd/own': {access},
        'd/link': set(), 'd/sub': {access, default}, 'd/sub/deep': set(), 'hard': set()
    }
    (tmp_path / 'unpacked').mkdir()
    apply_layer(layer.path, tmp_path / 'unpacked')
    assert describe(tmp_path / 'unpacked') == describe(root)


def test_devices_are_never_opened(tmp_path: Path, blobs: Path) -> None:
    root = tmp_path / 'root'
    root.mkdir()
    os.mkfifo(root / 'fifo')
    assert store(root, blobs).added == 1
    fd = open_tree(str(root))
    entry = next(scan(fd))
    assert Change(ADDED, entry).link == b''
    os.close(fd)


@pytest.mark.parametrize('data, sparse', [
    (bytes(1 << 20), True),
    (bytes((1 << 20) - 1), False),
    (b'x' * (1 << 20) + bytes(1 << 20), True),
    # in sum, in whole blocks
    ((b'x' * 4096 + bytes(8192)) * 128, True),
    ((b'x' * 4096 + bytes(8192)) * 127, False),
    ((b'x' + bytes(4095)) * 512, False),
])
def test_many_zeros_are_told_however_they_are_allocated(
    tmp_path: Path, blobs: Path, data: bytes, sparse: bool
) -> None:
    root = tmp_path / 'root'
    write(root / 'b/file', data)
    os.link(root / 'b/file', root / 'c')
    write(root / 'small', b'x')
    for how in ('always', 'never'):
        copy = tmp_path / how
        subprocess.run(['cp', '-a', f'--sparse={how}', root, copy], check=True)
        assert store(copy, blobs).sparse == ((b'b/file', b'c') if sparse else ())
