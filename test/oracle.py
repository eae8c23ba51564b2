# SPDX-License-Identifier: GPL-3.0-or-later
"""An applier of OCI layers for tests: Python's tarfile and the spec's rules.

Source: OCI image spec, layer.md, "Applying Changesets". Nothing of the plugin
is used here, and names, times and attributes are read from the records of the
archive in another way than they are written.
"""
from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List

import zstandard

XATTR = 'SCHILY.xattr.'


def read_layer(blob: Any) -> List[tarfile.TarInfo]:
    """Return the members of a layer blob, strictly read."""
    with _archive(Path(blob)) as archive:
        return archive.getmembers()


def unpacked(blob: Path) -> bytes:
    """Return the tar archive of a layer blob."""
    data = blob.read_bytes()
    if data.startswith(b'\x1f\x8b'):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(data).read()


def _archive(blob: Path) -> tarfile.TarFile:
    return tarfile.open(
        fileobj=io.BytesIO(unpacked(blob)), encoding='utf-8',
        errors='surrogateescape', errorlevel=2
    )


def apply_layer(blob: Any, root: Path) -> None:
    """Apply a layer blob to a tree, which becomes the tree above it."""
    times: Dict[str, int] = {}
    with _archive(Path(blob)) as archive:
        members = archive.getmembers()
        assert len({member.name for member in members}) == len(members)
        for member in members:
            folder, name = os.path.split(member.name)
            assert not os.path.isabs(member.name) and '..' not in folder.split('/')
            if name.startswith('.wh.'):
                gone = root / folder / name[len('.wh.'):]
                assert os.path.lexists(gone), f'whiteout of nothing: {gone}'
                _remove(gone)
        for member in members:
            if not os.path.basename(member.name).startswith('.wh.'):
                _make(archive, member, root)
                times[member.name] = _mtime(member)
    for path in sorted(times, reverse=True):
        os.utime(root / path, ns=(times[path],) * 2, follow_symlinks=False)


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    path = root / member.name
    assert path.parent == root or os.path.dirname(member.name) in (
        other.name for other in archive.getmembers() if other.isdir()
    ), f'no parent directory in the layer: {member.name!r}'
    if not (member.isdir() and path.is_dir() and not path.is_symlink()):
        _remove(path)
    if member.islnk():
        os.link(root / member.linkname, path, follow_symlinks=False)
        return
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        path.write_bytes(content.read())
    else:
        kind = {
            tarfile.CHRTYPE: 0o020000, tarfile.BLKTYPE: 0o060000,
            tarfile.FIFOTYPE: 0o010000
        }[member.type]
        os.mknod(path, kind, os.makedev(member.devmajor, member.devminor))
    _set_metadata(path, member)


def _set_metadata(path: Path, member: tarfile.TarInfo) -> None:
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        path.chmod(member.mode)
    for key in os.listxattr(path, follow_symlinks=False):
        os.removexattr(path, key, follow_symlinks=False)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR):
            os.setxattr(
                path, key[len(XATTR):], value.encode('utf-8', 'surrogateescape'),
                follow_symlinks=False
            )


def _mtime(member: tarfile.TarInfo) -> int:
    """Return nanoseconds; tarfile itself has only a float."""
    text = member.pax_headers.get('mtime')
    return int(member.mtime) * 10**9 if text is None else int(Decimal(text) * 10**9)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
