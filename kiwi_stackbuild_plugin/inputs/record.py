# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a build beside its root: what it was made of, what it made."""
from __future__ import annotations

import json
import logging
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

from kiwi_stackbuild_plugin.host.durable import replace, sync_filesystem
from kiwi_stackbuild_plugin.inputs.inputs import Inputs, decode_inputs, encode_inputs

log = logging.getLogger('kiwi')

NAME = '.stackbuild.json'
_NEW = '.stackbuild.json.new'
_LIMIT = 1 << 20
#: name of a file, its size and its mtime in nanoseconds
Results = Mapping[str, Tuple[int, int]]


@dataclass(frozen=True)
class Record:
    """What a finished build was made of, and the files that it made."""

    inputs: Inputs
    results: Results


def read_record(directory: str) -> Optional[Record]:
    """Read the record in a directory, None where there is none of this user."""
    try:
        fd = os.open(
            os.path.join(directory, NAME),
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return None
    with open(fd, encoding='utf-8', errors='surrogateescape') as source:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        text = source.read(_LIMIT)
    try:
        found = json.loads(text)
        inputs = decode_inputs(json.dumps(found['built']))
        results = {
            str(name): (int(size), int(mtime))
            for name, (size, mtime) in found['results'].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Record(inputs, results) if inputs else None


def write_record(directory: str, record: Record) -> None:
    """Write the record; without it the next run builds again, which is said."""
    path = os.path.join(directory, _NEW)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(fd, 'w', encoding='utf-8') as out:
            json.dump({
                'built': json.loads(encode_inputs(record.inputs)),
                'results': dict(record.results)
            }, out, indent=2)
        # the results too, for which it vouches
        sync_filesystem(directory)
        replace(path, os.path.join(directory, NAME))
    except OSError as issue:
        with suppress(OSError):
            os.unlink(path)
        log.warning('%s is not written: %s', os.path.join(directory, NAME), issue.strerror)


def forget_record(directory: str) -> None:
    """Remove the record: what it tells of is about to be replaced."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, NAME))


def find_results(directory: str) -> Dict[str, Tuple[int, int]]:
    """Return the files in a target directory, but for those of a build."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found[entry.name] = (status.st_size, status.st_mtime_ns)
    return found
