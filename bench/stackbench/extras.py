# SPDX-License-Identifier: GPL-3.0-or-later
"""Growth with the number of entries, and the price of being installed."""
from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from dataclasses import replace

from stackbench.cases import (
    AGAIN, CHANGED, FIRST, THIRD, Contestant, Say, change_file, stash
)
from stackbench.parties import OURS
from stackbench.sandbox import make_sandbox
from stackbench.trees import copy_tree, generate_tree

#: kiwi's base is loaded by any command; the rest of the time is the plugin's
_STARTUP = '''
import time, sys
sys.path.remove("")  # nothing from where the benchmark was called
import kiwi.tasks.base
from importlib.metadata import entry_points
found = entry_points()
found = found.select(group="kiwi.tasks") if hasattr(found, "select") else found["kiwi.tasks"]
names = [entry.value.split(":")[0] for entry in found if "stackbuild" in entry.value]
if not names:
    sys.exit("no entry points")
before = time.perf_counter()
for name in names:
    __import__(name)
print((time.perf_counter() - before) * 1000)
'''


def scale(arena: str, place: str, entries: int, turns: int, say: Say) -> None:
    """Stash a generated tree of so many entries, with and without a change."""
    base = f'{arena}/scale'
    shutil.rmtree(base, ignore_errors=True)
    contestant = Contestant(OURS, place, make_sandbox(f'{base}/box'), f'{base}/root')
    generate_tree(contestant.root, entries)
    os.makedirs(f'{contestant.root}/etc')
    change_file(contestant, 0)
    label = f'{entries:,}'
    say(stash(contestant, label, FIRST, 0))
    for turn in range(turns):
        say(stash(contestant, label, AGAIN, turn))
        change_file(contestant, turn + 1)
        say(stash(contestant, label, CHANGED, turn))
    shutil.rmtree(base)


#: kiwi-ng's main with a plugin that syncs nothing; the tools sync what they do
_UNSYNCED = '''
import os, sys
sys.path.remove("")  # nothing from where the benchmark was called
from kiwi_stackbuild_plugin.host import durable
durable._sync_filesystem = lambda fd, path: None
os.fsync = lambda fd: None
from kiwi.kiwi import main
sys.argv[0] = "kiwi-ng"
main()
'''
#: trees and parties of these samples: not to be mixed with the others
SYNCED, UNSYNCED, SYNC = OURS.key, 'unsynced', 'sync '


def syncing(
    arena: str, place: str, tree: str, label: str, turn: int, say: Say
) -> None:
    """Stash a tree with and without the syncing of a stash, the other one first in a turn."""
    ways = ((SYNCED, ''), (UNSYNCED, _UNSYNCED))
    entered = []
    for key, program in ways[::-1] if turn % 2 else ways:
        base = f'{arena}/sync-{key}'
        shutil.rmtree(base, ignore_errors=True)
        box = make_sandbox(f'{base}/box')
        copy_tree(tree, f'{base}/root')
        entered.append((key, Contestant(OURS, place, box, f'{base}/root', program)))
    for number, case in enumerate((FIRST, AGAIN, CHANGED, THIRD)):
        for key, contestant in entered:
            if case in (CHANGED, THIRD):
                change_file(contestant, number)
            say(replace(stash(contestant, SYNC + label, case, turn), party=key))
    for _, contestant in entered:
        shutil.rmtree(os.path.dirname(contestant.root))


def startup(place: str, repeats: int = 21) -> float:
    """Median milliseconds that the entry points add to any kiwi-ng call."""
    command = [f'{place}/bin/python', '-c', _STARTUP]
    return statistics.median(
        float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(repeats)
    )
