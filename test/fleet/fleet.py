# SPDX-License-Identifier: GPL-3.0-or-later
"""One program, its storage and its registry, and what each stash cost."""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import List

from registries import Registry
from stackbench.parties import OURS, Party, stash_command
from stackbench.sandbox import Sandbox, make_sandbox


@dataclass(frozen=True)
class Sample:
    """One stash, made and pushed; bytes and seconds."""

    name: str
    pushed: int
    registry: int
    storage: int
    seconds: float
    cpu: float


@dataclass(frozen=True)
class Team:
    """A party at work."""

    party: Party
    place: str
    box: Sandbox
    registry: Registry
    samples: List[Sample] = field(default_factory=list)

    def stash(self, root: str, name: str) -> None:
        """Stash a root and push the result, and note what it cost."""
        self.registry.proxy.reset()
        before = self.registry.stored_bytes(), self._stored()
        words = stash_command(self.place, root, name)
        target = f'docker://{self.registry.host}/fleet/{name}'
        if self.party is OURS:
            readings = [self.box.run(
                [*words, f'--export={target}', *self.registry.options]
            )]
        else:
            readings = [self.box.run(words), self.box.run([
                'podman', 'push', '--quiet', *self.registry.options,
                f'localhost/{name}:latest', target
            ])]
        self.samples.append(Sample(
            name, self.registry.proxy.up, self.registry.stored_bytes() - before[0],
            self._stored() - before[1], sum(reading.seconds for reading in readings),
            sum(reading.cpu for reading in readings)
        ))
        print(f'{self.party.title}: {self.samples[-1]}', flush=True)

    def _stored(self) -> int:
        """Return the bytes in the storage and where archives are kept."""
        total = 0
        for place in (f'{self.box.path}/storage', f'{self.box.path}/vartmp'):
            for directory, _, files in os.walk(place):
                for name in files:
                    status = os.lstat(os.path.join(directory, name))
                    total += status.st_blocks * 512 // status.st_nlink
        return total


def make_team(party: Party, place: str, work: Path) -> Team:
    """Give a party an empty storage and an empty registry."""
    box = make_sandbox(f'{work}/{party.key}')
    return Team(party, place, box, Registry(work / f'registry-{party.key}'))
