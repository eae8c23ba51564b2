# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows sent and received: all of them, in batches, and what an early end is."""
from __future__ import annotations

import errno
import io
from typing import Any, Iterator, List, Optional

import pytest

from kiwi_stackbuild_plugin.tree import rows as module
from kiwi_stackbuild_plugin.tree.entry import Entry, Row, Status, named
from kiwi_stackbuild_plugin.tree.rows import (
    BATCH, LENGTH, Truncated, receive, send, send_batch
)


def some(count: int) -> List[Row]:
    """Rows with values of every size."""
    return [(
        b'etc/\xff%d' % number, Status(0o100644, 2**63, 1, 1, 0, 2**32 - 2, 2**62, -1, 5, 6, 7),
        (('user.a', b'\0\xff'),) * (number % 2), b'to\n' * (number % 3)
    ) for number in range(count)]


def sent(rows: Any) -> bytes:
    stream = io.BytesIO()
    send(stream, [
        (path, tuple(status), xattrs, target) for path, status, xattrs, target in rows
    ] if isinstance(rows, list) else rows)
    return stream.getvalue()


def read(data: bytes, copy: Optional[io.BytesIO] = None) -> Iterator[Entry]:
    stream = io.BytesIO(data)
    return receive(stream.read(LENGTH), stream, copy)


@pytest.mark.parametrize('count', [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH])
def test_what_was_sent_comes_back(count: int) -> None:
    data, copy = sent(some(count)), io.BytesIO()
    assert list(read(data, copy)) == list(named(some(count)))
    assert copy.getvalue() == data, 'the copy is read in the same way'


def test_what_comes_behind_the_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'BATCH', 2)
    stream = io.BytesIO(sent(some(5)) + b'more')
    assert len(list(receive(stream.read(LENGTH), stream))) == 5
    assert stream.read() == b'more'


def test_batches_are_written_as_they_fill() -> None:
    """Who reads does not wait for the whole tree."""
    lengths: List[int] = []
    stream = io.BytesIO()

    def noting() -> Iterator[Row]:
        for path, status, xattrs, target in some(BATCH + 2):
            lengths.append(stream.tell())
            yield path, tuple(status), xattrs, target
    send(stream, noting())
    assert lengths[BATCH - 1] == 0 < lengths[BATCH]
    assert len(set(lengths)) == 2


def test_no_rows_end_it() -> None:
    stream = io.BytesIO()
    send_batch(stream, [])
    assert stream.getvalue() == sent([])
    assert list(read(stream.getvalue())) == []


@pytest.mark.parametrize(('issue', 'number', 'told'), [
    (PermissionError(13, 'not for you'), 13, 'not for you'),
    (OSError(5, 'broken'), 5, 'broken'), (OSError('odd'), errno.EIO, ''),
    (OSError(28, None), 28, '')
])
@pytest.mark.parametrize('count', [0, 1, BATCH, 600])
def test_failure_comes_after_the_whole_batches(
    issue: OSError, number: int, told: str, count: int
) -> None:
    def failing() -> Iterator[Row]:
        for path, status, xattrs, target in some(count):
            yield path, tuple(status), xattrs, target
        raise issue
    entries = read(sent(failing()))
    whole = count // BATCH * BATCH
    assert [next(entries) for _ in range(whole)] == list(named(some(whole)))
    with pytest.raises(OSError) as found:
        next(entries)
    assert (found.value.errno, found.value.strerror) == (number, told)
    assert not isinstance(found.value, Truncated)


def test_nobody_listens_any_more() -> None:
    class Closed(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError(errno.EPIPE, 'gone')
    with pytest.raises(BrokenPipeError):
        send(Closed(), iter([(b'a', (1,), (), b'')]))


@pytest.mark.parametrize('cut', [0, 1, LENGTH - 1, LENGTH, LENGTH + 1, -1, -9, -20])
def test_child_that_dies_within_a_batch_is_an_error(cut: int) -> None:
    """What was sent ends in a length, after one, or within what it announces."""
    data, copy = sent(some(600))[:cut], io.BytesIO()
    with pytest.raises(Truncated) as issue:
        list(read(data, copy))
    assert issue.value.errno == errno.EIO
    assert data.startswith(copy.getvalue()), 'whole batches only'
