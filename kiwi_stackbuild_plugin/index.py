# SPDX-License-Identifier: GPL-3.0-or-later
"""Indexes: what is in a stash, entry by entry, so that no mount need be scanned.

One file for each image, <directory>/<image ID>, written when the stash is. An
image never changes, nor does its index. It is a cache: without it the image is
mounted and scanned, which takes longer and finds the same.
"""
from __future__ import annotations

import logging
import marshal
import os
import shutil
import stat
import sys
from typing import IO, Iterable, Iterator, List, Optional

import zstandard

from kiwi_stackbuild_plugin.packing import (
    BATCH, LENGTH, Sink, receive, send_batch
)
from kiwi_stackbuild_plugin.tree import Entry, Exclusion
from kiwi_stackbuild_plugin.version import __version__

log = logging.getLogger('kiwi')

_DIRECTORY = '/var/cache/kiwi-stackbuild'
#: the ones used last
_KEPT = 64
_LEVEL = 1
_HEAD_LENGTH = 1 << 20


class IndexDamaged(Exception):
    """An index ends too early, or is none; what it told before may be wrong."""


def index_directory() -> str:
    """Return where indexes are, from KIWI_STASH_CACHE; '' for nowhere."""
    return os.environ.get('KIWI_STASH_CACHE', _DIRECTORY)


class IndexWriter:
    """Writes down what is stashed, to be kept under the ID of its image.

    A disk that is full costs the index, not the stash.

    :param path: file to write to until then
    :param exclusion: what the scan left out
    """

    def __init__(self, path: str, exclusion: Exclusion) -> None:
        self.path = path
        self.exclusion = exclusion
        self._whole = False

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Pass on entries and write them down, anew with each call."""
        self._whole = False
        stream = self._open()
        batch: List[Entry] = []
        try:
            for entry in entries:
                batch.append(entry)
                if len(batch) == BATCH:
                    stream = _write(stream, batch)
                    batch = []
                yield entry
            if batch:
                stream = _write(stream, batch)
            stream = _write(stream, [])
            self._whole = _close(stream)
            stream = None
        finally:
            _close(stream)

    def _open(self) -> Optional[IO[bytes]]:
        if not index_directory():
            return None
        try:
            raw = open(self.path, 'wb')  # noqa: SIM115
        except OSError:
            return None
        packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        stream: IO[bytes] = packer.stream_writer(raw)
        head = _head(self.exclusion)
        stream.write(len(head).to_bytes(LENGTH, 'little') + head)
        return stream

    def keep(self, image_id: str) -> None:
        """Make what was written the index of an image; drop old ones."""
        directory = index_directory()
        if not self._whole:
            return
        path = os.path.join(directory, image_id)
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            if not _is_private(os.lstat(directory)):
                log.debug('%s: others can write there, no index is kept', directory)
                return
            try:
                os.replace(self.path, path)
            except OSError:
                # another file system
                shutil.copyfile(self.path, f'{path}.new')
                os.replace(f'{path}.new', path)
            _drop_old(directory)
        except OSError as issue:
            log.debug('no index of %s: %s', image_id[:12], issue)


def read_index(image_id: str, exclusion: Exclusion) -> Optional[Iterator[Entry]]:
    """Return the entries of a stash, None if it has no index here.

    :param exclusion: must be that of the scan that was written down
    :returns: iterator that raises IndexDamaged
    """
    directory = index_directory()
    path = os.path.join(directory, image_id)
    try:
        if not directory or not _is_private(os.lstat(directory)):
            return None
        raw = open(path, 'rb')  # noqa: SIM115
    except OSError:
        return None
    if not _is_private(os.fstat(raw.fileno())):
        raw.close()
        return None
    stream: IO[bytes] = zstandard.ZstdDecompressor().stream_reader(raw, closefd=True)
    try:
        length = int.from_bytes(stream.read(LENGTH), 'little')
        if length <= _HEAD_LENGTH and stream.read(length) == _head(exclusion):
            os.utime(path)
            return _entries(stream)
    except (OSError, zstandard.ZstdError):
        pass
    stream.close()
    return None


def _entries(stream: IO[bytes]) -> Iterator[Entry]:
    try:
        yield from receive(stream.read(LENGTH), stream)
    except (OSError, EOFError, ValueError, TypeError, zstandard.ZstdError) as issue:
        raise IndexDamaged(str(issue)) from issue
    finally:
        stream.close()


def _head(exclusion: Exclusion) -> bytes:
    """Return what an index must begin with to be understood, and to be apt."""
    pattern = exclusion.pattern
    return marshal.dumps((
        'kiwi-stackbuild index 1', __version__, sys.version, marshal.version,
        sorted(exclusion.paths), sorted(exclusion.contents),
        pattern and (pattern.pattern, pattern.flags)
    ))


def _is_private(status: os.stat_result) -> bool:
    """Tell whether only this user can have written it; marshal trusts blindly."""
    return status.st_uid == os.geteuid() and not (
        stat.S_ISLNK(status.st_mode) or status.st_mode & 0o022
    )


def _write(stream: Optional[IO[bytes]], batch: List[Entry]) -> Optional[IO[bytes]]:
    """Write entries; return the stream unless it has failed."""
    if stream is None:
        return None
    sink: Sink = stream
    try:
        send_batch(sink, batch)
    except (OSError, ValueError, zstandard.ZstdError):
        _close(stream)
        return None
    return stream


def _close(stream: Optional[IO[bytes]]) -> bool:
    """Close a stream and tell whether all of it was written."""
    if stream is None:
        return False
    try:
        stream.close()
    except (OSError, zstandard.ZstdError):
        return False
    return True


def _drop_old(directory: str) -> None:
    found = [
        entry for entry in os.scandir(directory)
        if entry.is_file(follow_symlinks=False)
    ]
    found.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
    for entry in found[:-_KEPT]:
        os.unlink(entry.path)
