# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a stored layer again, and compare it with its diff ID and its headers."""
from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from bisect import bisect_right
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from kiwi_stackbuild_plugin.graph.records import GraphRoot, LayerRecord
from kiwi_stackbuild_plugin.graph.tar_split import Crc64, Piece, RecordDamaged, read_record
from kiwi_stackbuild_plugin.tree.opening import DIRECTORY_FLAGS, open_below

#: where a driver has the files of a layer; overlay has its changes only
_PLACES = {'overlay': 'overlay/{}/diff', 'vfs': 'vfs/dir/{}', 'btrfs': 'btrfs/subvolumes/{}'}
_BLOCK = 1 << 20
_WHITEOUT = b'.wh.'
_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG, tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.LNKTYPE: stat.S_IFREG, tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR, tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO
}
#: of files whose holes are not in the archive (tar --sparse, bsdtar); podman knows
#: the whole files, and cannot make the archive again either
_SPARSE = b'GNU.sparse.'
_CAPABILITY = 'security.capability'


@dataclass(frozen=True)
class Damage:
    """What is not as it was recorded; path is '' where it is not one entry."""

    path: bytes
    why: str


@dataclass(frozen=True)
class LayerCheck:
    """What a layer was found to be: bytes read, and the damage.

    unread: why it cannot be told, '' if it can
    """

    size: int
    damage: Tuple[Damage, ...]
    unread: str = ''


def can_check(graph: GraphRoot) -> bool:
    """Tell whether the files of this driver's layers can be read."""
    return graph.driver in _PLACES


def check_layer(
    graph: GraphRoot, layer: LayerRecord, read: Callable[[int], None] = lambda size: None
) -> LayerCheck:
    """Read a layer as the archive that it was, and compare.

    :param read: told of the bytes that were read
    """
    directory = os.path.join(graph.path, _PLACES[graph.driver].format(layer.layer_id))
    try:
        fd = os.open(directory, DIRECTORY_FLAGS)
    except OSError as issue:
        return LayerCheck(0, (Damage(b'', f'its directory: {issue.strerror}'),))
    try:
        return _Reader(graph, layer, fd, read).check()
    finally:
        os.close(fd)


class _Reader:
    """One layer that is read; headers are kept with their places in the archive."""

    def __init__(
        self, graph: GraphRoot, layer: LayerRecord, fd: int, read: Callable[[int], None]
    ) -> None:
        self._graph = graph
        self._layer = layer
        self._fd = fd
        self._read = read
        self._size = 0
        self._headers: List[Tuple[int, bytes]] = []
        self._damage: Dict[bytes, str] = {}
        self._is_sparse = False

    def check(self) -> LayerCheck:
        try:
            digest = self._read_all()
            if digest != self._layer.diff_id and not self._damage:
                self._name_files()
            self._compare_headers()
            if digest != self._layer.diff_id and not self._damage:
                self._damage[b''] = f'what is stored has the digest {digest}'
        except RecordDamaged as issue:
            self._damage[b''] = f'the record of its headers: {issue}'
        if self._damage and self._is_sparse:
            return LayerCheck(self._size, (), 'made by tar with sparse files: cannot be checked')
        return LayerCheck(self._size, tuple(
            Damage(path, why) for path, why in sorted(self._damage.items())
        ))

    def _pieces(self) -> Iterator[Piece]:
        return read_record(self._graph.of('layers', f'{self._layer.layer_id}.tar-split.gz'))

    def _read_all(self) -> str:
        digest = hashlib.sha256()
        for piece in self._pieces():
            if piece.name is None:
                self._headers.append((self._size, piece.data))
                self._is_sparse = self._is_sparse or _SPARSE in piece.data
                self._size += len(piece.data)
                digest.update(piece.data)
            elif piece.size:
                self._each_block(piece, digest.update)
                self._size += piece.size
        return f'sha256:{digest.hexdigest()}'

    def _each_block(self, piece: Piece, take: Callable[[bytes], object]) -> None:
        """Read a file as long as it was; note it where that cannot be."""
        path = _plain(piece.name or b'')
        left = piece.size
        try:
            fd = open_below(self._fd, path, os.O_RDONLY | os.O_NONBLOCK)
            with open(fd, 'rb', buffering=0) as stream:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_size != left:
                    self._damage[path] = f'{found.st_size} bytes, it had {left}'
                    return
                while left:
                    data = stream.read(min(left, _BLOCK))
                    if not data:
                        self._damage[path] = f'ends {left} bytes too early'
                        return
                    take(data)
                    self._read(len(data))
                    left -= len(data)
        except OSError as issue:
            self._damage[path] = _reason(issue)

    def _name_files(self) -> None:
        """Look which files have another CRC than they had."""
        for piece in self._pieces():
            if piece.name is not None and piece.size and piece.crc is not None:
                crc = Crc64()
                self._each_block(piece, crc.update)
                if crc.value() != piece.crc:
                    self._damage.setdefault(_plain(piece.name), 'other content than it had')

    def _compare_headers(self) -> None:
        entries: Dict[bytes, Optional[tarfile.TarInfo]] = {}
        try:
            with tarfile.TarFile(
                fileobj=_Headers(self._headers, self._size), errors='surrogateescape',
                encoding='utf-8', errorlevel=0
            ) as archive:
                for info in archive:
                    path = _plain(os.fsencode(info.name))
                    # of two of one name it is not known which counts
                    entries[path] = None if path in entries else info
        # it lets through what its numbers raise
        except (tarfile.TarError, ValueError, OverflowError, LookupError) as issue:
            raise RecordDamaged(str(issue)) from issue
        for path, entry in entries.items():
            if path and entry is not None and path not in self._damage:
                why = self._compare(path, entry)
                if why:
                    self._damage[path] = why

    def _compare(self, path: bytes, entry: tarfile.TarInfo) -> str:
        directory, _, name = path.rpartition(b'/')
        if name.startswith(_WHITEOUT):
            return self._compare_whiteout(directory, name[len(_WHITEOUT):])
        try:
            fd = open_below(self._fd, path, os.O_PATH)
        except OSError as issue:
            return _reason(issue)
        try:
            return _unlike(fd, os.fstat(fd), entry, self._graph.driver == 'overlay')
        finally:
            os.close(fd)

    def _compare_whiteout(self, directory: bytes, name: bytes) -> str:
        """Tell whether a deletion is lost; a driver that copies has carried it out."""
        if self._graph.driver != 'overlay' or name.startswith(_WHITEOUT):
            return ''
        try:
            fd = open_below(self._fd, directory + b'/' + name if directory else name, os.O_PATH)
        except OSError as issue:
            return _reason(issue)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        # what is deleted and made anew by the same layer is there
        return '' if not stat.S_ISCHR(found.st_mode) or found.st_rdev == 0 else 'no deletion'


