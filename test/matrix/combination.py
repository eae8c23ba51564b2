# SPDX-License-Identifier: GPL-3.0-or-later
"""One kiwi on one Python: its environment, the cell, and the installation."""
from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, List

from matrix.base import Cell, Failed, check, kiwi_version
from matrix.cell import COMMANDS, Outcome, own_options, run_cell
from matrix.environments import (
    REPOSITORY, Environment, EnvironmentFailed, install_plugin, locked_environment,
    make_environment, pip, uninstall_plugin
)

UNIT_TESTS = (
    'stackbuild/kiwi_call_test.py', 'tasks', 'typer_plugin_test.py'
)
#: real roots by package managers; the first file takes too long for "make test"
ROOT_TESTS = ('matrix/roots_test.py', 'integration/managers_test.py')


def run_combination(
    interpreter: str, version: str, kiwi: str, wheel: Path, full: bool = True
) -> List[Outcome]:
    """Run a cell, and what concerns the installation, in its environment.

    :param full: with what depends on kiwi only, not on the Python: the unit
        tests, and the other order of installation
    :raises NotApplicable: if kiwi itself does not run on this Python
    :raises EnvironmentFailed: if the environment could not be made
    """
    with locked_environment(version, kiwi):
        environment = make_environment(interpreter, version, kiwi)
        ready = environment.path / 'ready'
        # the environment is made anew if we do not get to the end
        ready.unlink()
        outcomes = _run_all(environment, kiwi, wheel, full)
        ready.touch()
    return outcomes


def _run_all(
    environment: Environment, kiwi: str, wheel: Path, full: bool
) -> List[Outcome]:
    with tempfile.TemporaryDirectory(prefix='matrix.') as scratch:
        install_plugin(environment, wheel)
        outcomes = run_cell(environment.kiwi, Path(scratch, 'work'))
        here = Cell(environment.kiwi, Path(scratch), {
            **os.environ, 'MANPATH': scratch, 'COLUMNS': '200', 'TERM': 'dumb'
        })
        if full:
            outcomes.append(_try('unit_tests', lambda: unit_tests(environment)))
            outcomes.append(_try(
                'plugin_first', lambda: plugin_first(environment, here, kiwi, wheel)
            ))
        outcomes.append(_try('uninstalled', lambda: uninstalled(environment, here)))
    return outcomes


def run_roots(
    interpreter: str, version: str, kiwi: str, wheel: Path, manager: str
) -> List[Outcome]:
    """Run the tests of real roots by one package manager on a kiwi.

    :raises NotApplicable: if kiwi itself does not run on this Python
    :raises EnvironmentFailed: if the environment could not be made
    """
    with locked_environment(version, kiwi):
        environment = make_environment(interpreter, version, kiwi)
        install_plugin(environment, wheel)
        return [_try('root_tests', lambda: root_tests(environment, manager))]


def root_tests(environment: Environment, manager: str) -> None:
    """Run those tests of real roots that are for a package manager."""
    with tempfile.TemporaryDirectory(prefix='matrix.', dir='/var/tmp') as scratch:
        run_pytest(environment, f'--basetemp={scratch}/t', '-k', manager, *(
            str(REPOSITORY / 'test' / name) for name in ROOT_TESTS
        ))


def unit_tests(environment: Environment) -> None:
    """The tests of what touches kiwi, against the installed distribution."""
    run_pytest(environment, *(
        str(REPOSITORY / 'test/unit' / name) for name in UNIT_TESTS
    ))


def run_pytest(environment: Environment, *words: str) -> None:
    """Run tests with the pytest, and the kiwi, of an environment."""
    told = subprocess.run(
        [
            str(environment.path / 'bin/pytest'), '-q', '-p', 'no:cacheprovider',
            # what kiwi's own dependencies are warned about on some Python
            '-o', 'filterwarnings=default', *words
        ], cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False
    )
    if told.returncode:
        raise Failed(told.stdout[-3000:])


def plugin_first(
    environment: Environment, cell: Cell, kiwi: str, wheel: Path
) -> None:
    """The plugin installed before kiwi: the same commands as after it."""
    uninstall_plugin(environment)
    pip(environment, 'uninstall', '-q', '-y', 'kiwi')
    pip(environment, 'install', '-q', '--no-deps', str(wheel))
    pip(environment, 'install', '-q', '--no-deps', f'kiwi=={kiwi}')
    for command in COMMANDS:
        own_options(cell, command)
    shown = cell.system('stash', '--help', status=(0, 1))
    check('--base' in shown, f'stash --help: {shown}')


def uninstalled(environment: Environment, cell: Cell) -> None:
    """Without the plugin kiwi is what it was: from 11.1 with two commands."""
    uninstall_plugin(environment)
    version = kiwi_version(cell)
    shown = cell.system('build', '--help', status=(0, 1))
    check('--add-package' in shown, f'build --help: {shown}')
    if version >= (11, 1):
        shown = cell.system('stash', '--help')
        check('--root' in shown and '--base' not in shown, f'stash --help: {shown}')
        cell.system('stash_list', status=(2,))
    else:
        for command in COMMANDS:
            cell.system(command, '--help', status=(1,))


def _try(name: str, step: Callable[[], None]) -> Outcome:
    started, problem = time.monotonic(), ''
    try:
        step()
    except (Failed, EnvironmentFailed, OSError) as issue:
        problem = str(issue)
    return Outcome(name, round(time.monotonic() - started, 1), problem)
