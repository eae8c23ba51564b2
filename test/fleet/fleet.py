# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to build a fleet, each with its storage and its registry, and what it cost."""
from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Sequence

from registries import Registry
from stackbench.meter import Reading
from stackbench.parties import OURS, P11, Party, stash_command
from stackbench.sandbox import Sandbox, make_sandbox
from variants import BASE, variant_name, write_matrix

_INSIDE = 'cd "$0" && exec "$@"'


@dataclass(frozen=True)
class Sample:
    """The base, or all variants, made and pushed; bytes and seconds."""

    name: str
    pushed: int
    registry: int
    storage: int
    seconds: float
    cpu: float


@dataclass(frozen=True)
class Team:
    """A party that builds in one of the ways.

    :param work: its directory, with a description for each variant
    :param cache: kiwi's cache of packages
    :param config: kiwi's runtime configuration
    """

    title: str
    party: Party
    place: str
    box: Sandbox
    registry: Registry
    work: Path
    cache: Path
    config: Path
    samples: List[Sample] = field(default_factory=list)

    def kiwi(self, *words: str) -> Reading:
        """Run kiwi-ng in the directory of the team."""
        return self.run(f'{self.place}/bin/kiwi-ng', *words)

    def run(self, *argv: str) -> Reading:
        """Run a tool in the directory of the team."""
        return self.box.run(['sh', '-c', _INSIDE, str(self.work), *argv])

    @property
    def options(self) -> List[str]:
        """Return global options of each call."""
        return [f'--config={self.config}', f'--shared-cache-dir={self.cache}']

    def push(self, name: str) -> Reading:
        """Push a stash by podman's own means."""
        return self.run(
            'podman', 'push', '--quiet', *self.registry.options,
            f'localhost/{name}:latest', f'docker://{self.registry.host}/fleet/{name}'
        )

    def measured(self, name: str, deed: Callable[[], Sequence[Reading]]) -> None:
        """Note what a deed cost."""
        self.registry.proxy.reset()
        before = self.registry.stored_bytes(), self._stored()
        readings = deed()
        self.samples.append(Sample(
            name, self.registry.proxy.up, self.registry.stored_bytes() - before[0],
            self._stored() - before[1], sum(reading.seconds for reading in readings),
            sum(reading.cpu for reading in readings)
        ))
        print(f'{self.title}: {self.samples[-1]}', flush=True)

    def _stored(self) -> int:
        """Return the bytes in the storage and where archives are kept."""
        total = 0
        for place in (f'{self.box.path}/storage', f'{self.box.path}/vartmp'):
            for directory, _, files in os.walk(place):
                for name in files:
                    status = os.lstat(os.path.join(directory, name))
                    total += status.st_blocks * 512 // status.st_nlink
        return total


def make_team(
    title: str, party: Party, place: str, descriptions: Path, archives: Path
) -> Team:
    """Give a way an empty storage, an empty registry and the same packages.

    :param descriptions: of the variants, in a directory that all teams are made in
    """
    where = descriptions.parent / title.partition(' ')[0].replace(',', '')
    box = make_sandbox(str(where))
    shutil.copytree(descriptions, where / 'work')
    for name in ('packages', *(
        f'packages/job-{number}' for number in range(2, (os.cpu_count() or 1) + 1)
    )):
        subprocess.run(['cp', '-al', archives.parents[1], where / name], check=True)
    return Team(
        title, party, place, box, Registry(where / 'registry'), where / 'work',
        where / 'packages', packed_fast(where / 'kiwi.yml', party)
    )


def packed_fast(path: Path, party: Party) -> Path:
    """Write a runtime configuration with which packing the image costs little."""
    # kiwi 11 has dictionaries where those before had lists of them
    path.write_text(f'xz:\n  {" " if party is P11 else "-"} options: -0 -T0\n', encoding='ascii')
    return path


def stash_base(team: Team, root: str) -> None:
    """Stash the base and push it."""
    team.measured(BASE, lambda: (
        team.run(*stash_command(team.place, root, BASE)), team.push(BASE)
    ))


def by_matrix(team: Team, count: int) -> None:
    """Build all variants by one file, as many at a time as there are processors."""
    _write_file(team, count)
    team.measured('variants', lambda: [team.kiwi(
        *team.options, 'system', 'stackbuild', '--matrix=fleet.json'
    )])
    shutil.rmtree(team.work / 'out')


def by_loop(team: Team, count: int) -> None:
    """Build the same cells by the same command lines, one after the other."""
    _write_file(team, count)
    told = subprocess.run(
        [f'{team.place}/bin/kiwi-ng', 'system', 'stackbuild', '--matrix=fleet.json',
         '--print=json'], cwd=team.work, check=True, stdout=subprocess.PIPE
    ).stdout
    cells: List[Dict[str, str]] = json.loads(told)['include']
    team.measured('variants', lambda: [
        _one(team, cell['target-dir'], [shlex.split(cell['command'])[1:]]) for cell in cells
    ])


def by_peer(team: Team, count: int) -> None:
    """Build and stash each variant with the commands that kiwi 11 brings itself."""
    def readings() -> List[Reading]:
        found = []
        for name in map(variant_name, range(count)):
            found.append(_one(team, f'out/{name}', [
                ['system', 'stackbuild', f'--stash={BASE}', f'--description={name}',
                 f'--target-dir=out/{name}'],
                ['system', 'stash', f'--root=out/{name}/build/image-root',
                 f'--container-name={name}']
            ]))
            found.append(team.push(name))
        return found
    team.measured('variants', readings)


def _one(team: Team, target: str, calls: Sequence[Sequence[str]]) -> Reading:
    """Run the calls of kiwi-ng for a variant; what they built makes room again."""
    readings = [team.kiwi(*team.options, *words) for words in calls]
    shutil.rmtree(team.work / target)
    return Reading(
        sum(one.seconds for one in readings), sum(one.cpu for one in readings),
        max(one.memory for one in readings), max(one.disk for one in readings), '',
        readings[0].began
    )


def _write_file(team: Team, count: int) -> None:
    write_matrix(
        team.work / 'fleet.json', count, f'{team.registry.host}/fleet', team.registry.options
    )


#: what they are called, who, and how
WAYS = (
    ('matrix, one file', OURS, by_matrix), ('loop, the same cells', OURS, by_loop),
    ("peer, kiwi 11's own commands", P11, by_peer)
)
