# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of layers: what gzip made of each, and which of its files are linked.

It is also where the directory of all caches is decided.

A packed layer is a file <directory>/layers/<diff ID>.<digest>, as skopeo wrote it.
A layer never changes, nor does what it is packed to. It is a cache: without it the
layer is packed, which takes longer and gives the same. Nothing in it is trusted: a
file is what its name says, or it is removed. The hard links of a layer are in
<directory>/links/<diff ID>; without that the layer is searched for them.
"""
from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional, Tuple

from kiwi_stackbuild_plugin.host.durable import replace

log = logging.getLogger('kiwi')

_DIRECTORY = '/var/cache/kiwi-stackbuild'
_LAYERS, _LINKS = 'layers', 'links'
#: smaller ones are packed in no time, in bytes
WORTH = 1 << 20
#: of all files; those used last stay
_MOST = 4 << 30
_NAME = re.compile(r'([0-9a-f]{64})\.([0-9a-f]{64})')
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20

#: names of the same file, for each file of a layer that has several
Links = List[List[bytes]]


@dataclass(frozen=True)
class PackedLayer:
    """An open file with a layer; digest has its 'sha256:', size is in bytes."""

    fd: int
    digest: str
    size: int


def cache_directory() -> str:
    """Return where caches are, from KIWI_STASH_CACHE; '' for nowhere."""
    return os.environ.get('KIWI_STASH_CACHE', _DIRECTORY)


def is_private(status: os.stat_result) -> bool:
    """Tell whether only this user can have written something."""
    return status.st_uid == os.geteuid() and not (
        stat.S_ISLNK(status.st_mode) or status.st_mode & 0o022
    )


@contextmanager
def find_packed(diff_id: str) -> Iterator[Optional[PackedLayer]]:
    """Open what a layer is packed to for a block, None where it is not there.

    It stays readable for the block, whoever removes it.
    """
    found = None
    for name in _names(f'{_digits(diff_id)}.'):
        path = os.path.join(_place(), name)
        found = found or _open(path)
    try:
        yield found
    finally:
        if found:
            os.close(found.fd)


def keep_packed(diff_id: str, digest: str, path: str) -> None:
    """Keep what a layer is packed to, and drop what was not used for long.

    For a block of one_packer(): what another run left half is removed. A disk that
    is full costs the cache, and nothing else.

    :param path: file with that very digest; it may be there under a second name now
    """
    place = made_place(_LAYERS)
    name = f'{_digits(diff_id)}.{_digits(digest)}'
    if not place or not _NAME.fullmatch(name):
        return
    new = os.path.join(place, f'.{name}.{os.getpid()}')
    try:
        try:
            os.link(path, new)
        except OSError:
            # another file system
            shutil.copyfile(path, new)
        replace(new, os.path.join(place, name))
        _drop_old(place)
    except OSError as issue:
        log.debug('%s is not kept packed: %s', diff_id[:19], issue)
    finally:
        with suppress(OSError):
            os.unlink(new)


def drop_layers(diff_ids: Iterable[str]) -> None:
    """Remove what is kept of layers that are gone."""
    directory = cache_directory()
    for diff_id in diff_ids:
        for name in _names(f'{_digits(diff_id)}.'):
            with suppress(OSError):
                os.unlink(os.path.join(_place(), name))
        if directory:
            with suppress(OSError):
                os.unlink(os.path.join(directory, _LINKS, _digits(diff_id)))


def read_links(diff_id: str) -> Optional[Links]:
    """Return the names of each file of a layer that has several, None if that is not kept."""
    data = read_kept(_LINKS, _digits(diff_id))
    if data is None:
        return None
    try:
        return [[os.fsencode(name) for name in names] for names in json.loads(data)]
    except (ValueError, TypeError):
        return None


def keep_links(diff_id: str, links: Links) -> None:
    """Keep the names of each file of a layer that has several."""
    told = [[os.fsdecode(name) for name in names] for names in links]
    keep(_LINKS, _digits(diff_id), json.dumps(told).encode('ascii'))


@contextmanager
def one_packer() -> Iterator[None]:
    """Wait until no other run packs layers, for a block: it may be the same ones."""
    place = made_place(_LAYERS)
    if not place:
        yield
        return
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info('Another run packs layers: waiting for it, they may be the same')
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def made_place(name: str) -> str:
    """Return a directory of one kind of cache, made if need be, '' if it is of no use."""
    directory = cache_directory()
    if not directory:
        return ''
    place = os.path.join(directory, name)
    try:
        # the mode of makedirs is for the last one only
        os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
        os.makedirs(place, 0o700, exist_ok=True)
    except OSError as issue:
        log.debug('nothing is kept: %s', issue)
        return ''
    if not _is_ours(place):
        log.debug('%s: others can write there, nothing is kept', place)
        return ''
    return place


def read_kept(kind: str, name: str) -> Optional[bytes]:
    """Return what a file of one kind of cache has, None where none is to be trusted."""
    place = made_place(kind)
    if not place:
        return None
    try:
        with open(os.path.join(place, name), 'rb') as source:
            return source.read() if is_private(os.fstat(source.fileno())) else None
    except OSError:
        return None


def keep(kind: str, name: str, data: bytes, most: Optional[int] = None) -> None:
    """Keep a file in one kind of cache; a disk that is full costs that, and nothing else.

    :param most: how many files of the kind stay, those written last; None for all
    """
    place = made_place(kind)
    if not place:
        return
    new = os.path.join(place, f'.{name}.{os.getpid()}')
    try:
        with open(new, 'wb') as out:
            out.write(data)
        replace(new, os.path.join(place, name))
        if most:
            found = [entry.path for entry in os.scandir(place)]
            for old in sorted(found, key=os.path.getmtime)[:-most]:
                os.unlink(old)
    except OSError as issue:
        log.debug('%s/%s is not kept: %s', kind, name, issue)
        with suppress(OSError):
            os.unlink(new)


def _place() -> str:
    directory = cache_directory()
    return os.path.join(directory, _LAYERS) if directory else ''


def _is_ours(place: str) -> bool:
    try:
        return all(is_private(os.lstat(one)) for one in (os.path.dirname(place), place))
    except OSError:
        return False


def _names(start: str) -> List[str]:
    place = _place()
    if not place or not _is_ours(place):
        return []
    return [
        name for name in sorted(os.listdir(place))
        if name.startswith(start) and _NAME.fullmatch(name)
    ]


def _open(path: str) -> Optional[PackedLayer]:
    """Open a file that is what its name says; remove it if it is not."""
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return None
    digest, size = '', 0
    try:
        status = os.fstat(fd)
        if is_private(status) and stat.S_ISREG(status.st_mode):
            digest, size = _digest(fd)
    except OSError as issue:
        log.debug('%s: %s', path, issue)
    if digest == path[-64:]:
        with suppress(OSError):
            os.utime(fd)
        return PackedLayer(fd, f'sha256:{digest}', size)
    os.close(fd)
    log.debug('%s is not what its name says', path)
    with suppress(OSError):
        os.unlink(path)
    return None


def _digest(fd: int) -> Tuple[str, int]:
    """Return digest and size of an open file."""
    found = hashlib.sha256()
    size = 0
    while data := os.pread(fd, _CHUNK, size):
        found.update(data)
        size += len(data)
    return found.hexdigest(), size


def _digits(digest: str) -> str:
    return digest.partition(':')[2]


def _drop_old(place: str) -> None:
    """Remove the files that were not used for longest, as far as it is too much."""
    found = []
    for entry in os.scandir(place):
        if not _NAME.fullmatch(entry.name):
            os.unlink(entry.path)
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            found.append((status.st_mtime, status.st_size, entry.path))
    total = 0
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > _MOST:
            os.unlink(path)
