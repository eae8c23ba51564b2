# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the cells of a matrix, some at a time, each after those that it needs."""
from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Optional, Sequence

from kiwi_stackbuild_plugin.host.command import LoggedCommand
from kiwi_stackbuild_plugin.runs.cells import Cell

WAITING, RUNNING, DONE, UNCHANGED, FAILED, SKIPPED, ENDED = (
    'waiting', 'running', 'done', 'unchanged', 'failed', 'skipped', 'ended'
)
#: a cell in one of these lets those that need it begin
GOOD = (DONE, UNCHANGED)
#: seconds between two looks at the processes
_PAUSE = 0.2
#: seconds that a cell may take to end in good order
_GRACE = 60


@dataclass(frozen=True)
class Outcome:
    """How a cell is doing.

    :param began: time.monotonic() of its start
    :param status: exit status, negative for a signal
    :param why: the last thing it said, or what it waited for in vain
    """

    cell: Cell
    state: str = WAITING
    began: float = 0
    seconds: float = 0
    status: Optional[int] = None
    why: str = ''


@dataclass
class Running:
    """The processes of a run, and what is known of each cell.

    places: the number of each process among those that run with it, from 0
    """

    outcomes: Dict[str, Outcome]
    processes: Dict[str, LoggedCommand] = field(default_factory=dict)
    places: Dict[str, int] = field(default_factory=dict)


def run_cells(
    cells: Sequence[Cell], jobs: int, start: Callable[[Cell, int], LoggedCommand],
    judge: Callable[[Outcome], Outcome], show: Callable[[Sequence[Outcome]], None]
) -> List[Outcome]:
    """Run cells to their end; those that need a failed one are skipped.

    :param cells: each after those that it needs
    :param start: begins the process of a cell; its number is that of none that runs
    :param judge: completes the outcome of a process that has ended
    :param show: is told at each look how all are doing
    :returns: an outcome for each cell, in their order
    """
    run = Running({cell.name: Outcome(cell) for cell in cells})
    try:
        while any(one.state in (WAITING, RUNNING) for one in run.outcomes.values()):
            _look_after(run, judge)
            _skip(run)
            _start_more(run, jobs, start)
            show(list(run.outcomes.values()))
            if run.processes:
                time.sleep(_PAUSE)
    finally:
        _end(list(run.processes.values()))
    return list(run.outcomes.values())


def _look_after(run: Running, judge: Callable[[Outcome], Outcome]) -> None:
    for name, process in list(run.processes.items()):
        status = process.poll()
        if status is not None:
            del run.processes[name], run.places[name]
            before = run.outcomes[name]
            run.outcomes[name] = judge(replace(
                before, status=status, seconds=time.monotonic() - before.began,
                state=DONE if status == 0 else FAILED
            ))


def _skip(run: Running) -> None:
    for name, one in run.outcomes.items():
        failed = [
            need for need in one.cell.needs
            if need in run.outcomes and run.outcomes[need].state in (FAILED, SKIPPED)
        ]
        if one.state == WAITING and failed:
            run.outcomes[name] = replace(
                one, state=SKIPPED, why=f'needs {" and ".join(failed)}'
            )


def _start_more(
    run: Running, jobs: int, start: Callable[[Cell, int], LoggedCommand]
) -> None:
    for name, one in run.outcomes.items():
        if len(run.processes) >= jobs:
            return
        if one.state == WAITING and all(
            run.outcomes[need].state in GOOD for need in one.cell.needs
            if need in run.outcomes
        ):
            place = min(set(range(jobs)).difference(run.places.values()))
            run.processes[name] = start(one.cell, place)
            run.places[name] = place
            run.outcomes[name] = replace(one, state=RUNNING, began=time.monotonic())


def _end(processes: Sequence[LoggedCommand]) -> None:
    """End what still runs as Ctrl-C on a terminal would, at last by force."""
    for process in processes:
        process.interrupt()
    until = time.monotonic() + _GRACE
    while any(process.poll() is None for process in processes):
        if time.monotonic() > until:
            for process in processes:
                process.kill()
        time.sleep(_PAUSE)
