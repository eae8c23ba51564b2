# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of long work, through kiwi's own progress bar."""
from __future__ import annotations

import logging
import time

log = logging.getLogger('kiwi')

_QUIET = 1.0
_EVERY = 0.25


class ProgressMeter:
    """Shows a bar for work that takes longer than a second.

    :param total: how much there is to do, in any unit
    :param title: what is being done
    """

    def __init__(self, total: int, title: str) -> None:
        self.total = total
        self.title = title
        self._next = time.monotonic() + _QUIET
        self._shown = False

    def __call__(self, done: int) -> None:
        """Say how much is done."""
        now = time.monotonic()
        if now >= self._next and self.total:
            self._next = now + _EVERY
            self._show(min(99, 100 * done // self.total))

    def finish(self) -> None:
        """Complete the bar, if there is one."""
        if self._shown:
            self._show(100)

    def _show(self, percent: int) -> None:
        # kiwi's Logger has it; a plain logger (a library user's) has not
        if hasattr(log, 'progress'):
            self._shown = True
            log.progress(percent, 100, f'[ INFO    ]: {self.title}')