def _unlike(
    fd: int, found: os.stat_result, entry: tarfile.TarInfo, has_xattrs: bool
) -> str:
    kind = _TYPES.get(entry.type)
    if kind is None:
        return ''
    if stat.S_IFMT(found.st_mode) != kind:
        return 'of another type than it was'
    if kind == stat.S_IFLNK:
        target = os.readlink(b'', dir_fd=fd)
        if target != os.fsencode(entry.linkname):
            return 'leads to another place than it did'
    elif stat.S_IMODE(found.st_mode) != entry.mode & 0o7777:
        return f'mode {stat.S_IMODE(found.st_mode):04o}, it was {entry.mode & 0o7777:04o}'
    if (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
        return f'owner {found.st_uid}:{found.st_gid}, it was {entry.uid}:{entry.gid}'
    if kind in (stat.S_IFCHR, stat.S_IFBLK) and found.st_rdev != os.makedev(
        entry.devmajor, entry.devminor
    ):
        return 'another device than it was'
    if kind == stat.S_IFREG and entry.type != tarfile.LNKTYPE and \
            found.st_size != entry.size:
        return f'{found.st_size} bytes, it had {entry.size}'
    return _unlike_capability(fd, entry) if has_xattrs and kind == stat.S_IFREG else ''


def _unlike_capability(fd: int, entry: tarfile.TarInfo) -> str:
    wanted = entry.pax_headers.get(f'SCHILY.xattr.{_CAPABILITY}')
    if wanted is None:
        return ''
    try:
        found: Optional[bytes] = os.getxattr(f'/proc/self/fd/{fd}', _CAPABILITY)
    except OSError:
        found = None
    return '' if found == os.fsencode(wanted) else 'other capabilities than it had'


def _plain(name: bytes) -> bytes:
    parts = [part for part in name.split(b'/') if part not in (b'', b'.')]
    return b'/'.join(parts)


def _reason(issue: OSError) -> str:
    return 'not there' if isinstance(issue, FileNotFoundError) else issue.strerror or str(issue)


class _Headers(io.RawIOBase):
    """The archive as tarfile reads it; what is between the headers is zeros."""

    def __init__(self, parts: List[Tuple[int, bytes]], size: int) -> None:
        self._parts = parts
        self._starts = [start for start, _ in parts]
        self._size = size
        self._place = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._place + size, self._size)
        found = bytearray(max(end - self._place, 0))
        number = max(bisect_right(self._starts, self._place) - 1, 0)
        for start, data in self._parts[number:]:
            if start >= end:
                break
            first, last = max(start, self._place), min(start + len(data), end)
            if first < last:
                found[first - self._place:last - self._place] = data[first - start:last - start]
        self._place = max(end, self._place)
        return bytes(found)
