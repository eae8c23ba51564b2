# SPDX-License-Identifier: GPL-3.0-or-later
"""Help texts out of the usage texts of the tasks, the one place they are in."""
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Dict, Optional


@dataclass(frozen=True)
class OptionHelp:
    """What a usage text says about an option or argument."""

    #: the value as it is shown, such as <directory>; empty for a flag
    metavar: str
    text: str


@cache
def option_help(usage: Optional[str]) -> Dict[str, OptionHelp]:
    """Return the section "options" of a usage text by option name."""
    return {
        head.partition('=')[0]: OptionHelp(
            head.partition('=')[2] or ('' if head.startswith('-') else head),
            text
        ) for head, text in _entries(usage, 'options').items()
    }


def command_help(usage: Optional[str], command: str) -> str:
    """Return what the section "commands" says about a command."""
    return _entries(usage, 'commands')[command]


def _entries(usage: Optional[str], section: str) -> Dict[str, str]:
    """Take a section apart: a head at four blanks, its text at eight."""
    found = re.search(
        rf'^{section}:\n((?:[ ]+.*\n|\n)*)', usage or '', re.MULTILINE
    )
    return {
        head.strip(): ' '.join(text.split())
        for head, text in re.findall(
            r'^ {4}(\S.*)\n((?: {8}.*\n)+)', found[1] if found else '',
            re.MULTILINE
        )
    }
