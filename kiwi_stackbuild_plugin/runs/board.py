# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user sees of a matrix: a live table, or plain lines, and the summary."""
from __future__ import annotations

import json
import sys
import time
from typing import Dict, List, Sequence

from kiwi_stackbuild_plugin.host.errors import on_one_line
from kiwi_stackbuild_plugin.host.text import align
from kiwi_stackbuild_plugin.runs.schedule import FAILED, RUNNING, SKIPPED, WAITING, Outcome

_WIDTH = 60


class Board:
    """Shows how cells are doing: on a terminal a table that is written over."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self._lines = 0
        self._told: Dict[str, str] = {}

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """Show all, or in plain lines those that changed."""
        if self._live:
            self._draw(outcomes)
            return
        for one in outcomes:
            if one.state not in (WAITING, self._told.get(one.cell.name)):
                self._told[one.cell.name] = one.state
                _write(f'{time.strftime("%H:%M:%S")} {_line(one)}\n')

    def _draw(self, outcomes: Sequence[Outcome]) -> None:
        text = table(outcomes).splitlines()
        # up to where the last table began, each line cleared as it is written over
        _write((f'\x1b[{self._lines}F' if self._lines else '') + ''.join(
            f'\x1b[2K{line}\n' for line in text
        ))
        self._lines = len(text)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _line(one: Outcome) -> str:
    words = [one.cell.name + ':', one.state]
    if one.state not in (RUNNING, SKIPPED):
        words.append(f'after {_seconds(one)} s')
    if one.why:
        words.append(f'({on_one_line(one.why)})')
    return ' '.join(words)


def _seconds(one: Outcome) -> str:
    if one.state in (WAITING, SKIPPED):
        return '-'
    return f'{time.monotonic() - one.began if one.state == RUNNING else one.seconds:.0f}'


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a row for each cell."""
    rows: List[List[str]] = [['CELL', 'STATE', 'SECONDS', 'WHY']]
    rows += [
        [one.cell.name, one.state, _seconds(one), on_one_line(one.why)[:_WIDTH]]
        for one in outcomes
    ]
    return align(rows)


def summary_document(outcomes: Sequence[Outcome], target_dir: str) -> str:
    """Return the outcome of each cell as JSON."""
    return json.dumps({'cells': [
        {
            'name': one.cell.name, 'state': one.state, 'seconds': round(one.seconds, 1),
            'exit_status': one.status, 'why': one.why, 'needs': list(one.cell.needs),
            'stash': one.cell.option('stash-as') or None,
            'target_dir': f'{target_dir}/{one.cell.name}',
            'log': f'{target_dir}/{one.cell.name}.log'
        } for one in outcomes
    ], 'failed': [one.cell.name for one in outcomes if one.state in (FAILED, SKIPPED)]}, indent=2)
