# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries of a tree a stash takes: exclusions, mounts, what tar can hold."""
from __future__ import annotations

import os
import re
import stat
from fnmatch import translate
from typing import Callable, Iterable, Iterator, Optional

from kiwi_stackbuild_plugin.entry import Entry

from kiwi_stackbuild_plugin.tree import Exclusion

#: no storage is so deep down that it cannot unpack a path of so many bytes
_SAFE_LENGTH = 2048


def make_exclusion(
    patterns: Iterable[str], contents: Iterable[bytes] = ()
) -> Exclusion:
    """Turn kiwi's exclude patterns into an exclusion, anchored at the root.

    rsync lets 'run/*' match below any directory, which loses data; here a
    pattern is always a path from the root.

    :param patterns: names, paths, 'directory/*', or glob patterns
    :param contents: further directories whose contents are left out
    """
    paths, hollow, globs = set(), set(contents), []
    for text in patterns:
        name = os.fsencode(text.strip('/'))
        if name.endswith(b'/*') and not re.search(rb'[*?[]', name[:-2]):
            hollow.add(name[:-2])
        elif re.search(rb'[*?[]', name):
            globs.append(translate(os.fsdecode(name)).encode(
                errors='surrogateescape'
            ))
        elif name:
            paths.add(name)
    return Exclusion(
        frozenset(paths), frozenset(hollow),
        re.compile(b'|'.join(globs), re.DOTALL) if globs else None
    )


def storable(
    entries: Iterable[Entry], report: Callable[[bytes, str], None],
    longest_path: Callable[[], int]
) -> Iterator[Entry]:
    """Pass on what a layer can hold; report and drop the rest.

    :param longest_path: says what the storage can unpack; asked only if need be
    :param report: called with the path and the reason of each that is dropped
    """
    dropped = None
    limit = 0
    for entry in entries:
        if dropped is not None and entry.path.startswith(dropped):
            continue
        reason = _not_storable(entry)
        if reason is None and len(entry.path) > _SAFE_LENGTH:
            limit = limit or longest_path()
            reason = _too_long(entry, limit)
        if reason is None:
            yield entry
            continue
        report(entry.path, reason)
        dropped = entry.path + b'/' if entry.is_dir else None


def _not_storable(entry: Entry) -> Optional[str]:
    mode = entry.stat.st_mode
    if stat.S_ISSOCK(mode):
        return 'a socket'
    if b'.wh.' in entry.path and entry.path.rsplit(b'/', 1)[-1].startswith(b'.wh.'):
        return 'the name means a deletion in a layer'
    if stat.S_ISCHR(mode) and entry.stat.st_rdev == 0:
        return 'a device 0:0 means a deletion in the storage'
    return None


def _too_long(entry: Entry, limit: int) -> Optional[str]:
    if len(entry.path) <= limit:
        return None
    return f'the path has {len(entry.path)} bytes, the storage takes {limit}'
