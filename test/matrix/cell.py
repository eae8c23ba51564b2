#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each cell of the matrix does with one kiwi: the commands, for real.

Needs nothing but Python, so that it runs in a chroot as well:

    test/matrix/cell.py --kiwi PATH --work DIR        results as JSON
"""
from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, List, Set, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matrix.base import Cell, Failed, check, kiwi_version, make_cell, read_list

#: some that no command of kiwi's core has
OWN_OPTIONS = {
    'stash': {'--base', '--no-base', '--label', '--export', '--dry-run'},
    'stackbuild': {'--stash', '--target-dir', '--from-registry'},
    'stash_list': {'--format'},
}
COMMANDS = tuple(OWN_OPTIONS)
USAGE_ERRORS: Tuple[Tuple[str, ...], ...] = (
    ('stash',), ('stash', '--root=/x', '--base=a', '--no-base'),
    ('stackbuild', '--stash=a', '--target-dir=/x', '--bogus'),
    ('stash_list', 'a', 'b'),
)


@dataclass(frozen=True)
class Outcome:
    """One step of a cell; problem is empty if it went well."""

    step: str
    seconds: float
    problem: str


def help_texts(cell: Cell) -> None:
    """The manual pages, all options in "--help", other commands unharmed."""
    for command in COMMANDS:
        shown = cell.system(command, '--help', status=(0, 1))
        for option in own_options(cell, command):
            check(option in shown, f'{command} --help: no {option}: {shown}')
    check('--add-package' in cell.system('build', '--help', status=(0, 1)), 'build --help')


def own_options(cell: Cell, command: str) -> Set[str]:
    """Return the options in the synopsis that "help" shows.

    It is that of the page where one is found, else of the usage text, but
    never of a command of kiwi's core.
    """
    text = cell.system(command, 'help')
    synopsis = re.split('(?m)^ *(?:DESCRIPTION|commands:)', text)[0]
    check(f'kiwi-ng system {command} help' in synopsis, f'{command} help: {text}')
    options = set(re.findall(r'--[a-z-]+', synopsis)) - {'--help'}
    check(OWN_OPTIONS[command] <= options, f'{command} help: {text}')
    return options


def usage_errors(cell: Cell) -> None:
    """Wrong command lines: kiwi's exit status for them, no traceback."""
    status = 2 if kiwi_version(cell) >= (11, 1) else 1
    for words in USAGE_ERRORS:
        cell.system(*words, status=(status,))


def user_errors(cell: Cell) -> None:
    """What is wrong in the arguments: one line, exit status 1, nothing made."""
    target = cell.work / 'refused'
    to_target = ('stackbuild', '--stash=nowhere', f'--target-dir={target}')
    for words, told in (
        (('stash', '--root=nowhere'), 'nowhere'),
        (to_target, 'nowhere'),
        ((*to_target, '--', '--bogus'), '--bogus'),
        ((*to_target, '--', '--target-dir=/x'), 'stackbuild sets --target-dir'),
    ):
        output = cell.system(*words, status=(1,))
        check(told in output, f'{" ".join(words)}: {output}')
        check(output.count('ERROR') == 1, f'not one line: {output}')
    check(not target.exists(), 'something was made in the target')


def first_stash(cell: Cell) -> None:
    """A tree as a whole."""
    check(cell.stashes() == [], 'the storage is not empty')
    cell.system('stash', '--root=root', '--label=a=b')
    (stash,) = cell.stashes()
    check((stash['name'], stash['tag']) == (cell.name, 'latest'), f'{stash}')
    check((stash['layers'], stash['type']) == (1, 'tbz'), f'{stash}')


def delta_stash(cell: Cell) -> None:
    """A small change: one more layer, with the change only."""
    (cell.work / 'root/etc/hostname').write_text('changed\n')
    (cell.work / 'root/usr/bin/link').unlink()
    cell.system('stash', '--root=root')
    (stash,) = cell.stashes(cell.name)
    check(stash['layers'] == 2, f'{stash}')
    check(stash['layer_size'] <= 16384, f'{stash}')


def other_lists(cell: Cell) -> None:
    """The alias for existing users, and the table."""
    listed = read_list(cell.system('stash', '--list'))
    check(listed == cell.stashes(), f'stash --list: {listed}')
    table = cell.system('stash_list', '--format=table')
    check(cell.name in table, table)


