# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cell works with: a kiwi to call, small trees, an empty storage."""
from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trees import make_root

#: nothing is installed from the repository, there are no packages
CONFIG = '''<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="7.4" name="{name}">
  <description type="system">
    <author>Test Author</author>
    <contact>test@example.com</contact>
    <specification>a small root tree</specification>
  </description>
  {profiles}
  <preferences>
    <version>1.0.0</version>
    <packagemanager>apt</packagemanager>
  </preferences>
  <preferences {role}>
    <type image="tbz"/>
  </preferences>
  <repository type="apt-deb"><source path="dir:///none"/></repository>
  <packages type="image"/>
</image>
'''


class Failed(Exception):
    """A step did not do what it should; the text has command and output."""


@dataclass(frozen=True)
class Cell:
    """One kiwi, a directory to work in, and the environment of its calls."""

    kiwi: str
    work: Path
    environment: Dict[str, str]
    #: of the stash; locks are kept by name, and cells run side by side
    name: str = 'small'

    def run(self, *words: str, status: Tuple[int, ...] = (0,)) -> str:
        """Run kiwi-ng with these words; its output.

        :raises Failed: on another exit status, or a Python traceback
        """
        told = subprocess.run(
            [self.kiwi, *words], cwd=self.work, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False
        )
        if told.returncode not in status or 'Traceback' in told.stdout:
            raise Failed(
                f'{" ".join(words)}: exit status {told.returncode}: '
                f'{told.stdout[-2000:]}'
            )
        return told.stdout

    def system(self, *words: str, status: Tuple[int, ...] = (0,)) -> str:
        """Run a command of kiwi's "system" service."""
        return self.run('system', *words, status=status)

    def stashes(self, *words: str) -> List[Dict[str, Any]]:
        """Return what stash_list tells."""
        return read_list(self.system('stash_list', '--format=json', *words))


def read_list(output: str) -> List[Dict[str, Any]]:
    """Read the JSON of stash_list, behind what kiwi itself logs to stdout.

    It does so before any task runs, where there is an /etc/kiwi.yml.
    """
    found: List[Dict[str, Any]] = json.loads(output[output.index('{'):])['stashes']
    return found


def check(condition: object, what: str) -> None:
    """Fail a step."""
    if not condition:
        raise Failed(what)


def kiwi_version(cell: Cell) -> Tuple[int, ...]:
    """Return the version that kiwi tells."""
    found = re.search(r'version ([\d.]+)', cell.run('--version', status=(0, 1)))
    return tuple(int(part) for part in found[1].split('.')) if found else ()


def make_trees(work: Path, name: str) -> None:
    """Make the root tree and the description, without any package."""
    root = make_root(work / 'root', name)
    # kiwi looks into it
    (root / 'usr/share/doc').mkdir(parents=True, exist_ok=True)
    (root / 'image/config.xml').write_text(
        CONFIG.format(name=name, profiles='', role='')
    )
    (work / 'description/root/etc').mkdir(parents=True)
    (work / 'description/root/etc/overlay').write_text('overlay\n')
    (work / 'description/my.kiwi').write_text(CONFIG.format(
        name=f'other-{name}', role='profiles="role"',
        profiles='<profiles><profile name="role" description="role"/></profiles>'
    ))


def make_cell(kiwi: str, work: Path) -> Cell:
    """Prepare a directory with the trees and an empty storage."""
    work.mkdir(parents=True)
    name = f'cell-{secrets.token_hex(4)}'
    make_trees(work, name)
    config = work / 'storage.conf'
    config.write_text(
        '[storage]\ndriver = "overlay"\n'
        f'graphroot = "{work}/storage"\nrunroot = "{work}/run"\n'
    )
    (work / 'man').mkdir()
    return Cell(kiwi, work, {
        **os.environ, 'CONTAINERS_STORAGE_CONF': str(config),
        'KIWI_STASH_CACHE': str(config.with_name('indexes')),
        # no installed page, no colours, no line broken in an option's name
        'MANPATH': f'{work}/man', 'COLUMNS': '200', 'TERM': 'dumb'
    }, name)
