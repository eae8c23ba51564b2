# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command prints for its user."""
from __future__ import annotations

import logging
import os
import sys


def keep_stdout_clean() -> None:
    """Send kiwi's messages to stderr where a list is asked for.

    kiwi writes them to stdout, among them that it read /etc/kiwi.yml: JSON on
    stdout could not be read then.
    """
    words = set(sys.argv)
    if 'stash_list' not in words and not {'stash', '--list'} <= words:
        return
    for handler in logging.getLogger('kiwi').handlers:
        if (
            isinstance(handler, logging.StreamHandler)
            and handler.stream is sys.__stdout__ and sys.__stderr__
        ):
            handler.setStream(sys.__stderr__)


def print_text(text: str) -> None:
    """Print to stdout; a reader that has gone (head, a pager) is no error.

    :raises KiwiStashSystemFailed: if it cannot be written to, a full disk say
    """
    try:
        print(text, flush=True)
    except OSError as issue:
        # Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(issue, BrokenPipeError):
            return
        from kiwi_stackbuild_plugin.errors import KiwiStashSystemFailed
        raise KiwiStashSystemFailed(
            f'stdout cannot be written to: {issue.strerror}'
        ) from issue
