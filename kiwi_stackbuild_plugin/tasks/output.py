# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command prints for its user."""
from __future__ import annotations

import os
import sys


def print_text(text: str) -> None:
    """Print to stdout; a reader that has gone (head, a pager) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
