# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a delta to a root tree: replace, never write in place, follow no link."""
from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from types import MappingProxyType
from typing import BinaryIO, Dict, List, Mapping, Optional, Tuple

from kiwi_stackbuild_plugin.host.command import remove_tree
from kiwi_stackbuild_plugin.tree.delta import PARENT, Change, Delta, place_of
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import open_below, set_xattrs
from kiwi_stackbuild_plugin.tree.scan import read_xattrs

_CHUNK = 1 << 20
#: nothing is moved
NOWHERE: Mapping[bytes, bytes] = MappingProxyType({})
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def apply_delta(
    root_fd: int, source_fd: int, delta: Delta, moved: Mapping[bytes, bytes] = NOWHERE
) -> None:
    """Make the changes of a delta in a tree.

    Each file is made anew: a hard link in the root to what was there before
    keeps the content it had.

    :param root_fd: root of the tree to be changed
    :param source_fd: root of the tree that the delta was found in
    :param moved: see stack_state.Placement
    """
    kept = _kept_times(root_fd, delta, moved)
    for path in delta.removed:
        _remove(root_fd, place_of(path, moved))
    parents = {
        place_of(change.entry.path, moved): change.entry
        for change in delta.changes
        if change.entry.is_dir and change.entry.path not in moved
    }
    directories: List[Tuple[bytes, int]] = []
    for change in delta.changes:
        if change.kind == PARENT or change.entry.path in moved:
            continue
        where = place_of(change.entry.path, moved)
        _make_parents(root_fd, where, parents)
        if change.entry.is_dir:
            directories.append((where, change.entry.stat.st_mtime_ns))
        _make(root_fd, source_fd, change, where, place_of(change.link, moved))
    for path, moment in reversed([*directories, *kept]):
        if not path:
            os.utime(root_fd, ns=(moment, moment))
            continue
        parent_fd, name = _parent(root_fd, path)
        try:
            _set_time(parent_fd, name, moment)
        finally:
            os.close(parent_fd)


def replace_entry(
    root_fd: int, path: bytes, entry: Entry, content: Optional[BinaryIO] = None
) -> None:
    """Put a file or a link in the place of what is there, never of a directory.

    :param entry: gives metadata, and a link its target
    :param content: of a file
    :raises OSError: where a directory or a link on the way is
    """
    _make_directories(root_fd, path.rpartition(b'/')[0])
    parent_fd, name = _parent(root_fd, path)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent_fd)
        if stat.S_ISLNK(entry.stat.st_mode):
            os.symlink(entry.target, name, dir_fd=parent_fd)
        else:
            with open(os.open(name, _WRITE_NEW, 0o600, dir_fd=parent_fd), 'wb') as target:
                if content is not None:
                    shutil.copyfileobj(content, target, _CHUNK)
        set_metadata(parent_fd, name, entry)
    finally:
        os.close(parent_fd)


def remove_entry(root_fd: int, path: bytes) -> None:
    """Remove a file or a link, if it is there; a directory stays.

    :raises OSError: for a directory, or where a link on the way is
    """
    with suppress(FileNotFoundError):
        parent_fd, name = _parent(root_fd, path)
        try:
            os.unlink(name, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)


def _make_directories(root_fd: int, path: bytes) -> None:
    """Make the directories of a path that are not there."""
    parts = path.split(b'/') if path else []
    for count in range(1, len(parts) + 1):
        parent_fd, name = _parent(root_fd, b'/'.join(parts[:count]))
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)


def _kept_times(
    root_fd: int, delta: Delta, moved: Mapping[bytes, bytes]
) -> List[Tuple[bytes, int]]:
    """Return the mtimes of the directories that only what is in them changes."""
    found = []
    for change in delta.changes:
        if change.kind == PARENT or change.entry.path in moved:
            where = place_of(change.entry.path, moved)
            status = _status(root_fd, where)
            if status is not None:
                found.append((where, status.st_mtime_ns))
    return found


