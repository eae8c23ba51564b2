# SPDX-License-Identifier: GPL-3.0-or-later
"""The record image/stash.json: the image that a root tree came from.

It also says up to which moment tree and image are known to agree: a file with
an older ctime, which nothing can set back, has not been touched since.
"""
from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Iterator, Optional

from kiwi_stackbuild_plugin.description.description import IMAGE_DIR, read_file
from kiwi_stackbuild_plugin.host.durable import replace
from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.host.text import FULL_ID
from kiwi_stackbuild_plugin.tree.opening import open_below

log = logging.getLogger('kiwi')

PATH = b'image/stash.json'
_NAME = 'stash.json'
_NEW = '.stash.json.new'


@dataclass(frozen=True)
class Origin:
    """What stash.json holds; moment is a ctime in nanoseconds.

    device and inode are those of the root directory: in a copy of the tree
    the moment says nothing.
    """

    image: str
    name: str
    digest: str
    moment: int
    device: int
    inode: int


def read_origin(root_fd: int) -> Optional[Origin]:
    """Return the record of a root tree, None where there is no usable one."""
    try:
        data = read_file(root_fd, PATH)
        if data is None:
            return None
        values = json.loads(data)
        record = Origin(
            str(values['image']), str(values['name']), str(values['digest']),
            int(values['moment']), int(values['device']), int(values['inode'])
        )
    except (
        ValueError, KeyError, TypeError, RecursionError, OverflowError,
        KiwiStashRootInvalid
    ):
        log.warning('image/stash.json is not one of ours and is passed over')
        return None
    return record if FULL_ID.fullmatch(record.image) else None


def write_origin(
    root_fd: int, image: str, name: str, digest: str, moment: Optional[int]
) -> None:
    """Write the record; without image/, or where it is read-only, there is none.

    :param moment: None where it is not known: then nothing is trusted
    """
    status = os.fstat(root_fd)
    record = Origin(
        image, name, digest, moment or 0, status.st_dev, status.st_ino
    )
    try:
        with _image_directory(root_fd) as fd:
            with open(_new_file(fd), 'w', encoding='utf-8') as stream:
                json.dump(asdict(record), stream, indent=2)
            replace(_NEW, _NAME, source_fd=fd, target_fd=fd)
    except OSError as issue:
        log.debug('image/stash.json is not written: %s', issue)


def take_moment(root_fd: int) -> Optional[int]:
    """Return the present moment as the tree's file system has it.

    :returns: the ctime (nanoseconds) of a file made and removed there, None
        where none can be made
    """
    try:
        with _image_directory(root_fd) as fd:
            probe = _new_file(fd)
            moment = os.fstat(probe).st_ctime_ns
            os.close(probe)
            os.unlink(_NEW, dir_fd=fd)
            return moment
    except OSError as issue:
        log.debug('no moment can be taken: %s', issue)
        return None


def trusted_moment(
    record: Origin, root_fd: int, now: Optional[int]
) -> Optional[int]:
    """Return the moment of a record if it can be believed.

    Not in a copy of the tree, not if the clock was set back since.

    :param now: the present moment, see take_moment
    """
    status = os.fstat(root_fd)
    if (record.device, record.inode) != (status.st_dev, status.st_ino):
        return None
    if now is None or not 0 < record.moment <= now:
        return None
    return record.moment


def _new_file(fd: int) -> int:
    """Make a file of ours; what a killed run or a stranger left goes first."""
    _remove_new(fd)
    return os.open(
        _NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644,
        dir_fd=fd
    )


def _remove_new(fd: int) -> None:
    try:
        os.unlink(_NEW, dir_fd=fd)
    except FileNotFoundError:
        pass


@contextmanager
def _image_directory(root_fd: int) -> Iterator[int]:
    """Open image/ and leave its times as they were."""
    fd = open_below(root_fd, IMAGE_DIR)
    try:
        before = os.fstat(fd)
        try:
            yield fd
        except OSError:
            # a full disk leaves an empty file
            _remove_new(fd)
            raise
        finally:
            os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)
