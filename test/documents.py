# SPDX-License-Identifier: GPL-3.0-or-later
"""Code blocks of the documentation, as a reader would type them.

    .. code-block:: console
       :class: run                 run by "make test", in the order of the page
                                   (run-slow: by "make tutorial", not-run: never)

       # echo one command \\
             on two lines
       what it prints is there for the reader

    .. code-block:: xml
       :class: file
       :caption: role/config.xml   written to that file
"""
from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

REPOSITORY = Path(__file__).resolve().parents[1]
#: what a console block may be tagged with
CONSOLE_TAGS = ('run', 'run-slow', 'not-run')

_START = re.compile(r'^(\s*)\.\. code(?:-block)?:: *(\S*)$')
_OPTION = re.compile(r'^\s+:([a-z-]+): *(.*)$')


@dataclass(frozen=True)
class Block:
    """One code block; line is that of its directive, from 1."""

    page: Path
    line: int
    language: str
    options: Dict[str, str]
    text: str

    @property
    def tag(self) -> str:
        """Class of the block: run, run-slow, not-run, file or nothing."""
        return self.options.get('class', '')

    def commands(self) -> List[str]:
        """Return the commands of a console block, without their prompts."""
        found: List[str] = []
        continued = False
        for line in self.text.splitlines():
            if continued:
                found[-1] += f'\n{line}'
            elif line.startswith(('# ', '$ ')):
                found.append(line[2:])
            continued = bool(found) and line.endswith('\\')
        return found


def pages() -> List[Path]:
    """Return all pages with text for users."""
    return sorted([
        *REPOSITORY.glob('*.rst'), *(REPOSITORY / 'doc/source').glob('**/*.rst')
    ])


def read_blocks(page: Path) -> List[Block]:
    """Return the code blocks of a page in their order."""
    lines = page.read_text(encoding='utf-8').splitlines()
    return list(_find_blocks(page, lines))


def page_script(page: Path, tags: Sequence[str]) -> str:
    """Return one bash script of all files and commands of a page, in order.

    Each command is shown before it is run; the first that fails ends it.

    :param tags: which console blocks to run
    """
    lines = ['set -euo pipefail', '_step() { printf "\\n## %s\\n" "$1"; }']
    for block in read_blocks(page):
        if block.tag == 'file':
            name = shlex.quote(block.options['caption'].strip('`'))
            lines += [
                f'mkdir -p "$(dirname {name})"',
                f"cat > {name} << 'END-OF-FILE'\n{block.text}END-OF-FILE"
            ]
        elif block.tag in tags:
            for command in block.commands():
                told = f'{page.name} line {block.line}: {command}'
                # a command must not read the rest of the script
                lines += [f'_step {shlex.quote(told)}', f'{{ {command}\n}} < /dev/null']
    return '\n'.join(lines) + '\n'


def _find_blocks(page: Path, lines: List[str]) -> Iterator[Block]:
    for number, line in enumerate(lines):
        start = _START.match(line)
        if start:
            options, body = _split(lines[number + 1:], len(start[1]))
            yield Block(page, number + 1, start[2], options, body)


def _split(lines: List[str], margin: int) -> Tuple[Dict[str, str], str]:
    """Return options and text of the directive that is before these lines."""
    options: Dict[str, str] = {}
    body: List[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= margin:
            break
        option = None if body else _OPTION.match(line)
        if option:
            options[option[1]] = option[2]
        elif line.strip() or body:
            body.append(line)
    indent = min(
        (len(line) - len(line.lstrip()) for line in body if line.strip()), default=0
    )
    return options, '\n'.join(line[indent:] for line in body).rstrip() + '\n'
