# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn signals into a clean end: unwind every block, then exit with 128+n."""
from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Iterator, Optional

log = logging.getLogger('kiwi')

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal arrived; not an Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def clean_exit() -> Iterator[None]:
    """Run a block so that SIGINT, SIGTERM and SIGHUP end it in good order.

    The process then exits with 128 plus the signal's number. Outside the main
    thread, where signals cannot be handled, the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _raise) for number in _SIGNALS}
    try:
        yield
    except Interrupted as stop:
        log.error('ended by signal %s', signal.Signals(stop.number).name)
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
