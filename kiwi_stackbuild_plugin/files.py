# SPDX-License-Identifier: GPL-3.0-or-later
"""The regular files of a tree, where neither order nor exactness matters."""
from __future__ import annotations

import os
from contextlib import suppress
from typing import AnyStr, Iterator


def walk_files(top: AnyStr) -> Iterator[os.DirEntry[AnyStr]]:
    """Yield the regular files below a directory, fast and rough, in any order.

    What cannot be read is passed over: the scan will meet it itself.
    """
    pending = [top]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry
        except OSError:
            continue


def tree_size(root: str) -> int:
    """Return the bytes of all regular files below a directory, fast and rough."""
    total = 0
    for entry in walk_files(root):
        with suppress(FileNotFoundError):
            total += entry.stat(follow_symlinks=False).st_size
    return total