def dry_run(cell: Cell) -> None:
    """Nothing is stored."""
    before = cell.stashes()
    cell.system('stash', '--root=root', '--tag=dry', '--no-base', '--dry-run')
    check(cell.stashes() == before, 'something was stored')


def rebuild(cell: Cell) -> None:
    """The image of the stash, with the description it carries."""
    target = cell.work / 'rebuilt'
    cell.system('stackbuild', f'--stash={cell.name}', f'--target-dir={target}')
    names = _names_in_image(target)
    check('etc/hostname' in names and 'usr/bin/link' not in names, f'{sorted(names)}')
    hostname = target / 'build/image-root/etc/hostname'
    check(hostname.read_text() == 'changed\n', 'an old file')
    # kiwi 9 keeps it out of images, its scripts read it
    check((target / 'build/image-root/.profile').exists(), 'no .profile')
    again = cell.system(
        'stackbuild', f'--stash={cell.name}', f'--target-dir={target}', status=(1,)
    )
    check('image-root' in again, again)


def build(cell: Cell) -> None:
    """Another description on top, with global options and arguments.

    It is in a file of another name and builds in a profile only: without
    --kiwi-file and --profile the nested kiwi would find nothing to build.
    """
    target, logfile = cell.work / 'built', cell.work / 'log'
    dashes = 'kiwi' if kiwi_version(cell) >= (11,) else '--'
    cell.run(
        '--kiwi-file=my.kiwi', '--profile=role', f'--logfile={logfile}',
        f'--shared-cache-dir={cell.work}/cache', 'system', 'stackbuild',
        f'--stash={cell.name}:latest', f'--target-dir={target}',
        '--description=description', dashes, '--clear-cache'
    )
    names = _names_in_image(target)
    check({'etc/overlay', 'etc/hostname'} <= names, f'{sorted(names)}')
    check('Importing' in logfile.read_text(), '--logfile was not used')
    check(list(target.glob('other-*.tar.xz')), f'{list(target.iterdir())}')


def stash_of_result(cell: Cell) -> None:
    """What was built on a stash is a delta on it."""
    cell.system('stash', '--root=built/build/image-root')
    (stash,) = cell.stashes(f'other-{cell.name}')
    check(stash['layers'] == 3, f'{stash}')
    check(cell.name in stash['base']['name'], f'{stash}')


STEPS: Tuple[Callable[[Cell], None], ...] = (
    help_texts, usage_errors, user_errors, first_stash, delta_stash,
    other_lists, dry_run, rebuild, build, stash_of_result
)


def _names_in_image(target: Path) -> Set[str]:
    (archive,) = target.glob('*.tar.xz')
    with tarfile.open(archive) as image:
        return {name[2:] if name.startswith('./') else name for name in image.getnames()}


def run_cell(kiwi: str, work: Path) -> List[Outcome]:
    """Run all steps; a later one is tried even if an earlier one failed."""
    cell = make_cell(kiwi, work)
    outcomes = []
    for step in STEPS:
        started, problem = time.monotonic(), ''
        try:
            step(cell)
        except (Failed, OSError, ValueError, KeyError, TypeError) as issue:
            problem = f'{type(issue).__name__}: {issue}'
        outcomes.append(Outcome(
            step.__name__, round(time.monotonic() - started, 1), problem
        ))
    outcomes.append(_clean_up(work))
    return outcomes


def _clean_up(work: Path) -> Outcome:
    """Remove the directory; a mount that is left in it is a failure."""
    with open('/proc/self/mountinfo', encoding='utf-8') as mountinfo:
        left = [
            line.split(' ')[4] for line in mountinfo
            if line.split(' ')[4].startswith(f'{work}/')
        ]
    storage_itself = [f'{work}/storage/overlay']
    for point in sorted(left, reverse=True):
        subprocess.run(['umount', '--lazy', point], check=False)
    shutil.rmtree(work)
    left = [point for point in left if point not in storage_itself]
    return Outcome('clean_up', 0.0, f'left mounted: {left}' if left else '')


def main() -> int:
    """Run one cell by itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kiwi', required=True)
    parser.add_argument('--work', required=True, type=Path)
    arguments = parser.parse_args()
    outcomes = run_cell(arguments.kiwi, arguments.work)
    print(json.dumps([asdict(outcome) for outcome in outcomes]))
    return int(any(outcome.problem for outcome in outcomes))


if __name__ == '__main__':
    sys.exit(main())
