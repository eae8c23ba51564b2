# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's phases over a root of traps: what is written is known, or stopped."""
from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest
from kiwi_traps import MANAGERS, make_inputs, make_tools
from storages import KIWI
from trees import make_root

from kiwi_stackbuild_plugin.description import links
from kiwi_stackbuild_plugin.description.links import RootWork

pytestmark = pytest.mark.integration

PYTHON = str(Path(KIWI).parent / 'python')
TRAPS = str(Path(__file__).parents[1] / 'kiwi_traps.py')
RUNS = [(manager, manager) for manager in MANAGERS]
STRACE = (
    'strace', '-f', '-y', '-s', '4096', '--seccomp-bpf',
    '-e', 'trace=%file,%process,fchmod,fchown', '-o'
)
#: where the description puts its archive, and new files with random names
_PASSED = re.compile(r'srv(/|$)|kiwi_(debpost\.)?\w{8}(/|$)')


@dataclass(frozen=True)
class Run:
    """What a kiwi wrote: as the guard is told, and as the kernel saw it."""

    root: str
    told: List[str]
    strace: Path


@pytest.fixture(scope='module')
def runs() -> Dict[str, Run]:
    """Runs by package manager, each made once."""
    return {}


@pytest.fixture
def run(
    request: pytest.FixtureRequest, runs: Dict[str, Run],
    tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Let kiwi build with tools that do nothing, under strace."""
    manager = request.param
    if manager not in runs:
        runs[manager] = run_kiwi(tmp_path_factory.mktemp(manager), manager)
    return runs[manager]


def run_kiwi(place: Path, manager: str) -> Run:
    """Run kiwi over a root, see kiwi_traps."""
    root = make_root(place / 'out/build/image-root')
    make_tools(place / 'tools')
    make_inputs(root, manager, 'tbz', place / 'description')
    environment = {
        **os.environ, 'PATH': f'{place}/tools:{os.environ["PATH"]}',
        'PYTHONPATH': str(Path(__file__).parents[2])
    }
    result = subprocess.run(
        [
            *STRACE, str(place / 'strace'), PYTHON, TRAPS, str(root),
            str(place / 'description'), str(place / 'record')
        ],
        env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if 'Extra element packagemanager' in result.stdout + result.stderr:
        pytest.skip(f'this kiwi knows no {manager}')
    recorded = (place / 'record').read_text().split('\n')
    assert len(recorded) > 20, result.stdout + result.stderr
    return Run(str(root), [name for name in recorded if name], place / 'strace')


@pytest.mark.parametrize(('run', 'manager'), RUNS, indirect=['run'])
def test_what_kiwi_writes_is_known_before(
    run: Run, manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each path is one that the check of links looks at, or is below one."""
    monkeypatch.setattr(
        'kiwi_stackbuild_plugin.description.links.rpm_database', lambda: ('var/lib/rpm',)
    )
    written, replaced = links._names(RootWork(manager=manager, image='tbz'))
    known = [*links._ALWAYS, *written, *replaced]
    unknown = [
        name for name in run.told
        if not _PASSED.match(name) and not any(
            f'{name}/'.startswith(f'{each}/') or f'{each}/'.startswith(f'{name}/')
            for each in known
        )
    ]
    assert unknown == []


_CALLS = re.compile(
    r'^(\d+) +(\w+)\((.*)\) += (\d+)(?:<.*>)?$'
)
_PLACE = re.compile(r'(?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"|"([^"]*)"')
_WRITES = re.compile('O_WRONLY|O_RDWR|O_CREAT')
_READS = re.compile(
    'stat|access|readlink|exec|chdir|getcwd|getxattr|listxattr|chroot|wait|exit|kill'
)


def whole_lines(text: str) -> Iterator[str]:
    """Put calls together that another process cut in two."""
    begun: Dict[str, str] = {}
    for line in text.splitlines():
        pid = line.partition(' ')[0]
        resumed = re.match(r'\d+ +<\.\.\. \w+ resumed>(.*)', line)
        if line.endswith(' <unfinished ...>'):
            begun[pid] = line[:-len(' <unfinished ...>')]
        elif resumed:
            yield begun.pop(pid, '') + resumed[1]
        else:
            yield line


def written_paths(log: Path) -> Set[str]:
    """What strace saw to be written, but for rsync, which replaces links."""
    rsync: Set[str] = set()
    found: Set[str] = set()
    for line in whole_lines(log.read_text(errors='surrogateescape')):
        call = _CALLS.match(line)
        if not call:
            continue
        pid, name, arguments = call[1], call[2], call[3]
        if name == 'execve' and '/rsync"' in arguments.split(',')[0]:
            rsync.add(pid)
        opened = name.startswith('open')
        if _READS.search(name) or (opened and not _WRITES.search(arguments)):
            continue
        if name in ('clone', 'clone3', 'vfork', 'fork'):
            rsync |= {call[4]} if pid in rsync else set()
        elif pid in rsync:
            continue
        for directory, below, alone in _PLACE.findall(arguments):
            found.add(os.path.normpath(os.path.join(directory, below or alone)))
    return found


@pytest.mark.parametrize(('run', 'manager'), RUNS, indirect=['run'])
def test_nothing_is_written_unseen(run: Run, manager: str) -> None:
    """The kernel's word: what kiwi and its tools wrote was told to the guard."""
    inside = {
        path[len(run.root) + 1:] for path in written_paths(run.strace)
        if path.startswith(f'{run.root}/')
    }
    assert len(inside) > 10
    unseen = [
        path for path in sorted(inside)
        # tools also make directories above, and files beside
        if not any(
            f'{path}/'.startswith(f'{each}/') or each.startswith(f'{path}/')
            or os.path.dirname(path) == os.path.dirname(each) != '' for each in run.told
        )
    ]
    assert unseen == []
