# SPDX-License-Identifier: GPL-3.0-or-later
"""One variant from the base to the registry: where its time goes, step by step.

A tree is stashed, by each party its own way: that is the base. A container with
one package more (type oci, "compress: none") is built of it, its root stashed
and pushed. Only a second variant shows what each further one costs: what is done
once for a base is in the first.
"""
from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from stackbench.meter import (
    BenchFailed, Reading, disk_usage, empty_page_cache, measure
)
from stackbench.parties import OURS_ON_11, P11, REPOSITORY, Party, stash_command
from stackbench.sandbox import Sandbox, make_sandbox
from stackbench.trees import copy_tree

sys.path.insert(0, str(REPOSITORY / 'test'))
sys.path.insert(0, str(REPOSITORY / 'tools'))

from apt_sources import proxy_environment
from debian_root import RootPlan, stop_agent, write_description
from registries import Registry

IMPORT, PACKAGE, PACK, STASH, EXPORT, REST = STEPS = (
    'import', 'package', 'pack', 'stash', 'export', 'start and end of kiwi'
)
FIRST, NEXT = 'first variant', 'next variant'
BASE, _NAME = 'benchtree', 'benchvariant'
#: how the root comes to where it is built: file system, words for our stackbuild
WAYS: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    'copy': ('ext4', ()),
    'clone': ('xfs', ()),
    'overlay': ('ext4', ('--overlay',)),
}
#: a small package that the trees do not have, one for each variant
PACKAGES = {FIRST: 'hello', NEXT: 'bsdgames'}
#: kiwi-ng's main, which tells when kiwi takes over, and when it packs
_TIMED = '''
import sys, time
sys.path.remove("")  # nothing from where the benchmark was called
def say(what): print("bench:", what, time.time(), flush=True)
say("import")
from kiwi.builder.container import ContainerBuilder
from kiwi.kiwi import main
from kiwi.tasks.system_build import SystemBuildTask
def told(owner, method, begin, end):
    own = getattr(owner, method)
    def call(*words, **more):
        say(begin)
        try:
            return own(*words, **more)
        finally:
            say(end)
    setattr(owner, method, call)
told(SystemBuildTask, "process", "package", "end")
told(ContainerBuilder, "create", "pack", "packed")
sys.argv[0] = "kiwi-ng"
main()
'''
_CONFIG = 'container:\n  compress: none\n'


@dataclass(frozen=True)
class Step:
    """One step of a variant; written is what the disk holds after it, in bytes."""

    tree: str
    way: str
    party: str
    which: str
    turn: int
    step: str
    seconds: float
    written: int = 0


Say = Callable[[Step], None]


@dataclass(frozen=True)
class Site:
    """A party with its storage and its registry."""

    party: Party
    place: str
    box: Sandbox
    registry: Registry

    def push_command(self, name: str) -> List[str]:
        """Return what publishes a stash, as this party's users do it."""
        target = f'docker://{self.registry.host}/bench/{name}'
        if self.party is OURS_ON_11:
            return [
                f'{self.place}/bin/kiwi-ng', 'system', 'stash', f'--container-name={name}',
                f'--export={target}', *self.registry.options
            ]
        return [
            'podman', 'push', '--quiet', *self.registry.options,
            f'localhost/{name}:latest', target
        ]


def run_variants(
    arena: str, tree: str, label: str, way: str, parties: Sequence[Tuple[Party, str]],
    steps: Sequence[Step], say: Say
) -> None:
    """Let each party make its variants of a tree, another one first in each turn.

    :param steps: those of the turns before
    """
    turns = {
        party.key: max((
            one.turn + 1 for one in steps
            if (one.tree, one.way, one.party) == (label, way, party.key)
        ), default=0) for party, _ in parties
    }
    shift = max(turns.values()) % len(parties)
    for party, place in [*parties[shift:], *parties[:shift]]:
        turn = turns[party.key]
        with _site(arena, party, place) as site:
            root = f'{site.box.path}/root'
            copy_tree(tree, root)
            if party is not OURS_ON_11:
                _tell_apt(root)
            _run(site, stash_command(place, root, BASE))
            shutil.rmtree(root)
            if party is OURS_ON_11:
                # published as well; no layer of the peer's base is in its variants
                _run(site, site.push_command(BASE))
            for which in (FIRST, NEXT) if party is OURS_ON_11 else (FIRST,):
                for step, seconds, written in _variant(site, way, which):
                    say(Step(label, way, party.key, which, turn, step, seconds, written))


@contextmanager
def _site(arena: str, party: Party, place: str) -> Iterator[Site]:
    base = f'{arena}/variant-{party.key}'
    shutil.rmtree(base, ignore_errors=True)
    box = make_sandbox(f'{base}/box')
    registry = Registry(Path(base, 'registry'))
    try:
        yield Site(party, place, box, registry)
    finally:
        registry.close()
        shutil.rmtree(base)
        shutil.rmtree(_packages(party), ignore_errors=True)


def _variant(site: Site, way: str, which: str) -> Iterator[Tuple[str, float, int]]:
    """Build, stash and publish; yield what each step took, and disk."""
    target = f'{site.box.path}/target'
    name = f'{_NAME}{len(which)}'
    before = _used(site)
    empty_page_cache()
    times = _times(_build(site, way, which, target))
    yield from ((step, times[step], 0) for step in (IMPORT, PACKAGE, PACK, REST))
    yield STASH, _run(site, stash_command(
        site.place, f'{target}/build/image-root', name
    )).seconds, 0
    shutil.rmtree(target)
    yield EXPORT, _run(site, site.push_command(name)).seconds, _used(site) - before


