# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: each step of a day's work, by all parties in turn."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from stackbench.meter import BenchFailed, Reading, empty_page_cache
from stackbench.parties import (
    KIWI_STARTS, OURS, Party, import_command, stash_command
)
from stackbench.sandbox import Sandbox, make_sandbox
from stackbench.trees import copy_tree

NAME = 'benchtree'
FIRST = 'first stash'
AGAIN = 'again, nothing changed'
CHANGED = 'again, one 5-byte file changed'
THIRD = 'the same, third stash'
FOURTH = 'the same, fourth stash'
INSTALLED = 'again, one package installed'
#: what a stash is measured on, by the words that choose it; the first comes before all
STASHES: Dict[str, str] = {
    'first': FIRST, 'again': AGAIN, 'changed': CHANGED, 'third': THIRD, 'fourth': FOURTH,
    'installed': INSTALLED
}
IMPORT = 'stackbuild, until kiwi starts'
COPY, COPY_MOUNTED = 'cp -a of the tree', 'cp -a of the mounted image'

_COPY = 'set -e; cp -a "$1" "$2"'
#: the clock is around cp alone, not around podman
_COPY_MOUNTED = '''set -e
mounted=$(podman image mount "$1")
trap 'podman image umount --force "$1" >/dev/null' EXIT
before=$(date +%s.%N)
cp -a "$mounted" "$2"
echo "seconds: $before $(date +%s.%N)"
'''


@dataclass(frozen=True)
class Contestant:
    """A party with its environment, its storage and its copy of the tree.

    program: what runs in its python instead of kiwi-ng
    """

    party: Party
    place: str
    box: Sandbox
    root: str
    program: str = ''

    @property
    def stash_command(self) -> List[str]:
        """The command line that stashes its root."""
        words = stash_command(self.place, self.root, NAME)
        return [f'{self.place}/bin/python', '-c', self.program, *words[1:]] \
            if self.program else words


@dataclass(frozen=True)
class Sample:
    """One measurement; layer is what the image grew by, in bytes."""

    tree: str
    case: str
    party: str
    turn: int
    seconds: float
    cpu: float
    memory: int
    disk: int
    layer: Optional[int] = None


Say = Callable[[Sample], None]


def enter(
    arena: str, tree: str, parties: Sequence[Tuple[Party, str]]
) -> List[Contestant]:
    """Give each party an empty sandbox and a fresh copy of the tree."""
    entered = []
    for party, place in parties:
        base = f'{arena}/{party.key}'
        shutil.rmtree(base, ignore_errors=True)
        box = make_sandbox(f'{base}/box')
        copy_tree(tree, f'{base}/root')
        contestant = Contestant(party, place, box, f'{base}/root')
        change_file(contestant, 0)
        entered.append(contestant)
    return entered


def run_turn(
    arena: str, tree: str, label: str, parties: Sequence[Tuple[Party, str]],
    turn: int, say: Say, package: Optional[str], chosen: Sequence[str] = tuple(STASHES)
) -> None:
    """Let all parties do all cases, another one first in each turn.

    :param chosen: keys of STASHES
    """
    entered = enter(arena, tree, parties)
    shift = turn % len(entered)
    order = entered[shift:] + entered[:shift]
    for number, (word, case) in enumerate(STASHES.items()):
        if (case == INSTALLED and not package) or (word not in chosen and case != FIRST):
            continue
        for contestant in order:
            if case in (CHANGED, THIRD, FOURTH):
                change_file(contestant, number)
            elif case == INSTALLED and package:
                install_package(contestant.root, package)
            say(stash(contestant, label, case, turn))
    for contestant in order:
        reading = import_stash(contestant)
        say(_sample(label, IMPORT, contestant.party.key, turn, reading))
    for contestant in entered:
        if contestant.party is OURS:
            compare_with_copy(contestant, label, turn, say)
    for contestant in entered:
        shutil.rmtree(os.path.dirname(contestant.root))


def stash(contestant: Contestant, label: str, case: str, turn: int) -> Sample:
    """Stash the contestant's root and see by how much its image grew."""
    before = layer_sizes(contestant.box)
    reading = contestant.box.run(contestant.stash_command)
    after = layer_sizes(contestant.box)
    return _sample(
        label, case, contestant.party.key, turn, reading,
        sum(after[len(before):])
    )


def import_stash(contestant: Contestant) -> Reading:
    """Measure a stackbuild up to the moment that kiwi would begin."""
    target = f'{contestant.box.path}/target'
    os.makedirs(target)
    empty_page_cache()
    reading = contestant.box.run(import_command(
        contestant.party, contestant.place, NAME, target
    ))
    shutil.rmtree(target)
    if KIWI_STARTS not in reading.output:
        raise BenchFailed(
            f'{contestant.party.title}: kiwi did not start:\n{reading.output}'
        )
    return reading


def compare_with_copy(
    contestant: Contestant, label: str, turn: int, say: Say
) -> None:
    """Measure what a bare copy of the same tree takes."""
    for case, script, source in (
        (COPY, _COPY, contestant.root), (COPY_MOUNTED, _COPY_MOUNTED, NAME)
    ):
        target = f'{contestant.box.path}/copied'
        empty_page_cache()
        reading = contestant.box.run(
            ['bash', '-c', script, 'copy', source, target]
        )
        shutil.rmtree(target)
        seconds = reading.seconds
        if case == COPY_MOUNTED:
            start, end = reading.output.split()[-2:]
            seconds = float(end) - float(start)
        say(Sample(
            label, case, 'cp', turn, seconds, reading.cpu, reading.memory, 0
        ))


def layer_sizes(box: Sandbox) -> List[int]:
    """Sizes of the layers of the stash as its manifest has them."""
    inspected = subprocess.run(
        box.command(['skopeo', 'inspect', '--raw',
                     f'containers-storage:localhost/{NAME}:latest']),
        env=box.environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, check=False
    )
    if inspected.returncode:
        return []
    return [int(layer['size']) for layer in json.loads(inspected.stdout)['layers']]


def change_file(contestant: Contestant, number: int) -> None:
    """Write the 5-byte file, with a content for each number."""
    with open(f'{contestant.root}/etc/bench-note', 'w', encoding='ascii') as note:
        note.write(f'{number:04d}\n')


def install_package(root: str, package: str) -> None:
    """Install a package file with apt-get in the root."""
    inside = f'/root/{os.path.basename(package)}'
    shutil.copy(package, root + inside)
    try:
        subprocess.run(
            ['chroot', root, 'apt-get', 'install', '-qq', '-y',
             '--no-install-recommends', inside],
            env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C',
                 'DEBIAN_FRONTEND': 'noninteractive'},
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT
        )
    except subprocess.CalledProcessError as issue:
        raise BenchFailed(f'apt-get in {root}: {issue.stdout!r}') from issue
    finally:
        os.unlink(root + inside)


def _sample(
    label: str, case: str, party: str, turn: int, reading: Reading,
    layer: Optional[int] = None
) -> Sample:
    return Sample(
        label, case, party, turn, reading.seconds, reading.cpu,
        reading.memory, reading.disk, layer
    )
