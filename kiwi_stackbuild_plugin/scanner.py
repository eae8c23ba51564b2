# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that scans for prefetch: imports little, so that it is quick to start."""
from __future__ import annotations

import marshal
import os
import sys

from kiwi_stackbuild_plugin.packing import send
from kiwi_stackbuild_plugin.tree import Exclusion, scan_rows


def work() -> None:
    """Scan and send, until done or nobody listens; the job comes by stdin."""
    root_fd, paths, contents, pattern, flags = marshal.load(sys.stdin.buffer)
    if pattern:
        import re
        pattern = re.compile(pattern, flags)
    exclusion = Exclusion(frozenset(paths), frozenset(contents), pattern)
    try:
        send(sys.stdout.buffer, scan_rows(root_fd, exclusion))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)
