# SPDX-License-Identifier: GPL-3.0-or-later
"""Who takes part: ours and the peers, each in an environment of its own."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple

from stackbench.meter import BenchFailed, Reading

REPOSITORY = Path(__file__).resolve().parent.parent.parent

#: Runs kiwi-ng's main, but ends at the moment kiwi's own build would start.
_UNTIL_KIWI = '''
import sys, time
sys.path.remove("")  # nothing from where the benchmark was called
import kiwi.tasks.system_build as build, kiwi.tasks.system_create as create
from kiwi.kiwi import main
def begin(self): print("bench: kiwi starts", time.time())
build.SystemBuildTask.process = create.SystemCreateTask.process = begin
sys.argv[0] = "kiwi-ng"
main()
'''
KIWI_STARTS = 'bench: kiwi starts'


@dataclass(frozen=True)
class Party:
    """One program under test."""

    key: str
    title: str
    #: what pip installs; a path is this repository
    packages: Tuple[str, ...]
    #: arguments that a stackbuild call needs not to fail before it starts
    stackbuild_extra: Tuple[str, ...] = ()


OURS = Party('ours', 'ours', ('kiwi==10.3.11', str(REPOSITORY)))
P11 = Party('p11', 'kiwi 11.1.6', ('kiwi==11.1.6',))
P10 = Party(
    'p10', 'plugin 1.0.14', ('kiwi==10.3.11', 'kiwi-stackbuild-plugin==1.0.14'),
    # without pass-through arguments it stops with a TypeError
    ('--', '--signing-key=/dev/null')
)
PARTIES = (OURS, P11, P10)
#: on the kiwi of the first peer, where both build
OURS_ON_11 = Party('ours11', 'ours', ('kiwi==11.1.6', str(REPOSITORY)))


def prepare_environment(party: Party, cache: str) -> str:
    """Install a party, where that is not done yet; return its directory."""
    place = f'{cache}/env/{party.key}'
    mark = f'{place}/bench-installed'
    wanted = ' '.join(party.packages) + ' ' + sys.version
    if str(REPOSITORY) in party.packages:
        wanted += ' ' + _source_digest()
    if os.path.exists(mark) and Path(mark).read_text(encoding='utf-8') == wanted:
        return place
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, '-m', 'venv', place], check=True)
    subprocess.run(
        [f'{place}/bin/python', '-m', 'pip', 'install', '-qq',
         '--disable-pip-version-check', *party.packages],
        check=True
    )
    Path(mark).write_text(wanted, encoding='utf-8')
    return place


def stash_command(place: str, root: str, name: str) -> List[str]:
    """Return the command line that stashes root."""
    return [
        f'{place}/bin/kiwi-ng', 'system', 'stash', f'--root={root}',
        f'--container-name={name}'
    ]


def import_command(
    party: Party, place: str, name: str, target: str
) -> List[str]:
    """Return the command line that imports a stash until kiwi would start."""
    return [
        f'{place}/bin/python', '-c', _UNTIL_KIWI, 'system', 'stackbuild',
        f'--stash={name}', f'--target-dir={target}', *party.stackbuild_extra
    ]


def start_command(place: str, target: str) -> List[str]:
    """Return the command line of kiwi's own build, until it would start."""
    return [
        f'{place}/bin/python', '-c', _UNTIL_KIWI, 'system', 'build',
        f'--description={target}', f'--target-dir={target}'
    ]


def until_kiwi(reading: Reading) -> float:
    """Return the seconds from a command to the moment that kiwi's own build starts.

    :raises BenchFailed: if it did not
    """
    told = re.search(f'^{KIWI_STARTS} ([0-9.]+)$', reading.output, re.MULTILINE)
    if not told:
        raise BenchFailed(f'kiwi did not start:\n{reading.output}')
    return float(told[1]) - reading.began


def _source_digest() -> str:
    """Digest of what pip would install of this repository."""
    digest = hashlib.sha256()
    files = [REPOSITORY / 'setup.py'] + sorted(
        REPOSITORY.glob('kiwi_stackbuild*/**/*.py')
    )
    for name in files:
        digest.update(str(name).encode() + b'\0')
        if name.exists():
            digest.update(name.read_bytes())
    return digest.hexdigest()
