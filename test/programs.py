# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in a small root tree: the host's, and ones that note their calls."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List

#: file in the root with a line for each call
LOG = 'log'


def add_programs(root: Path, *names: str) -> None:
    """Copy programs of the host with their libraries into usr/bin of a root."""
    for name in names:
        found = str(shutil.which(name))
        shutil.copy(found, root / 'usr/bin' / name)
        said = subprocess.run(['ldd', found], capture_output=True, text=True, check=True).stdout
        for word in said.split():
            if word.startswith('/'):
                target = root / word.lstrip('/')
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, target)


def add_noting(root: Path, *names: str) -> None:
    """Put programs into a root that do nothing but note how they are called."""
    if not (root / 'bin').exists():
        (root / 'bin').symlink_to('usr/bin')
    add_programs(root, 'sh')
    for name in names:
        script = root / 'usr/bin' / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >>/{LOG}\n')
        script.chmod(0o755)


def calls(root: Path, *names: str) -> List[str]:
    """Return the noted calls of programs in their order."""
    if not (root / LOG).exists():
        return []
    return [
        line for line in (root / LOG).read_text().splitlines()
        if not names or line.partition(' ')[0] in names
    ]
