# SPDX-License-Identifier: GPL-3.0-or-later
"""The table and the lines of a matrix; the rest is in matrix_test."""
from __future__ import annotations

import json
from typing import List

import pytest

from kiwi_stackbuild_plugin.runs.board import Board, summary_document, table
from kiwi_stackbuild_plugin.runs.cells import Cell
from kiwi_stackbuild_plugin.runs.schedule import FAILED, RUNNING, WAITING, Outcome

ODD = '\x1b[2Jno\nthing'


def outcomes(state: str) -> List[Outcome]:
    return [
        Outcome(Cell('a', {'stash-as': ('x',)}, {}), state, seconds=3, why=ODD),
        Outcome(Cell('b', {}, {}, needs=('a',)), WAITING)
    ]


@pytest.mark.parametrize('live', [True, False])
def test_what_cells_say_does_not_reach_the_terminal_as_it_is(
    live: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    show = Board(live)
    for state in (WAITING, RUNNING, RUNNING, FAILED):
        show(outcomes(state))
    said = capsys.readouterr().out
    assert '\x1b[2J' not in said and '\\x1b[2Jno\\nthing' in said
    assert said.count('\x1b[3F') == (3 if live else 0)
    assert len(said.splitlines()) == (12 if live else 2)


def test_summary() -> None:
    assert [line.split()[:3] for line in table(outcomes(FAILED)).splitlines()[1:]] == [
        ['a', 'failed', '3'], ['b', 'waiting', '-']
    ]
    told = json.loads(summary_document(outcomes(FAILED), '/t'))
    assert told['failed'] == ['a']
    assert told['cells'][0]['log'] == '/t/a.log' and told['cells'][1]['needs'] == ['a']
