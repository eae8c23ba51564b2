# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a tree out of its layers' directories: each file from the layer that has it.

Reading through a mounted overlay takes longer, and no file system shares blocks
with what is read there. Where it can, the copy shares them with the layers.
"""
from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from contextlib import ExitStack, suppress
from typing import AbstractSet, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from kiwi_stackbuild_plugin.host.errors import printable, printable_path
from kiwi_stackbuild_plugin.tree.layered import Found, Unreadable, merge
from kiwi_stackbuild_plugin.tree.opening import open_below
from kiwi_stackbuild_plugin.tree.scan import walk_files

log = logging.getLogger('kiwi')

#: linux/fs.h
_FICLONE = 0x40049409
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_SECTOR = 512
#: copy_file_range(2) does not do it between these two; sendfile(2) does
_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
#: of no file of this layer either
_NEVER_CLONES = (errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY)
_UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP)
_OVERLAY = 'trusted.overlay.'
#: what stands in the layer for an attribute 'trusted.overlay.' of the tree itself
_ESCAPED = 'trusted.overlay.overlay.'
#: the content, or the place of it, is elsewhere
_ELSEWHERE = ('trusted.overlay.metacopy', 'trusted.overlay.redirect')


class _Directory(NamedTuple):
    """A directory whose contents are made first, then it gets its own metadata."""

    path: bytes
    found: Found


def copy_layers(
    layers: Sequence[int], target_fd: int, sparse: AbstractSet[bytes] = frozenset()
) -> None:
    """Copy what layers make into an empty directory, with all metadata but its own.

    :param layers: open directories, the topmost first
    :param sparse: files in which zeros become holes
    :raises Unreadable: for a layer that only the kernel understands
    :raises OSError: with the path
    """
    _Copier(layers, target_fd, sparse).run()


def can_clone(layer_fd: int, target_fd: int) -> bool:
    """Tell whether a file of a directory can share its blocks with a copy."""
    for entry in walk_files(b'/proc/self/fd/%d/' % layer_fd):
        with suppress(OSError):
            if not entry.stat(follow_symlinks=False).st_size:
                continue
            return _clone_is_made(entry.path, target_fd)
    return False


def _clone_is_made(path: bytes, target_fd: int) -> bool:
    source = os.open(path, _READ)
    try:
        probe = os.open('.probe', _WRITE_NEW, 0o600, dir_fd=target_fd)
        try:
            os.unlink('.probe', dir_fd=target_fd)
            fcntl.ioctl(probe, _FICLONE, source)
            return True
        finally:
            os.close(probe)
    finally:
        os.close(source)


class _Copier:
    """State of one copy: what is to be linked, and what gets its times at the end."""

    def __init__(
        self, layers: Sequence[int], target_fd: int, sparse: AbstractSet[bytes]
    ) -> None:
        self.layers = layers
        self.target_fd = target_fd
        self.sparse = sparse
        self.first: Dict[Tuple[int, int, int], bytes] = {}
        self.never_clones: Set[int] = set()

    def run(self) -> None:
        """Copy depth first; only the directory that is worked on is open."""
        pending = [(b'', tuple(range(len(self.layers))))]
        done: List[_Directory] = []
        while pending:
            path, numbers = pending.pop()
            try:
                for below in self._copy_directory(path, numbers):
                    done.append(below)
                    pending.append((below.path, below.found.layers))
            except OSError as issue:
                raise _with_path(issue, path) from issue
        for path, found in reversed(done):
            self._finish(path, found)

    def _copy_directory(
        self, path: bytes, numbers: Tuple[int, ...]
    ) -> Iterator[_Directory]:
        """Copy what is in a directory; yield the directories in it, made and empty."""
        with ExitStack() as stack:
            sources = {}
            for number in numbers:
                sources[number] = open_below(self.layers[number], path)
                stack.callback(os.close, sources[number])
            target = open_below(self.target_fd, path)
            stack.callback(os.close, target)
            if not path:
                _remove_acls(target)
            for name, found in merge(sources):
                where = path + b'/' + name if path else name
                if stat.S_ISDIR(found.status.st_mode):
                    os.mkdir(name, 0o700, dir_fd=target)
                    yield _Directory(where, found)
                elif not self._is_linked(where, found, target, name):
                    self._copy(where, found, sources[found.layers[0]], target, name)

    def _is_linked(self, path: bytes, found: Found, target: int, name: bytes) -> bool:
        """Make a link to the copy of a file that there is already."""
        status = found.status
        if status.st_nlink == 1:
            return False
        first = self.first.setdefault(
            (found.layers[0], status.st_dev, status.st_ino), path
        )
        if first == path:
            return False
        parent, _, first_name = first.rpartition(b'/')
        fd = open_below(self.target_fd, parent)
        try:
            os.link(
                first_name, name, src_dir_fd=fd, dst_dir_fd=target, follow_symlinks=False
            )
        finally:
            os.close(fd)
        return True

    def _copy(
        self, path: bytes, found: Found, source: int, target: int, name: bytes
    ) -> None:
        status = found.status
        if stat.S_ISREG(status.st_mode):
            self._copy_file(path, found, source, target, name)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(
            name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False
        )
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        _copy_xattrs(
            b'/proc/self/fd/%d/%b' % (source, name),
            b'/proc/self/fd/%d/%b' % (target, name), path
        )
        os.utime(
            name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target,
            follow_symlinks=False
        )

    def _copy_file(
        self, path: bytes, found: Found, source: int, target: int, name: bytes
    ) -> None:
        status = found.status
        one = os.open(name, _READ, dir_fd=source)
        try:
            two = os.open(name, _WRITE_NEW, 0o600, dir_fd=target)
            try:
                if path in self.sparse:
                    _copy_without_zeros(one, two, status.st_size)
                elif status.st_size and not self._clone(one, two, found.layers[0]):
                    _copy_data(one, two, status)
                _copy_metadata(one, two, status, path)
            finally:
                os.close(two)
        finally:
            os.close(one)

    def _clone(self, source: int, target: int, layer: int) -> bool:
        """Share the blocks of a file where the file system can."""
        if layer in self.never_clones:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as issue:
            # EINVAL, say: only one of the two is without copy-on-write (btrfs)
            if issue.errno in _NEVER_CLONES:
                self.never_clones.add(layer)
            return False
        return True

    def _finish(self, path: bytes, found: Found) -> None:
        """Give a directory its own metadata, when nothing is made in it any more."""
        source = open_below(self.layers[found.layers[0]], path)
        try:
            target = open_below(self.target_fd, path)
            try:
                _copy_metadata(source, target, found.status, path)
            finally:
                os.close(target)
        finally:
            os.close(source)


def _copy_metadata(source: int, target: int, status: os.stat_result, path: bytes) -> None:
    """Give an open file or directory what another has beside its content."""
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    # last but the times: what is written to, or changes hands, loses its capabilities
    _copy_xattrs(source, target, path)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _with_path(issue: OSError, path: bytes) -> OSError:
    """Return an error that tells where, if it does not tell it whole."""
    name = issue.filename
    if isinstance(name, (str, bytes)):
        name = os.fsencode(name)
        path = path + b'/' + name if path and not name.startswith(b'/') else name
    return OSError(issue.errno, issue.strerror, path or b'/')


def _remove_acls(target: int) -> None:
    """Take off what a directory has from the one it is in: all below would inherit it."""
    for key in ('system.posix_acl_access', 'system.posix_acl_default'):
        with suppress(OSError):
            os.removexattr(target, key)


def _copy_xattrs(source: int | bytes, target: int | bytes, path: bytes) -> None:
    """Copy extended attributes; name those that are refused, see restore.report_lost.

    :raises Unreadable: for one that says that this is not all of it
    """
    follow = isinstance(source, int)
    try:
        keys = os.listxattr(source, follow_symlinks=follow)
    except OSError as issue:
        if issue.errno in _UNSUPPORTED:
            return
        raise
    for key in keys:
        if key in _ELSEWHERE:
            raise Unreadable(f'{printable_path(path)}: {key}')
        if key.startswith(_OVERLAY) and not key.startswith(_ESCAPED):
            continue
        value = os.getxattr(source, key, follow_symlinks=follow)
        shown = key.replace(_ESCAPED, _OVERLAY, 1) if key.startswith(_ESCAPED) else key
        try:
            os.setxattr(target, shown, value, follow_symlinks=follow)
        except OSError as issue:
            # a whole namespace that the target does not take is told at the end
            if issue.errno not in _UNSUPPORTED:
                log.warning(
                    '%s: not copied: %s: %s', printable_path(path), printable(key),
                    issue.strerror
                )


def _copy_data(source: int, target: int, status: os.stat_result) -> None:
    """Copy a file; holes stay holes."""
    if status.st_blocks * _SECTOR >= status.st_size:
        _copy_range(source, target, 0, status.st_size)
        return
    os.ftruncate(target, status.st_size)
    end = 0
    while end < status.st_size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as issue:
            if issue.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, end)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            count = os.copy_file_range(source, target, end - start, start, start)
        except OSError as issue:
            if issue.errno not in _NO_RANGE:
                raise
            count = 0
        if not count:
            # by the position of the target then
            os.lseek(target, start, os.SEEK_SET)
            count = os.sendfile(target, source, start, min(end - start, _CHUNK))
        if not count:
            return
        start += count


def _copy_without_zeros(source: int, target: int, size: int) -> None:
    os.ftruncate(target, size)
    offset = 0
    while piece := os.read(source, _CHUNK):
        if piece.count(0) != len(piece):
            os.pwrite(target, piece, offset)
        offset += len(piece)
