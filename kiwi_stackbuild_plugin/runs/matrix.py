# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stackbuild --matrix": many stackbuilds by one file."""
from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.command import LoggedCommand
from kiwi_stackbuild_plugin.host.durable import replace as take_name
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.runs.board import Board, summary_document, table
from kiwi_stackbuild_plugin.runs.cells import (
    Cell, Matrix, OptionKinds, cell_words, chosen, full_name, make_matrix, stash_names
)
from kiwi_stackbuild_plugin.runs.matrix_file import read_matrix_file
from kiwi_stackbuild_plugin.runs.pipelines import FORMS, print_matrix
from kiwi_stackbuild_plugin.runs.schedule import (
    FAILED, SKIPPED, UNCHANGED, Outcome, run_cells
)
from kiwi_stackbuild_plugin.stackbuild import stackbuild as builds
from kiwi_stackbuild_plugin.stackbuild.kiwi_call import global_words
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.access import make_access
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.storage.find import (
    Policy, Sources, check_policy, find, parse_age
)

log = logging.getLogger('kiwi')

#: options that say where a stash comes from: they are done with once it is found
_WHERE_FROM = ('from-registry', 'pull', 'max-age')
#: global options of this run that are not those of a cell
_OURS = ('--logfile', '--color-output')
SUMMARY = 'matrix.json'


@dataclass(frozen=True)
class MatrixRequest:
    """What "system stackbuild --matrix" was asked for; fields are its options.

    :param kinds: the options that a cell may have
    """

    file: str
    kinds: OptionKinds
    target_dir: Optional[str] = None
    only: Tuple[str, ...] = ()
    jobs: Optional[str] = None
    form: Optional[str] = None
    if_changed: bool = False
    global_args: Mapping[str, Any] = field(default_factory=dict)


def run_matrix(request: MatrixRequest) -> str:
    """Run the cells of a matrix file, or print them for another program.

    :returns: text for the user
    :raises KiwiStackBuildError: for a wrong file, before anything is begun; at
        the end where a cell failed, the summary was printed then
    """
    if request.form is not None and request.form not in FORMS:
        raise KiwiStashArgumentInvalid(
            f'--print {request.form!r} is not known', f'it is one of {", ".join(FORMS)}'
        )
    jobs = _jobs(request.jobs)
    with clean_exit(), _inside(os.path.dirname(os.path.abspath(request.file))) as before:
        matrix = make_matrix(read_matrix_file(os.path.join(before, request.file)), request.kinds)
        cells = chosen(matrix.cells, request.only)
        if request.form is not None:
            return print_matrix(
                request.form, replace(matrix, cells=tuple(cells)), os.path.join(
                    before, request.file
                ), request.target_dir or matrix.target_dir or 'out'
            )
        target = _target_dir(request, matrix, before)
        os.makedirs(target, exist_ok=True)
        return _told(_run(request, cells, target, jobs), target)


def _jobs(text: Optional[str]) -> int:
    if text is None:
        return os.cpu_count() or 1
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 1000:
        raise KiwiStashArgumentInvalid(f'--jobs {text!r}: not a number from 1 to 1000')
    return int(text)


def _target_dir(request: MatrixRequest, matrix: Matrix, before: str) -> str:
    if request.target_dir:
        return os.path.normpath(os.path.join(before, request.target_dir))
    if not matrix.target_dir:
        raise KiwiStashArgumentInvalid(
            '--target-dir: none is given', 'target-dir: in the file will do, too'
        )
    return os.path.abspath(matrix.target_dir)


@contextmanager
def _inside(directory: str) -> Iterator[str]:
    """Work in the directory of the file: paths in it are relative to it.

    :returns: the directory before
    """
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield before
    finally:
        os.chdir(before)


def _run(
    request: MatrixRequest, cells: Sequence[Cell], target: str, jobs: int
) -> List[Outcome]:
    local.require_storage_tools()
    words = [
        word for word in global_words(request.global_args)
        if word.partition('=')[0] not in _OURS
    ]
    with ExitStack() as stack:
        sweep([Defaults.get_temp_location()])
        sources = Sources(stack.enter_context(open_space(Defaults.get_temp_location())))
        known: Dict[Tuple[str, ...], str] = {}
        ready = [_with_bases(cell, cells, sources, known) for cell in cells]

        def start(cell: Cell) -> LoggedCommand:
            extra = ['--if-changed'] if request.if_changed else []
            return LoggedCommand(
                [*_kiwi(), *(
                    word for word in words
                    if word.partition('=')[0][2:] not in cell.global_options
                ), *cell_words(cell, os.path.join(target, cell.name), extra)],
                os.path.join(target, f'{cell.name}.log')
            )

        def judge(one: Outcome) -> Outcome:
            return _judge(one, os.path.join(target, f'{one.cell.name}.log'))

        return run_cells(ready, jobs, start, judge, Board(sys.stdout.isatty()))


