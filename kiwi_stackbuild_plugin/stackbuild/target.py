# SPDX-License-Identifier: GPL-3.0-or-later
"""The target directory of a stackbuild: checked, staged, published by rename."""
from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Iterator, List

from kiwi_stackbuild_plugin.host.command import remove_tree, run_command
from kiwi_stackbuild_plugin.host.durable import replace, sync_directory
from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.host.mounts import is_mounted_on_itself, processes_in
from kiwi_stackbuild_plugin.host.unmounting import in_use_by, take_back_mounts
from kiwi_stackbuild_plugin.inputs.record import forget_record, read_record
from kiwi_stackbuild_plugin.overlay.place import overlay_of

log = logging.getLogger('kiwi')

_SHOWN = 10
#: kiwi binds it into the root; where the link var/run leads out of that, on itself
_SHARED = '/run/dbus'


@dataclass(frozen=True)
class Target:
    """Where an image is built; all paths are absolute."""

    path: str

    @property
    def build_dir(self) -> str:
        """Directory that kiwi builds in."""
        return os.path.join(self.path, 'build')

    @property
    def image_root(self) -> str:
        """The root tree that kiwi builds from."""
        return os.path.join(self.build_dir, 'image-root')

    @property
    def marker(self) -> str:
        """File that is there as long as image-root is not a finished one."""
        return os.path.join(self.build_dir, '.image-root.unfinished')


def check_target(path: str, replaces: bool = False) -> Target:
    """Look whether an image can be built in a directory; nothing is touched.

    :param replaces: what an earlier finished run built there may be replaced
    :raises KiwiStashTargetInvalid: with the reason
    """
    if not path:
        raise KiwiStashTargetInvalid('--target-dir: the directory name is empty')
    target = Target(os.path.abspath(path))
    for directory in (target.path, target.build_dir):
        if os.path.lexists(directory) and not os.path.isdir(directory):
            raise KiwiStashTargetInvalid(
                f'--target-dir {path!r}: {directory!r} is not a directory'
            )
    _check_writable(target.build_dir, path)
    _check_owner(target.build_dir)
    if os.path.lexists(target.image_root):
        if not _is_unfinished(target) and not (
            replaces and read_record(target.build_dir)
        ):
            raise KiwiStashTargetInvalid(
                f'--target-dir {path!r}: {target.image_root!r} is there from an '
                'earlier run',
                'remove it, or choose another target directory'
            )
        _check_idle(target)
    return target


def _check_writable(directory: str, path: str) -> None:
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    if not os.path.isdir(directory):
        raise KiwiStashTargetInvalid(
            f'--target-dir {path!r}: {directory!r} is not a directory'
        )
    read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
    if read_only or not os.access(directory, os.W_OK | os.X_OK):
        raise KiwiStashTargetInvalid(
            f'--target-dir {path!r}: {directory!r} cannot be written to'
            + (': read-only file system' if read_only else '')
        )


def _check_owner(directory: str) -> None:
    """Look whether a directory of our choice was put there by another user.

    :raises KiwiStashTargetInvalid: if so, where anybody can put one
    """
    if not os.path.lexists(directory):
        return
    owner = os.lstat(directory).st_uid
    if os.stat(os.path.dirname(directory)).st_mode & stat.S_IWOTH and owner != os.geteuid():
        raise KiwiStashTargetInvalid(
            f'{directory!r} belongs to another user ({owner}), and anybody can write '
            'where it is', 'choose a target directory that others cannot write to'
        )


@contextmanager
def made_directories(target: Target) -> Iterator[None]:
    """Make the build directory for a block; if that fails, take it back."""
    made: List[str] = []
    directory = target.build_dir
    while not os.path.isdir(directory):
        made.append(directory)
        directory = os.path.dirname(directory)
    try:
        try:
            for directory in reversed(made):
                os.makedirs(directory, exist_ok=True)
                _check_owner(directory)
            _check_owner(target.build_dir)
        except OSError as issue:
            raise KiwiStashTargetInvalid(
                f'--target-dir {target.path!r}: {issue.filename!r} cannot be '
                f'made: {issue.strerror}'
            ) from issue
        yield
    except BaseException:
        for directory in made:
            try:
                os.rmdir(directory)
            except OSError:
                break
        raise


def _take_back_mounts(target: Target) -> None:
    """Unmount what is mounted in the root that an earlier run left, and at it.

    kiwi binds the root onto itself; what one of its scripts, or a user, mounted
    there is only unmounted as well, and named.

    :raises KiwiStashTargetInvalid: if something stays mounted
    """
    log.info('Removing the unfinished %s', target.image_root)
    points = take_back_mounts(target.image_root)
    if points:
        raise KiwiStashTargetInvalid(
            f'{os.fsdecode(points[-1])!r} is still mounted{in_use_by(target.image_root)}',
            'unmount it, then try again'
        )
    if is_mounted_on_itself(_SHARED) and os.path.realpath(
        os.path.join(target.image_root, 'var', _SHARED.lstrip('/'))
    ) == os.path.realpath(_SHARED):
        log.info('Unmounting %s, which kiwi mounted on itself', _SHARED)
        run_command(['umount', '--', _SHARED], check=False)


def _check_idle(target: Target) -> None:
    """Look whether something of a killed run still works in its root.

    kiwi leaves the programs it has started in the root behind when it is killed.

    :raises KiwiStashTargetInvalid: naming the processes
    """
    processes = processes_in(target.image_root, chrooted_only=True)
    if processes:
        raise KiwiStashTargetInvalid(
            f'{target.image_root!r}: a program of an earlier run still works '
            f'there: process {", ".join(processes[:_SHOWN])}',
            'wait for its end, or end it, then try again'
        )


def publish(target: Target, staged: str) -> None:
    """Make a staged root the image-root, unfinished until kiwi is done.

    One that an earlier failed run left makes room by a rename: what is there
    is whole at any time. It is removed beside the staged one. The changes of
    an overlay root are beside it, and go before it.

    :raises KiwiStashTargetInvalid: if something stays mounted in it
    """
    _write_marker(target)
    forget_record(target.build_dir)
    old = []
    if os.path.lexists(target.image_root):
        _check_idle(target)
        _take_back_mounts(target)
        old.append(f'{staged}.replaced')
        os.rename(target.image_root, old[-1])
    if os.path.lexists(overlay_of(target.image_root)):
        old.append(f'{staged}.replaced-overlay')
        os.rename(overlay_of(target.image_root), old[-1])
    if os.path.lexists(overlay_of(staged)):
        os.rename(overlay_of(staged), overlay_of(target.image_root))
    replace(staged, target.image_root)
    for path in old:
        remove_tree(path)


def _write_marker(target: Target) -> None:
    """Make the marker, unless there is ours; never through a link."""
    try:
        os.close(os.open(target.marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        sync_directory(target.build_dir)
    except FileExistsError:
        if not _is_unfinished(target):
            raise


def _is_unfinished(target: Target) -> bool:
    """Tell whether a run of this user marked image-root; others may write there."""
    try:
        status = os.lstat(target.marker)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def mark_finished(target: Target) -> None:
    """Note that kiwi has built from image-root."""
    with suppress(FileNotFoundError):
        os.unlink(target.marker)
