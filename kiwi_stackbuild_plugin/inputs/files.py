# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of the files that a build reads: a description, keys, a configuration."""
from __future__ import annotations

import hashlib
import os
import stat
from typing import Iterator, Sequence, Set

from kiwi_stackbuild_plugin.tree.scan import read_xattrs


def digest_description(directory: str, without: Sequence[str] = ()) -> str:
    """Return one SHA-256 digest over all that a user's description is.

    Names, kinds, modes, extended attributes, contents and link targets count, times
    do not. What a link leads to counts as well, for kiwi follows that of a script or
    archive; of links to directories only those at the top, as kiwi does for root/.

    :param without: paths that are no part of it, such as the target directory
    :raises OSError: for what cannot be read
    """
    left_out = {os.path.realpath(path) for path in without}
    total = hashlib.sha256()
    for path in _walk(directory, left_out, follow=True):
        status = os.lstat(path)
        name = os.fsencode(os.path.relpath(path, directory))
        total.update(b'%d:%b%o' % (len(name), name, status.st_mode))
        for key, value in read_xattrs(os.fsencode(path)):
            total.update(b'%b=%d:%b' % (os.fsencode(key), len(value), value))
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            total.update(b'%d' % status.st_rdev)
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(path))
            total.update(b'%d:%b' % (len(target), target))
        if os.path.isfile(path):
            total.update(digest_file(path).encode())
    return f'sha256:{total.hexdigest()}'


def _walk(directory: str, left_out: Set[str], follow: bool = False) -> Iterator[str]:
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.realpath(path) in left_out and not os.path.islink(path):
            continue
        yield path
        if os.path.isdir(path) and (follow or not os.path.islink(path)):
            yield from _walk(path, left_out)


def digest_file(path: str) -> str:
    """Return the SHA-256 digest of a regular file.

    :raises OSError: if it cannot be read
    """
    total = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, 'rb') as source:
        for data in iter(lambda: source.read(1 << 20), b''):
            total.update(data)
    return f'sha256:{total.hexdigest()}'
