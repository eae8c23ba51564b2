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
    if 'stash_list' not in words and not {'stash', '--list'} <= words and not (
        {'stash', '--dry-run'} <= words and any(
            word.startswith('--format') for word in words
        )
    ):
        return
    for handler in logging.getLogger('kiwi').handlers:
        if (
            isinstance(handler, logging.StreamHandler)
            and handler.stream is sys.__stdout__ and sys.__stderr__
        ):
            handler.setStream(sys.__stderr__)


def print_text(text: str) -> None:
    """Print to stdout, with nothing a terminal acts on but lines and tabs.

    A reader that has gone (head, a pager) is no error.

    :raises KiwiStashSystemFailed: if it cannot be written
    """
    from kiwi_stackbuild_plugin.host.errors import KiwiStashSystemFailed, printable
    guard_output()
    try:
        print('\t'.join(map(printable, text.split('\t'))), flush=True)
    except BrokenPipeError:
        _give_up_stdout()
    except OSError as issue:
        _give_up_stdout()
        raise KiwiStashSystemFailed(f'standard output: {issue.strerror}') from issue


def guard_output() -> None:
    """Let nothing that strangers named reach the terminal as it is."""
    from kiwi_stackbuild_plugin.host.terminal import guard_terminal
    guard_terminal()


def _give_up_stdout() -> None:
    """Keep Python from complaining once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
