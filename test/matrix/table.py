# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix as a table: Markdown on the terminal, a list table in the docs."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from matrix.cell import Outcome

GREEN, RED, NONE = 'ok', 'FAILED', 'n/a'


@dataclass(frozen=True)
class Result:
    """What came out of one cell; note is the reason, or what failed."""

    state: str
    note: str = ''
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The cell in the table."""
        return f'{self.state}: {self.note}' if self.state == RED else self.state


def result_of(outcomes: Sequence[Outcome]) -> Result:
    """Return the result of a cell from its steps."""
    failed = [outcome.step for outcome in outcomes if outcome.problem]
    seconds = sum(outcome.seconds for outcome in outcomes)
    return Result(RED if failed else GREEN, ' '.join(failed), seconds)


Results = Dict[Tuple[str, str], Result]


def markdown(
    rows: Sequence[str], columns: Sequence[str], results: Results,
    corner: str = 'kiwi', heading: str = 'Python'
) -> str:
    """Return the table for a terminal."""
    lines = [
        f'| {corner} | ' + ' | '.join(f'{heading} {name}' for name in columns) + ' |',
        '|---|' + '---|' * len(columns)
    ]
    lines += [
        f'| {row} | ' + ' | '.join(
            results[row, column].text if (row, column) in results else '-'
            for column in columns
        ) + ' |' for row in rows
    ]
    return '\n'.join(lines)


def notes(results: Results) -> List[str]:
    """Return the reasons of all cells that are not green, each once."""
    told: Dict[str, List[str]] = {}
    for (row, column), result in results.items():
        if result.state == NONE:
            told.setdefault(result.note, []).append(f'{row} on {column}')
    return [f'{", ".join(cells)}: {reason}' for reason, cells in told.items()]


def list_table(
    rows: Sequence[str], columns: Sequence[str], results: Results,
    corner: str = 'kiwi', heading: str = 'Python'
) -> str:
    """Return the table for the documentation."""
    lines = ['.. list-table::', '   :header-rows: 1', '   :stub-columns: 1', '']
    lines += _row([corner, *(f'{heading} {name}' for name in columns)])
    for row in rows:
        lines += _row([row, *(
            results[row, column].text if (row, column) in results else ''
            for column in columns
        )])
    return '\n'.join(lines)


def releases_table(found: Sequence[Tuple[str, str, Result]]) -> str:
    """Return the table of the releases with their own tools."""
    lines = ['.. list-table::', '   :header-rows: 1', '']
    lines += _row(['release', 'its packages', 'result'])
    for name, versions, result in found:
        lines += _row([name, versions, result.text])
    return '\n'.join(lines)


def _row(cells: Sequence[str]) -> List[str]:
    return [
        f'   {"* -" if number == 0 else "  -"} {cell}'.rstrip()
        for number, cell in enumerate(cells)
    ]