def _kiwi() -> List[str]:
    """Return the kiwi-ng that runs."""
    program = sys.argv[0] if os.path.isabs(sys.argv[0]) else shutil.which(
        os.path.basename(sys.argv[0])
    ) or shutil.which('kiwi-ng')
    if program is None:
        raise KiwiStashToolFailed('kiwi-ng: not found in PATH')
    return [program]


def _with_bases(
    cell: Cell, cells: Sequence[Cell], sources: Sources, known: Dict[Tuple[str, ...], str]
) -> Cell:
    """Name the stashes that a cell builds on so that all cells get the same.

    Those of other cells by their name in the storage, others by the ID that they
    have as the run begins. What is not found is left for the cell to say.
    """
    made = {full_name(text) for one in cells for text in one.options.get('stash-as', ())}
    names = []
    for text in stash_names(cell):
        if full_name(text) in made:
            names.append(f'{local.LOCAL}/{full_name(text)}')
            continue
        asked = (text, *(cell.option(name) for name in (
            *_WHERE_FROM, 'authfile', 'cert-dir', 'tls-verify'
        )))
        if asked not in known:
            known[asked] = _resolve(text, cell, sources)
        names.append(known[asked])
    if not names or '' in names:
        return cell
    options = {
        name: values for name, values in cell.options.items() if name not in _WHERE_FROM
    }
    return replace(cell, options={**options, 'stash': tuple(names)})


def _resolve(text: str, cell: Cell, sources: Sources) -> str:
    try:
        policy = Policy(
            cell.option('from-registry') or None, check_policy(cell.option('pull') or None),
            parse_age(cell.option('max-age') or None), make_access(
                cell.option('authfile') or None, cell.option('tls-verify') or None,
                cell.option('cert-dir') or None
            )
        )
        info = find(text, 'stash', replace(sources, policy=policy))
        local.keep_added(sources.space, info)
    except KiwiStackBuildError as issue:
        log.warning('%s: %s', cell.name, issue.summary)
        return ''
    log.info('%s is %s in all cells', text, info.image_id[:12])
    return info.image_id


def _judge(one: Outcome, path: str) -> Outcome:
    """Take from the log of a cell what it said last, and whether it did anything."""
    with open(path, 'rb') as source:
        source.seek(max(0, os.fstat(source.fileno()).st_size - (1 << 16)))
        lines = source.read().decode('utf-8', 'replace').splitlines()
    if one.state == FAILED:
        errors = [line for line in lines if 'ERROR' in line] or lines[-1:]
        why = errors[-1].partition('| ')[2] or errors[-1] if errors else ''
        return replace(one, why=why or f'exit status {one.status}')
    start = builds.UNCHANGED.partition(' %s')[0]
    return replace(one, state=UNCHANGED) if any(start in line for line in lines) else one


def _told(outcomes: Sequence[Outcome], target: str) -> str:
    """Write the summary; where a cell failed, that is the end of the run.

    :raises KiwiStashToolFailed: naming the cells
    """
    path = os.path.join(target, SUMMARY)
    with open(f'{path}.new', 'w', encoding='utf-8') as out:
        out.write(summary_document(outcomes, target) + '\n')
    take_name(f'{path}.new', path)
    text = table(outcomes)
    failed = [one.cell.name for one in outcomes if one.state == FAILED]
    if failed:
        skipped = sum(one.state == SKIPPED for one in outcomes)
        if not sys.stdout.isatty():
            sys.stdout.write(f'{text}\n')
        raise KiwiStashToolFailed(
            f'{", ".join(failed)} failed' + (
                f', {skipped} that need them were skipped' if skipped else ''
            ), f'{target}/{failed[0]}.log tells more'
        )
    return '' if sys.stdout.isatty() else text
