# SPDX-License-Identifier: GPL-3.0-or-later
"""The door for all text that reaches a terminal: log lines and stdout.

Names, labels and messages of tools are those of strangers. Whoever logs or
prints need not think of it; see errors.printable for what is escaped.
"""
from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import contextmanager
from typing import Any, Iterator

from kiwi_stackbuild_plugin.host.errors import on_one_line, printable

log = logging.getLogger('kiwi')

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def guard_terminal() -> None:
    """Escape all that this process logs from now on, kiwi's last line as well.

    What stdout has no code for (a locale other than UTF-8) is escaped too.
    """
    log.addFilter(_escape)
    escape_stdout()


def escape_stdout() -> None:
    """Escape what the locale has no character for, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


@contextmanager
def guarded_log() -> Iterator[None]:
    """Escape what is logged in a block, for callers that are no command."""
    if _escape in log.filters:
        yield
        return
    log.addFilter(_escape)
    try:
        yield
    finally:
        log.removeFilter(_escape)


def _escape(record: logging.LogRecord) -> bool:
    """Escape a record; a value in one of our own lines stays on that line."""
    if record.pathname.startswith(_OWN) and isinstance(record.args, tuple):
        record.args = tuple(map(_flat, record.args))
    record.msg, record.args = printable(record.getMessage()), ()
    return True


def _flat(value: Any) -> Any:
    return on_one_line(value) if isinstance(value, str) else value
