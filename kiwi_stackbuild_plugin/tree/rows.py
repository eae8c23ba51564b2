# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of scanned entries as bytes: through a pipe, or into a file and back."""
from __future__ import annotations

import errno
import marshal
from itertools import islice
from typing import IO, Any, Iterable, Iterator, List, Optional, Protocol, Tuple

from kiwi_stackbuild_plugin.tree.entry import Entry, Row, named

BATCH = 512
LENGTH = 4


class Truncated(OSError):
    """The end of what was sent is missing."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, 'the process that scans has ended')


class Sink(Protocol):
    """What can be written to."""

    def write(self, data: bytes) -> Any:
        """Take bytes."""


def send(stream: Sink, rows: Iterable[Row]) -> None:
    """Send batches; the last is empty, or says how the scan failed.

    :raises BrokenPipeError: if nobody listens any more
    """
    failure: Tuple[int, str] = (0, '')
    iterator = iter(rows)
    try:
        batch = list(islice(iterator, BATCH))
        while batch:
            send_batch(stream, batch)
            batch = list(islice(iterator, BATCH))
    except BrokenPipeError:
        raise
    except OSError as issue:
        failure = issue.errno or errno.EIO, issue.strerror or ''
    _send_one(stream, failure)


def send_batch(stream: Sink, batch: List[Row]) -> None:
    """Send some rows; none end it."""
    _send_one(stream, batch or (0, ''))


def _send_one(stream: Sink, document: Any) -> None:
    data = marshal.dumps(document)
    stream.write(len(data).to_bytes(LENGTH, 'little') + data)


def receive(
    head: bytes, stream: IO[bytes], copy: Optional[Sink] = None
) -> Iterator[Entry]:
    """Yield what was sent, up to the last batch.

    :param head: the first bytes, that tell the length of the first batch
    :param copy: gets all bytes as well
    :raises OSError: how the scan failed; Truncated where the end is missing
    """
    while True:
        length = int.from_bytes(head, 'little')
        data = stream.read(length)
        if len(head) < LENGTH or len(data) < length:
            raise Truncated
        if copy is not None:
            copy.write(head + data)
        document = marshal.loads(data)
        if isinstance(document, tuple):
            if document[0]:
                raise OSError(*document)
            return
        yield from named(document)
        head = stream.read(LENGTH)
