# SPDX-License-Identifier: GPL-3.0-or-later
"""Indexes: what a stash was made of, so that its mount need not be scanned.

One file for each image, <directory>/<image ID>, written when the stash is. An
image never changes, nor does its index. It is a cache: without it the image is
mounted and scanned, which takes longer and finds the same.
"""
from __future__ import annotations

import logging
import marshal
import os
import shutil
import sys
from contextlib import suppress
from typing import IO, Iterable, Iterator, Optional

import zstandard

from kiwi_stackbuild_plugin.host.durable import replace
from kiwi_stackbuild_plugin.image.cache import cache_directory, is_private
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.rows import LENGTH, receive, send
from kiwi_stackbuild_plugin.tree.scan import Exclusion
from kiwi_stackbuild_plugin.tree.times import TREE_TIMES, Times
from kiwi_stackbuild_plugin.version import __version__

log = logging.getLogger('kiwi')

#: the ones used last
_KEPT = 64
_LEVEL = 1
_HEAD_LENGTH = 1 << 20


class IndexDamaged(Exception):
    """An index ends too early, or is none; what it told before may be wrong."""


class IndexWriter:
    """Writes down a scan, to be kept under the ID of the image it becomes.

    It is a packing.Sink. A disk that is full costs the index, not the stash.

    :param path: file to write to until then
    :param exclusion: what the scan leaves out
    """

    def __init__(self, path: str, exclusion: Exclusion) -> None:
        self.path = path
        self.exclusion = exclusion
        self._stream: Optional[IO[bytes]] = None

    def begin(self) -> IndexWriter:
        """Begin, anew with each call."""
        self._close()
        if cache_directory():
            try:
                raw = open(self.path, 'wb')  # noqa: SIM115
            except OSError:
                return self
            packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
            self._stream = packer.stream_writer(raw)
            head = _head(self.exclusion)
            self.write(len(head).to_bytes(LENGTH, 'little') + head)
        return self

    def write(self, data: bytes) -> None:
        """Take what is sent of the scan."""
        if self._stream is not None:
            try:
                self._stream.write(data)
            except (OSError, zstandard.ZstdError):
                self._close()

    def close(self) -> None:
        """Let go of a file that is not kept."""
        self._close()

    def _close(self) -> bool:
        """End the file; tell whether there was one, and it is whole."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        except (OSError, zstandard.ZstdError):
            return False
        return stream is not None

    def keep(self, image_id: str, times: Times = TREE_TIMES) -> None:
        """Make what was written the index of an image; drop old ones.

        :param times: those of the image, where they are not the tree's
        """
        if not self._close() or not self._retime(times):
            return
        directory = cache_directory()
        path = os.path.join(directory, image_id)
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            if not is_private(os.lstat(directory)):
                log.debug('%s: others can write there, no index is kept', directory)
                return
            try:
                replace(self.path, path)
            except OSError:
                # another file system
                shutil.copyfile(self.path, f'{path}.new')
                replace(f'{path}.new', path)
            _drop_old(directory)
        except OSError as issue:
            log.debug('no index of %s: %s', image_id[:12], issue)


    def _retime(self, times: Times) -> bool:
        """Write the index again with the times of the image."""
        if times.are_those_of_the_tree:
            return True
        timed = IndexWriter(f'{self.path}.timed', self.exclusion)
        try:
            with open(self.path, 'rb') as raw, _unpacked(raw) as stream:
                stream.read(int.from_bytes(stream.read(LENGTH), 'little'))
                send(timed.begin(), (
                    (entry.path, tuple(entry.stat), entry.xattrs, entry.target)
                    for entry in times.apply(receive(stream.read(LENGTH), stream))
                ))
            whole = timed._close()
            os.replace(timed.path, self.path)
        except (OSError, EOFError, ValueError, TypeError, zstandard.ZstdError) as issue:
            log.debug('no index: %s', issue)
            return False
        finally:
            timed.close()
        return whole


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    stream: IO[bytes] = zstandard.ZstdDecompressor().stream_reader(raw, closefd=True)
    return stream


def drop_indexes(image_ids: Iterable[str]) -> None:
    """Remove the indexes of images that are gone."""
    directory = cache_directory()
    for image_id in image_ids if directory else ():
        with suppress(OSError):
            os.unlink(os.path.join(directory, image_id))


def read_index(image_id: str, exclusion: Exclusion) -> Optional[Iterator[Entry]]:
    """Return the entries of a stash, None if it has no index here.

    :param exclusion: must be that of the scan that was written down
    :returns: iterator that raises IndexDamaged
    """
    directory = cache_directory()
    path = os.path.join(directory, image_id)
    try:
        if not directory or not is_private(os.lstat(directory)):
            return None
        raw = open(path, 'rb')  # noqa: SIM115
    except OSError:
        return None
    if not is_private(os.fstat(raw.fileno())):
        raw.close()
        return None
    stream = _unpacked(raw)
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



def _drop_old(directory: str) -> None:
    found = [
        entry for entry in os.scandir(directory)
        if entry.is_file(follow_symlinks=False)
    ]
    found.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
    for entry in found[:-_KEPT]:
        os.unlink(entry.path)
