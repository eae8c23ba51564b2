# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn signals into a clean end, and errors of the system into one line."""
from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Iterator, Optional

from kiwi_stackbuild_plugin.host.errors import KiwiStashSystemFailed
from kiwi_stackbuild_plugin.host.terminal import escape_stdout, guarded_log

log = logging.getLogger('kiwi')

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


_HINTS = {
    errno.ENOSPC: 'make room there, or choose another place with --temp-dir',
    errno.EDQUOT: 'the quota of this user is used up',
    errno.EMFILE: 'too many open files: see ulimit -n'
}


class Interrupted(BaseException):
    """A signal arrived; not an Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def clean_exit() -> Iterator[None]:
    """Run a block so that SIGINT, SIGTERM and SIGHUP end it in good order.

    The process then exits with 128 plus the signal's number. A signal that is
    ignored stays so (nohup, a job in the background). Outside the main thread,
    where signals cannot be handled, the block just runs.

    :raises KiwiStashSystemFailed: for an OSError
    """
    with _one_line(), guarded_log(), handled_signals():
        _mend_standard_streams()
        yield


def _mend_standard_streams() -> None:
    """Keep what we open from getting the number of a stream that was closed.

    Else a tool would take it for its stdin, stdout or stderr. What a locale
    has no character for is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    escape_stdout()


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except OSError as issue:
        name = issue.filename
        where = f'{os.fsdecode(name)!r}: ' if isinstance(name, (str, bytes)) else (
            'the current directory: ' if _is_nowhere() else ''
        )
        raise KiwiStashSystemFailed(
            f'{where}{issue.strerror or issue}', _HINTS.get(issue.errno or 0, '')
        ) from issue


def _is_nowhere() -> bool:
    """Tell whether the current directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


@contextmanager
def handled_signals() -> Iterator[None]:
    """Let signals end a block as clean_exit() does; the outermost one ends the process."""
    if signal.getsignal(signal.SIGTERM) is _raise:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, _raise) for number in _SIGNALS
        # None: handled by what is not Python
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield
    except Interrupted as stop:
        log.error('ended by signal %s', signal.Signals(stop.number).name)
        with suppress(OSError, ValueError):
            if sys.stdout:
                sys.stdout.flush()
        logging.shutdown()
        os._exit(128 + stop.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: Optional[FrameType]) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)
