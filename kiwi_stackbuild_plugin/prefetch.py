# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan in a process of its own, so that two trees are scanned at a time."""
from __future__ import annotations

import json
import marshal
import os
import re
import subprocess
import sys
from typing import Iterator, List, Optional

from kiwi_stackbuild_plugin.packing import LENGTH, Sink, receive, send
from kiwi_stackbuild_plugin.entry import Entry
from kiwi_stackbuild_plugin.tree import Exclusion, scan

_ALL = Exclusion()
#: a new interpreter, not a fork: a fork of a process that has had threads can
#: hang; with our module path and nothing else of the environment
_PROGRAM = (
    'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
    'from kiwi_stackbuild_plugin import prefetch; prefetch.work()'
)


def scan_ahead(
    root_fd: int, exclusion: Exclusion = _ALL, copy: Optional[Sink] = None
) -> Iterator[Entry]:
    """Yield what tree.scan yields, from a child process that runs ahead.

    The pipe between them bounds the lead. The child ends with its parent, and
    when nobody wants more.

    :param copy: gets what the child sends, as packing.receive reads it
    :raises OSError: as scan does
    """
    pattern = exclusion.pattern
    job = marshal.dumps((
        root_fd, tuple(exclusion.paths), tuple(exclusion.contents),
        pattern and pattern.pattern, pattern and pattern.flags
    ))
    child = subprocess.Popen(
        [sys.executable, '-I', '-S', '-c', _PROGRAM, json.dumps(_module_path())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        pass_fds=(root_fd,), bufsize=1 << 18
    )
    assert child.stdin and child.stdout
    try:
        try:
            child.stdin.write(job)
            child.stdin.close()
        except BrokenPipeError:
            pass
        head = child.stdout.read(LENGTH)
        # an installation that a bare interpreter cannot find: no lead then
        if head:
            yield from receive(head, child.stdout, copy)
        else:
            yield from scan(root_fd, exclusion)
    finally:
        child.stdout.close()
        child.wait()


def _module_path() -> List[str]:
    """Return sys.path, led by where we are: an editable install is not in it."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [here, *sys.path]


def work() -> None:
    """Be the child: scan and send, until done or nobody listens."""
    root_fd, paths, contents, pattern, flags = marshal.load(sys.stdin.buffer)
    exclusion = Exclusion(
        frozenset(paths), frozenset(contents),
        re.compile(pattern, flags) if pattern else None
    )
    try:
        send(sys.stdout.buffer, scan(root_fd, exclusion))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)
