# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the contents of files of two trees."""
from __future__ import annotations

import os
import stat

from kiwi_stackbuild_plugin.tree.opening import open_below

_CHUNK = 1 << 20


class ContentComparer:
    """Compares files of the same path below two directories.

    compared_files and compared_bytes tell how much had to be read.
    """

    def __init__(self, one_fd: int, two_fd: int) -> None:
        self.one_fd = one_fd
        self.two_fd = two_fd
        self.compared_files = 0
        self.compared_bytes = 0

    def __call__(self, path: bytes, other: bytes = b'') -> bool:
        """Tell whether both are regular files with the same bytes.

        :param other: path below the second directory, if it is not the same
        """
        flags = os.O_RDONLY | os.O_NONBLOCK
        one = open_below(self.one_fd, path, flags)
        try:
            two = open_below(self.two_fd, other or path, flags)
        except OSError as issue:
            os.close(one)
            if isinstance(issue, FileNotFoundError):
                return False
            raise
        self.compared_files += 1
        try:
            return self._same(one, two)
        finally:
            os.close(one)
            os.close(two)

    def _same(self, one: int, two: int) -> bool:
        if not all(stat.S_ISREG(os.fstat(fd).st_mode) for fd in (one, two)):
            return False
        while True:
            piece, other = os.read(one, _CHUNK), os.read(two, _CHUNK)
            self.compared_bytes += len(piece)
            if piece != other:
                return False
            if not piece:
                return True
