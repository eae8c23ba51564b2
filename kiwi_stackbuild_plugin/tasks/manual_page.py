# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual page of a command, or its usage text where none is installed."""
from __future__ import annotations

import os
import sys
from typing import Optional

from kiwi.help import Help

from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.tasks.output import print_text


def show_manual(page: str, usage: Optional[str]) -> None:
    """Show a page by man, as kiwi does, else print the usage text.

    kiwi's Help shows nothing at all where the page is missing. Pages of a
    virtual environment are found too, whatever PATH is.
    """
    # a colon at the end stands for the places that man knows itself
    os.environ['MANPATH'] = ':'.join([
        os.path.join(sys.prefix, 'share/man'), os.environ.get('MANPATH', '')
    ])
    if _is_installed(page):
        Help().show(page)
    else:
        print_text((usage or '').strip())


def _is_installed(page: str) -> bool:
    try:
        told = run_command(['man', '-w', '8', page], check=False)
    except KiwiStashToolFailed:
        return False
    return told.returncode == 0 and bool(told.stdout.strip())
