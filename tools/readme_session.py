#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a terminal shows of a real session into README.rst.

    tools/readme_session.py [--builtin] [--print]

Run with the Python of .venv, as root. The storage is one of its own.
"""
from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import List

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / 'demo'), str(REPOSITORY / 'tools')]

from run import KIWI, own_storage, prepare

README = REPOSITORY / 'README.rst'
BEGIN = '.. terminal: made by tools/readme_session.py\n'
END = '.. end of terminal\n'
COMMANDS = (
    'kiwi-ng system stash --root=root --container-name=debian',
    "echo 'Stashed twice.' >> root/etc/motd",
    'kiwi-ng system stash --root=root --container-name=debian --dry-run',
    'kiwi-ng system stash --root=root --container-name=debian',
    'kiwi-ng system stash_list --format=table',
    'kiwi-ng system stackbuild --stash=debian --target-dir=image',
)
#: KIWI's own work after ours, which is not what the session is about
_UNTIL = re.compile(r'kiwi takes over')
_WIDTH = 120


def _cut(line: str) -> str:
    """Cut a line behind a word: half a word is a wrong one for the spelling checker."""
    return f'{line[:_WIDTH - 3].rpartition(" ")[0]} ...'


def record(work: str) -> List[str]:
    """Run the commands in a directory that has a root tree, return the lines."""
    lines: List[str] = []
    environment = {
        **os.environ, 'PATH': f'{Path(KIWI).parent}:{os.environ.get("PATH", "")}',
        'LC_ALL': 'C.UTF-8'
    }
    for command in COMMANDS:
        start = time.monotonic()
        done = subprocess.run(
            ['bash', '-c', command], cwd=work, env=environment, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # bytes: text mode would make line feeds of carriage returns
        told = done.stdout.decode()
        if done.returncode:
            raise SystemExit(f'{command}: {told}')
        seconds = time.monotonic() - start
        ours = command.startswith('kiwi-ng') and 'stackbuild' not in command
        timed = f'   # {seconds:.1f} s' if ours else ''
        lines += [f'# {command}{timed}', *shown(told, work)]
    return lines


def shown(told: str, work: str) -> List[str]:
    """Leave out progress bars and all that comes after our own part."""
    lines: List[str] = []
    for line in told.replace(f'{work}/', '').split('\n'):
        # a progress bar is one line that is written again and again
        if '\r' in line or (not line and not lines):
            continue
        if 'Reading runtime config file' in line:
            continue
        lines.append(line if len(line) <= _WIDTH else _cut(line))
        if _UNTIL.search(line):
            break
    while lines and not lines[-1]:
        lines.pop()
    return lines


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--builtin', action='store_true', help='no Debian root')
    parser.add_argument('--print', action='store_true', help='leave README.rst alone')
    given = parser.parse_args()
    with own_storage() as work:
        prepare(f'{work}/root', 'builtin' if given.builtin else 'apt')
        lines = record(work)
    block = '.. code:: console\n   :class: not-run\n\n' + ''.join(
        f'   {line}'.rstrip() + '\n' for line in lines
    )
    if given.print:
        print(block)
        return 0
    text = README.read_text(encoding='utf-8')
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f'{before}{BEGIN}\n{block}\n{END}{after}', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
