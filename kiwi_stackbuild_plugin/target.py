# SPDX-License-Identifier: GPL-3.0-or-later
"""The target directory of a stackbuild: checked, staged, published by rename."""
from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List

from kiwi_stackbuild_plugin.command import remove_tree, run_command
from kiwi_stackbuild_plugin.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.selection import find_mounts

log = logging.getLogger('kiwi')


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


def check_target(path: str) -> Target:
    """Look whether an image can be built in a directory; nothing is touched.

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
    if os.path.lexists(target.image_root) and not os.path.lexists(target.marker):
        raise KiwiStashTargetInvalid(
            f'--target-dir {path!r}: {target.image_root!r} is there from an '
            'earlier run',
            'remove it, or choose another target directory'
        )
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
            os.makedirs(target.build_dir, exist_ok=True)
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


def _unmount_unfinished(target: Target) -> None:
    """Take back what is mounted in the root that an earlier failed run left.

    :raises KiwiStashTargetInvalid: if something stays mounted in it
    """
    log.info('Removing the unfinished %s', target.image_root)
    for _ in range(2):
        for path in sorted(find_mounts(target.image_root), reverse=True):
            point = os.path.join(os.fsencode(target.image_root), path)
            run_command(['umount', '--', os.fsdecode(point)], check=False)
    mounted = find_mounts(target.image_root)
    if mounted:
        raise KiwiStashTargetInvalid(
            f'{target.image_root!r}: {os.fsdecode(min(mounted))!r} in it is '
            'still mounted', 'unmount it, then try again'
        )


def publish(target: Target, staged: str) -> None:
    """Make a staged root the image-root, unfinished until kiwi is done.

    One that an earlier failed run left makes room by a rename: what is there
    is whole at any time. It is removed beside the staged one.

    :raises KiwiStashTargetInvalid: if something stays mounted in it
    """
    with open(target.marker, 'w', encoding='ascii'):
        pass
    if not os.path.lexists(target.image_root):
        os.rename(staged, target.image_root)
        return
    _unmount_unfinished(target)
    replaced = f'{staged}.replaced'
    os.rename(target.image_root, replaced)
    os.rename(staged, target.image_root)
    remove_tree(replaced)


def mark_finished(target: Target) -> None:
    """Note that kiwi has built from image-root."""
    os.unlink(target.marker)
