# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader must know of the machine; never its name."""
from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import List

from stackbench.meter import BenchFailed

_TOOLS = ('podman', 'skopeo', 'umoci', 'rsync')


def require_tools() -> None:
    """Check for what the benchmark itself runs.

    :raises BenchFailed: naming what is missing
    """
    if os.geteuid():
        raise BenchFailed('must run as root: kiwi and the storages need it')
    missing = [
        name for name in (*_TOOLS, 'unshare', 'mkfs.ext4', 'cp')
        if not shutil.which(name)
    ]
    if missing:
        raise BenchFailed(f'not found in PATH: {", ".join(missing)}')


def facts() -> List[str]:
    """Return one line for each fact."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    cpu = re.search(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text('ascii', 'replace'))
    system = re.search(r'PRETTY_NAME="?([^"\n]*)', Path('/etc/os-release').read_text('utf-8'))
    tools = ', '.join(f'{name} {_version(name)}' for name in _TOOLS)
    return [
        f'{os.cpu_count()} cores{f" ({cpu[1]})" if cpu else ""}, '
        f'{memory / 2**30:.0f} GiB memory, Linux {platform.release()}, '
        f'{system[1] if system else "unknown system"}, '
        f'Python {platform.python_version()}',
        tools
    ]


def load() -> float:
    """Processes that wanted to run, mean of the last minute."""
    return os.getloadavg()[0]


def _version(tool: str) -> str:
    told = subprocess.run(
        [tool, '--version'], stdout=subprocess.PIPE, check=False
    ).stdout.decode(errors='replace')
    number = re.search(r'\d+(\.\d+)+', told)
    return number[0] if number else '?'