def _status(root_fd: int, path: bytes) -> Optional[os.stat_result]:
    """Return the state of a directory, None if it is none."""
    try:
        fd = open_below(root_fd, path)
    except OSError:
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _make_parents(root_fd: int, path: bytes, parents: Dict[bytes, Entry]) -> None:
    """Make the directories above a path that the tree does not have.

    A link or file in the place of one gives way: the later tree wins.
    """
    parts = path.split(b'/')[:-1]
    for count in range(1, len(parts) + 1):
        above = b'/'.join(parts[:count])
        parent_fd, name = _parent(root_fd, above)
        try:
            if not _is_directory(parent_fd, name):
                _remove_name(parent_fd, name)
                os.mkdir(name, 0o700, dir_fd=parent_fd)
                set_metadata(parent_fd, name, parents[above])
        finally:
            os.close(parent_fd)


def _make(
    root_fd: int, source_fd: int, change: Change, where: bytes, link: bytes
) -> None:
    entry = change.entry
    mode = entry.stat.st_mode
    parent_fd, name = _parent(root_fd, where)
    try:
        if not (entry.is_dir and _is_directory(parent_fd, name)):
            _remove_name(parent_fd, name)
        if link:
            _link(root_fd, link, parent_fd, name)
            return
        if entry.is_dir:
            if not _is_directory(parent_fd, name):
                os.mkdir(name, 0o700, dir_fd=parent_fd)
        elif entry.is_file:
            _copy_content(source_fd, entry.path, parent_fd, name)
        elif stat.S_ISLNK(mode):
            os.symlink(entry.target, name, dir_fd=parent_fd)
        else:
            os.mknod(name, mode, entry.stat.st_rdev, dir_fd=parent_fd)
        set_metadata(parent_fd, name, entry)
    finally:
        os.close(parent_fd)


def _parent(root_fd: int, path: bytes) -> Tuple[int, bytes]:
    parent, _, name = path.rpartition(b'/')
    return open_below(root_fd, parent), name


def _is_directory(parent_fd: int, name: bytes) -> bool:
    try:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode)


def _link(root_fd: int, target: bytes, parent_fd: int, name: bytes) -> None:
    target_fd, target_name = _parent(root_fd, target)
    try:
        os.link(
            target_name, name, src_dir_fd=target_fd, dst_dir_fd=parent_fd,
            follow_symlinks=False
        )
    finally:
        os.close(target_fd)


def _copy_content(
    source_fd: int, path: bytes, parent_fd: int, name: bytes
) -> None:
    source = open_below(source_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        target = os.open(name, _WRITE_NEW, 0o600, dir_fd=parent_fd)
        try:
            while os.sendfile(target, source, None, _CHUNK):
                pass
        finally:
            os.close(target)
    finally:
        os.close(source)


def set_metadata(parent_fd: int, name: bytes, entry: Entry) -> None:
    """Give a name owner, mode, xattrs and times of an entry, links included."""
    status = entry.stat
    os.chown(
        name, status.st_uid, status.st_gid, dir_fd=parent_fd,
        follow_symlinks=False
    )
    where = b'/proc/self/fd/%d/%b' % (parent_fd, name)
    for key, _ in read_xattrs(where):
        if key not in dict(entry.xattrs):
            os.removexattr(where, key, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        # no name that we made is a link here: fchmodat(2) cannot spare links
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=parent_fd)
    set_xattrs(where, entry.path, entry.xattrs)
    _set_time(parent_fd, name, status.st_mtime_ns)


def _set_time(parent_fd: int, name: bytes, moment: int) -> None:
    os.utime(
        name, ns=(moment, moment), dir_fd=parent_fd, follow_symlinks=False
    )


def _remove(root_fd: int, path: bytes) -> None:
    try:
        parent_fd, name = _parent(root_fd, path)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _remove_name(parent_fd, name)
    finally:
        os.close(parent_fd)


def _remove_name(parent_fd: int, name: bytes) -> None:
    """Remove a name and, for a directory, all below it; links are not followed."""
    if _is_directory(parent_fd, name):
        # rmtree has dir_fd only since Python 3.11
        remove_tree(f'/proc/{os.getpid()}/fd/{parent_fd}/{os.fsdecode(name)}')
        return
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        pass
