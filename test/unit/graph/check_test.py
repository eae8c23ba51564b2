# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer as a storage has it, whole and damaged in all ways."""
from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Callable, Dict, List

import pytest
from trees import make_root

from kiwi_stackbuild_plugin.graph.check import can_check, check_layer
from kiwi_stackbuild_plugin.graph.records import GraphRoot, LayerRecord
from kiwi_stackbuild_plugin.graph.tar_split import Crc64

ID = 'a' * 64


class StoredLayer:
    """A root tree as a layer of the overlay driver."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.files = make_root(where / f'overlay/{ID}/diff')
        (self.files / 'usr/long').write_bytes(os.urandom(1_100_000))
        os.mknod(self.files / 'etc/gone', 0o20000, 0)
        os.mkfifo(self.files / 'run/pipe')
        self.record = where / f'overlay-layers/{ID}.tar-split.gz'
        self.record.parent.mkdir()
        self.layer = LayerRecord(ID, '', self._write(), 'then')
        self.graph = GraphRoot(str(where), 'overlay')

    def _write(self) -> str:
        """Write the record of an archive of the tree; return its digest."""
        packed, lines = io.BytesIO(), []
        with tarfile.open(fileobj=packed, mode='w', format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.files.rglob('*')):
                name = str(path.relative_to(self.files))
                info = archive.gettarinfo(str(path), name)
                if name == 'etc/gone':
                    info = tarfile.TarInfo('etc/.wh.gone')
                start = packed.tell()
                content = path.read_bytes() if info.isreg() and info.size else b''
                archive.addfile(info, io.BytesIO(content))
                data = packed.getvalue()[start:]
                length = info.size if info.isreg() else 0
                head = len(data) - (-(-length // 512) * 512)
                lines.append({'type': 2, 'payload': _text(data[:head])})
                crc = Crc64()
                crc.update(data[head:head + length])
                lines.append({'type': 1, 'name': info.name, 'size': length, 'payload':
                              _text(crc.value().to_bytes(8, 'big')) if length else None})
                lines.append({'type': 2, 'payload': _text(data[head + length:])})
            end = packed.tell()
        lines.append({'type': 2, 'payload': _text(packed.getvalue()[end:])})
        self.record.write_bytes(gzip.compress(
            ''.join(f'{json.dumps(line)}\n' for line in lines).encode()
        ))
        return f'sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}'

    def damage(self) -> Dict[str, str]:
        """Return what is found, by path."""
        return {
            os.fsdecode(one.path): one.why for one in check_layer(self.graph, self.layer).damage
        }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def stored(tmp_path: Path) -> StoredLayer:
    """Give a layer that is whole."""
    return StoredLayer(tmp_path)


def test_whole_layer(stored: StoredLayer) -> None:
    read: List[int] = []
    found = check_layer(stored.graph, stored.layer, read.append)
    assert found.damage == () and found.size > 1_100_000
    assert sum(read) > 1_100_000 and max(read) <= 1 << 20


def flip(path: Path, place: int = -1) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def relink(path: Path, target: str) -> None:
    """Make a link lead elsewhere."""
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(('path', 'harm', 'why'), [
    ('usr/long', lambda path: flip(path), 'other content than it had'),
    ('usr/long', lambda path: flip(path, 0), 'other content than it had'),
    ('usr/long', lambda path: os.truncate(path, 5), '5 bytes, it had 1100000'),
    ('usr/long', lambda path: os.truncate(path, 1_100_001), '1100001 bytes, it had 1100000'),
    ('etc/hostname', lambda path: path.write_bytes(b'\0' * 6), 'other content than it had'),
    ('etc/hostname', lambda path: path.unlink(), 'not there'),
    ('etc/hostname', lambda path: path.chmod(0o600), 'mode 0600, it was 0644'),
    ('etc/hostname', lambda path: os.chown(path, 1, 2), 'owner 1:2, it was 0:0'),
    ('etc/hostname', lambda path: relink(path, '/etc/passwd'), 'Too many levels'),
    ('usr/bin/link', lambda path: relink(path, 'tooL'), 'leads to another place'),
    ('usr/bin/link', lambda path: path.unlink(), 'not there'),
    ('var/lib/dpkg/status', lambda path: path.unlink(), 'not there'),
    ('var/lib/dpkg/status', lambda path: path.write_text('x'), '1 bytes, it had 0'),
    ('tmp', lambda path: path.rmdir(), 'not there'),
    ('tmp', lambda path: path.chmod(0o700), 'mode 0700'),
    ('run/pipe', lambda path: (path.unlink(), path.touch()), 'of another type'),
    ('etc/.wh.gone', lambda path: (path.parent / 'gone').unlink(), 'not there'),
])
def test_damage_is_named(
    stored: StoredLayer, path: str, harm: Callable[[Path], object], why: str
) -> None:
    harm(stored.files / path)
    found = stored.damage()
    assert list(found) == [path] and why in found[path]


def test_all_that_is_damaged_is_named(stored: StoredLayer) -> None:
    flip(stored.files / 'usr/long')
    flip(stored.files / 'etc/os-release')
    assert list(stored.damage()) == ['etc/os-release', 'usr/long']


@pytest.mark.parametrize('harm', [
    lambda path: path.unlink(), lambda path: flip(path, 300), lambda path: path.write_bytes(b''),
    lambda path: os.truncate(path, 400)
])
def test_damaged_record(stored: StoredLayer, harm: Callable[[Path], object]) -> None:
    harm(stored.record)
    assert list(stored.damage()) == ['']


@pytest.mark.parametrize(('pax', 'unread'), [
    ({'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'etc/hostname',
      'GNU.sparse.realsize': '6'}, True),
    ({'GNU.sparse.map': '0,1', 'GNU.sparse.size': '6'}, True),
    ({'comment': 'sparse'}, False), ({'size': '9' * 30}, False)
])
def test_sparse_files_of_tar_are_no_damage(
    stored: StoredLayer, pax: Dict[str, str], unread: bool
) -> None:
    info = tarfile.TarInfo('GNUSparseFile.0/hostname')
    info.size, info.pax_headers = 512, pax
    stored.record.write_bytes(gzip.compress(''.join(f'{json.dumps(line)}\n' for line in (
        {'type': 2, 'payload': _text(info.tobuf(tarfile.PAX_FORMAT))},
        {'type': 1, 'name': 'etc/hostname', 'size': 6},
        {'type': 2, 'payload': _text(bytes(1024))}
    )).encode()))
    found = check_layer(stored.graph, stored.layer)
    assert bool(found.unread) is unread and bool(found.damage) is not unread


def test_directory_that_is_gone(stored: StoredLayer) -> None:
    (stored.where / 'overlay').rename(stored.where / 'away')
    assert stored.damage() == {'': 'its directory: No such file or directory'}


def test_record_of_another_layer(stored: StoredLayer) -> None:
    stored.layer = LayerRecord(ID, '', f'sha256:{ID}', 'then')
    assert list(stored.damage()) == [''] and 'has the digest' in stored.damage()['']


def test_drivers() -> None:
    assert [can_check(GraphRoot('/', name)) for name in ('overlay', 'vfs', 'zfs')] == [
        True, True, False
    ]