def _run(site: Site, words: Sequence[str]) -> Reading:
    return site.box.run(words)


def _build(site: Site, way: str, which: str, target: str) -> Reading:
    """Have a container built; gpg's agent, which kiwi starts, is ended."""
    box = site.box
    description = f'{box.path}/description'
    _describe(description, PACKAGES[which])
    Path(f'{box.path}/kiwi.yml').write_text(_CONFIG, encoding='ascii')
    home = f'{box.path}/tmp/gnupg'
    os.makedirs(home, 0o700, exist_ok=True)
    try:
        return measure(box.command([
            f'{site.place}/bin/python', '-c', _TIMED, f'--config={box.path}/kiwi.yml',
            f'--shared-cache-dir={_packages(site.party)}', 'system', 'stackbuild',
            f'--stash={BASE}', f'--target-dir={target}',
            f'--description={description}',
            *(WAYS[way][1] if site.party is OURS_ON_11 else ())
        ]), box.temporary, {**proxy_environment(), **box.environment, 'GNUPGHOME': home})
    finally:
        stop_agent(home)


def _tell_apt(root: str) -> None:
    """Let the peer build on a Debian root at all.

    kiwi's apt looks for the packages that are there in a file that only its bootstrap
    makes. Without it all of them are installed once more, and usrmerge fails.
    """
    status = f'{root}/var/lib/dpkg/status'
    if os.path.exists(status):
        shutil.copy(status, f'{status}.kiwi')


def _packages(party: Party) -> str:
    """Return where kiwi keeps packages: below its own place, which it makes in a root."""
    return f'/var/cache/kiwi/bench-{party.key}'


def _describe(directory: str, package: str) -> None:
    """Write the description of a variant: nothing to bootstrap, one package."""
    shutil.rmtree(directory, ignore_errors=True)
    write_description(directory, RootPlan((package,), 'bench-variant'))
    config = Path(directory, 'config.xml')
    text = config.read_text(encoding='utf-8')
    config.write_text(re.sub(
        r'(?s)<packages type="bootstrap">.*?</packages>', '<packages type="bootstrap"/>', text
    ), encoding='utf-8')


def _times(reading: Reading) -> Dict[str, float]:
    """Return the seconds of the steps of a build, from what it told of itself."""
    told = {
        name: float(moment)
        for name, moment in re.findall(r'^bench: (\w+) ([0-9.]+)$', reading.output, re.MULTILINE)
    }
    missing = {'import', 'package', 'pack', 'packed', 'end'} - told.keys()
    if missing:
        raise BenchFailed(f'no {", ".join(sorted(missing))} in:\n{reading.output[-2000:]}')
    found = {
        IMPORT: told['package'] - told['import'], PACKAGE: told['pack'] - told['package'],
        PACK: told['packed'] - told['pack']
    }
    return {**found, REST: reading.seconds - sum(found.values())}


def _used(site: Site) -> int:
    """Return the bytes on the disk: storage, temporary and state directories."""
    return disk_usage((site.box.path,))


def table(steps: Sequence[Step]) -> List[str]:
    """Return medians as a Markdown table: a line for each party and way."""
    lines = [
        f'| tree, way | {" | ".join(STEPS)} | sum | disk | against the peer |',
        '|---|' + '---|' * (len(STEPS) + 3)
    ]
    groups = dict.fromkeys((one.tree, one.way, one.party, one.which) for one in steps)
    for tree, way, party, which in groups:
        mine = turns_of(steps, tree, way, party, which)
        peer = peer_of(steps, tree, way)
        title = next(one.title for one in (OURS_ON_11, P11) if one.key == party)
        ratios = [
            peer[turn].total / mine[turn].total for turn in mine
            if turn in peer and party != P11.key
        ]
        lines.append(' | '.join([
            f'| {tree}, {way}: {title}, {which}',
            *(f'{statistics.median(one.seconds[step] for one in mine.values()):.2f} s'
              for step in STEPS),
            f'{statistics.median(one.total for one in mine.values()):.2f} s',
            f'{statistics.median(one.written for one in mine.values()) / 1e6:,.1f} MB',
            (f'**{statistics.median(ratios):.1f}**' if ratios else '') + ' |'
        ]))
    return lines


def peer_of(steps: Sequence[Step], tree: str, way: str) -> Dict[int, Turn]:
    """Return the turns of the peer, which has one way on each file system."""
    found: Dict[int, Turn] = {}
    for other in (one for one in WAYS if WAYS[one][0] == WAYS[way][0]):
        found.update(turns_of(steps, tree, other, P11.key, FIRST))
    return found


@dataclass(frozen=True)
class Turn:
    """The steps of one variant in seconds, and what the disk got, in bytes."""

    seconds: Dict[str, float]
    written: int

    @property
    def total(self) -> float:
        """All of it, in seconds."""
        return sum(self.seconds.values())


def turns_of(
    steps: Sequence[Step], tree: str, way: str, party: str, which: str
) -> Dict[int, Turn]:
    """Return what belongs together, by turn; a turn that was cut off is left out."""
    found: Dict[int, Dict[str, Step]] = {}
    for one in steps:
        if (one.tree, one.way, one.party, one.which) == (tree, way, party, which):
            found.setdefault(one.turn, {})[one.step] = one
    return {
        turn: Turn(
            {name: one.seconds for name, one in made.items()},
            sum(one.written for one in made.values())
        ) for turn, made in found.items() if set(made) == set(STEPS)
    }
