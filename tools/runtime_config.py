# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime configuration of kiwi for tests: images are packed fast, not small."""
from __future__ import annotations

from importlib.metadata import version
from pathlib import Path


def write_fast_config(path: Path) -> Path:
    """Write it in the form that the installed kiwi reads, return the file."""
    # kiwi 11 has dictionaries where those before had lists of them
    mark = '- ' if int(version('kiwi').partition('.')[0]) < 11 else '  '
    path.write_text(
        f'xz:\n  {mark}options: -0 -T0\ncontainer:\n  {mark}compress: none\n'
    )
    return path
