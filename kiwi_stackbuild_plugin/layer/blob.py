# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a delta as one OCI layer: tar, compression and both digests in one pass.

A small layer is gzip, which all tools take. A large one is zstd on its way into
the storage, which unpacks it: with gzip or as it is that takes half as long
again. What the storage then lists is the plain archive (see new_image): podman
turns no image into Docker's format that lists zstd.
"""
from __future__ import annotations

import hashlib
import os
import queue
import threading
import zlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import (
    BinaryIO, Callable, Collection, Dict, Iterable, List, Mapping, Optional, Tuple
)

import zstandard

from kiwi_stackbuild_plugin.host.errors import KiwiStashTreeChanged
from kiwi_stackbuild_plugin.host.holes import zero_runs
from kiwi_stackbuild_plugin.layer.acl import with_plain_acls
from kiwi_stackbuild_plugin.layer.tar import END, pack_entry, pack_whiteout, padding
from kiwi_stackbuild_plugin.tree.delta import ADDED, CHANGED, Change
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import open_below

#: OCI image spec, layer.md
TAR_TYPE = 'application/vnd.oci.image.layer.v1.tar'
GZIP_TYPE, ZSTD_TYPE = f'{TAR_TYPE}+gzip', f'{TAR_TYPE}+zstd'

#: zeros of a file, in whole blocks, from which on it is kept with holes, in bytes.
#: The content says so, for how it is allocated depends on file system and copier
MANY_ZEROS = 1 << 20

_CHUNK = 1 << 20
_LEVEL = 1
_AHEAD = 8
#: tar archives up to here are a gzip blob, in bytes
_SMALL = 4 << 20
#: more threads of zstd are no quicker than we read, and each takes memory
_MOST_THREADS = 4
#: zlib: a window of 32 KiB and a gzip header, which has no time in it
_GZIP = 16 + zlib.MAX_WBITS
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Layer:
    """A finished layer blob; sizes in bytes, digests with their 'sha256:'."""

    path: str
    digest: str
    diff_id: str
    size: int
    tar_size: int
    added: int
    changed: int
    removed: int
    media_type: str = GZIP_TYPE
    #: files with so many zeros that they are to have holes, see MANY_ZEROS
    sparse: Tuple[bytes, ...] = ()

    @property
    def is_packed(self) -> bool:
        """Tell whether the storage must not list it as it is in the blob."""
        return self.media_type == ZSTD_TYPE


def write_layer(
    blob_dir: str, root_fd: int, removed: Collection[bytes],
    changes: Iterable[Change], progress: Progress = lambda done: None,
    elsewhere: Mapping[bytes, int] = MappingProxyType({})
) -> Layer:
    """Write whiteouts, then changes, as a blob named by its digest.

    The bytes depend only on the arguments: same changes, same digest, on any
    number of processors.

    :param blob_dir: directory that gets the blob
    :param root_fd: root of the tree that the changes were found in
    :param progress: called with the bytes of content written so far
    :param elsewhere: root of another tree for each file that is read there
    :raises KiwiStashTreeChanged: if a file is not what it was when scanned
    """
    part = os.path.join(blob_dir, f'.part-{os.getpid()}')
    counts = {ADDED: 0, CHANGED: 0}
    with open(part, 'wb') as blob, _Sink(blob) as sink:
        for path in removed:
            sink.write(pack_whiteout(path))
        content = _Content(root_fd, sink, progress, elsewhere)
        try:
            for kind, entry, link in with_plain_acls(changes):
                counts[kind] = counts.get(kind, 0) + 1
                sink.write(pack_entry(entry, link))
                if link in content.sparse:
                    content.sparse[entry.path] = None
                elif entry.is_file and not link and entry.stat.st_size:
                    content.copy(entry)
        finally:
            content.close()
        sink.write(END)
    blob_path = os.path.join(blob_dir, digest := sink.blob_digest.hexdigest())
    os.rename(part, blob_path)
    return Layer(
        blob_path, f'sha256:{digest}', f'sha256:{sink.tar_digest.hexdigest()}',
        os.path.getsize(blob_path), sink.size, counts[ADDED], counts[CHANGED],
        len(removed), sink.media_type, tuple(content.sparse)
    )


class _Content:
    """Copies the content of files of a tree into a sink, in order of path."""

    def __init__(
        self, root_fd: int, sink: _Sink, progress: Progress,
        elsewhere: Mapping[bytes, int]
    ) -> None:
        self.root_fd = root_fd
        self.elsewhere = elsewhere
        self.sink = sink
        self.progress = progress
        self.done = 0
        self.sparse: Dict[bytes, None] = {}
        self.parent: Optional[Tuple[Tuple[int, bytes], int]] = None

    def copy(self, entry: Entry) -> None:
        """Copy one file; it must be what was scanned, before and after."""
        try:
            fd = self._open(entry.path)
        except OSError as issue:
            raise _changed(entry.path, issue.strerror or 'gone') from issue
        try:
            before = self._check(fd, entry)
            if self._copy_all(fd, entry) >= MANY_ZEROS:
                self.sparse[entry.path] = None
            if self._check(fd, entry) != before:
                raise _changed(entry.path, 'it was written to')
        finally:
            os.close(fd)
        self.sink.write(padding(entry.stat.st_size))

    def _copy_all(self, fd: int, entry: Entry) -> int:
        """Copy what an open file has; return how many bytes of it could be holes."""
        left = entry.stat.st_size
        counted = left >= MANY_ZEROS
        zeros = 0
        while left:
            data = os.read(fd, min(left, _CHUNK))
            if not data:
                raise _changed(entry.path, 'it shrank')
            left -= len(data)
            self.sink.write(data)
            if counted:
                zeros += sum(end - start for start, end in zero_runs(data))
            self.done += len(data)
            self.progress(self.done)
        return zeros

    @staticmethod
    def _check(fd: int, entry: Entry) -> int:
        """Compare with what was scanned, but for the mtime, which is returned.

        That of the entry may be another one, to be stored; it is never changed
        without the ctime.
        """
        now, then = os.fstat(fd), entry.stat
        if (now.st_ino, now.st_size, now.st_ctime_ns) != (
            then.st_ino, then.st_size, then.st_ctime_ns
        ):
            raise _changed(entry.path, 'it was written to')
        return now.st_mtime_ns

    def _open(self, path: bytes) -> int:
        parent, _, name = path.rpartition(b'/')
        place = self.elsewhere.get(path, self.root_fd), parent
        if self.parent is None or self.parent[0] != place:
            self.close()
            self.parent = place, open_below(*place)
        return os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            dir_fd=self.parent[1]
        )

    def close(self) -> None:
        """Let go of the directory that was read last."""
        if self.parent is not None:
            os.close(self.parent[1])
            self.parent = None


def _changed(path: bytes, why: str) -> KiwiStashTreeChanged:
    return KiwiStashTreeChanged(
        f'root tree: {os.fsdecode(path)!r} changed while it was stashed: {why}',
        'stop what writes to the tree and stash again'
    )


class _Sink:
    """Hashes and compresses what is written to it; if it is much, in threads."""

    def __init__(self, blob: BinaryIO) -> None:
        self.tar_digest = hashlib.sha256()
        self.blob_digest = hashlib.sha256()
        self.size = 0
        self.media_type = GZIP_TYPE
        self._blob = blob
        # the number of threads does not change the bytes, but none or some does
        self._zstd = zstandard.ZstdCompressor(
            level=_LEVEL, threads=min(_MOST_THREADS, os.cpu_count() or 1)
        ).compressobj()
        self._gathered: List[bytes] = []
        self._gathered_size = 0
        self._failure: List[BaseException] = []
        self._workers: List[_Worker] = []

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None and self._workers:
                self._pass_on()
        finally:
            for worker in self._workers:
                worker.finish()
        if error is not None:
            return
        if self._failure:
            raise self._failure[0]
        if self._workers:
            self._store(self._zstd.flush())
        else:
            self._pack_small()

    def write(self, data: bytes) -> None:
        """Take a piece of the archive; small ones are gathered."""
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size >= _CHUNK and self._workers:
            self._pass_on()
        elif self._gathered_size > _SMALL:
            self._start()
            self._pass_on()

    def _start(self) -> None:
        self.media_type = ZSTD_TYPE
        self._workers = [
            _Worker(self.tar_digest.update, self._failure),
            _Worker(self._compress, self._failure)
        ]
        for worker in self._workers:
            worker.start()

    def _pass_on(self) -> None:
        if self._failure:
            raise self._failure[0]
        data = self._take()
        for worker in self._workers:
            worker.pieces.put(data)

    def _take(self) -> bytes:
        data = b''.join(self._gathered)
        self._gathered, self._gathered_size = [], 0
        self.size += len(data)
        return data

    def _pack_small(self) -> None:
        data = self._take()
        self.tar_digest.update(data)
        packer = zlib.compressobj(wbits=_GZIP)
        self._store(packer.compress(data) + packer.flush())

    def _compress(self, data: bytes) -> None:
        self._store(self._zstd.compress(data))

    def _store(self, data: bytes) -> None:
        self.blob_digest.update(data)
        try:
            self._blob.write(data)
        except OSError as issue:
            raise OSError(issue.errno, issue.strerror, self._blob.name) from issue


class _Worker(threading.Thread):
    """Feeds pieces, in order, to a function that lets other threads run."""

    def __init__(
        self, work: Callable[[bytes], object], failure: List[BaseException]
    ) -> None:
        super().__init__(daemon=True)
        self.pieces: queue.Queue[Optional[bytes]] = queue.Queue(_AHEAD)
        self._work = work
        self._failure = failure

    def run(self) -> None:
        """Work until told to finish; after a failure only empty the queue."""
        while True:
            data = self.pieces.get()
            if data is None:
                return
            if not self._failure:
                try:
                    self._work(data)
                except (OSError, MemoryError, zstandard.ZstdError) as issue:
                    self._failure.append(issue)

    def finish(self) -> None:
        """Wait until all pieces are worked off."""
        self.pieces.put(None)
        self.join()
