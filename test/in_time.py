# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit in time for a block that would otherwise take for ever."""
from __future__ import annotations

import signal
from contextlib import contextmanager
from types import FrameType
from typing import Iterator, Optional


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if a block takes longer."""
    def late(number: int, frame: Optional[FrameType]) -> None:
        # no Exception: the block may expect one
        raise KeyboardInterrupt(f'it takes longer than {seconds} seconds')

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except KeyboardInterrupt as issue:
        raise AssertionError(str(issue)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
