# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the whole way on a real root: prepare, stash, change, stash, rebuild.

Everything happens in one temporary directory with a podman storage of its own;
nothing else on this machine is touched, nothing is left.
"""
from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))

from apt_sources import MirrorUnavailable, find_repository
from builtin_root import make_root
import rpm_root
from debian_root import RootPrepareFailed, prepare_root
from rpm_repository import RepositoryFailed, cached_repository
from rpm_root import RpmPlan
from runtime_config import write_fast_config

KIWI = str(Path(sys.executable).parent / 'kiwi-ng')
CHANGED_FILE = 'etc/motd'
BUILTIN = 'builtin'
ROOTS = ('apt', *rpm_root.MANAGERS, BUILTIN)


class DemoFailed(Exception):
    """A step failed; the text has the command and the end of its output."""


@contextmanager
def own_storage() -> Iterator[str]:
    """Yield a temporary directory; podman's storage is in it for all we run."""
    # not /tmp: that may be in memory, or without overlay mounts
    work = tempfile.mkdtemp(prefix='stash-demo.', dir='/var/tmp')
    config = Path(work, 'storage.conf')
    config.write_text(
        '[storage]\ndriver = "overlay"\n'
        f'graphroot = "{work}/storage"\nrunroot = "{work}/run"\n',
        encoding='utf-8'
    )
    os.environ['CONTAINERS_STORAGE_CONF'] = str(config)
    os.environ['KIWI_STASH_CACHE'] = f'{work}/indexes'
    try:
        yield work
    finally:
        unmount_below(work)
        shutil.rmtree(work)


def unmount_below(folder: str) -> None:
    """Unmount what a tool left mounted (podman keeps its storage mounted)."""
    lines = Path('/proc/self/mountinfo').read_text(encoding='utf-8').splitlines()
    for line in reversed(lines):
        place = line.split()[4]
        if place.startswith(f'{folder}/'):
            subprocess.run(['umount', place], check=False)


def run(command: List[str]) -> str:
    """Run a tool and return its stdout."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        told = (done.stdout + done.stderr).decode(errors='replace')
        raise DemoFailed('\n'.join([
            f'{shlex.join(command)}: exit status {done.returncode}',
            *told.splitlines()[-20:]
        ]))
    return done.stdout.decode()


def step(text: str, command: List[str]) -> float:
    """Run one step, print how long it took, and return the seconds."""
    start = time.monotonic()
    run(command)
    seconds = time.monotonic() - start
    say(text, f'{seconds:.1f} s')
    return seconds


def say(text: str, told: str) -> None:
    """Print one line of the result."""
    print(f'{text:<56}{told}', flush=True)


def newest_stash(name: str) -> Dict[str, Any]:
    """Return what stash_list tells about a stash."""
    told = json.loads(run([KIWI, 'system', 'stash_list', '--format=json', name]))
    if len(told['stashes']) != 1:
        raise DemoFailed(f'stash_list {name}: {len(told["stashes"])} stashes, not 1')
    found: Dict[str, Any] = told['stashes'][0]
    return found


def size(number: int) -> str:
    """Bytes as people read them."""
    if number < 100_000:
        return f'{number:,} bytes'
    return f'{number / 1e6:,.1f} MB'


def tree_size(root: str) -> str:
    """Entries and bytes of a tree, hard links counted once."""
    seen: Dict[int, int] = {}
    count = 0
    for folder, names, files in os.walk(root):
        for name in names + files:
            found = os.lstat(os.path.join(folder, name))
            seen[found.st_ino] = found.st_blocks * 512
            count += 1
    return f'{size(sum(seen.values()))} in {count:,} entries'


def prepare(root: str, kind: str) -> None:
    """Build the root from the machine's package mirror, or from nothing.

    :param kind: one of ROOTS
    """
    start = time.monotonic()
    try:
        if kind == BUILTIN:
            raise MirrorUnavailable('--root=builtin')
        prepare_real(root, kind)
    except MirrorUnavailable as issue:
        make_root(root)
        say(f'built-in root tree instead of {kind} ({issue})', '')
    say('kiwi-ng system prepare', f'{time.monotonic() - start:.1f} s, {tree_size(root)}')


def prepare_real(root: str, manager: str) -> None:
    """Build a root with a package manager, and say where its packages are from."""
    if manager == 'apt':
        source = find_repository()
        say('package mirror of this machine', f'{source.uri} {source.suite}')
        prepare_root(root, kiwi=KIWI, repository=source)
        return
    start = time.monotonic()
    packages = cached_repository()
    say('rpm packages made of Debian ones, or kept', f'{time.monotonic() - start:.1f} s')
    rpm_root.prepare_root(root, RpmPlan(manager), KIWI, packages)


def show(work: str, kind: str) -> None:
    """The demo itself."""
    root, target = f'{work}/root', f'{work}/target'
    prepare(root, kind)

    stash = [KIWI, 'system', 'stash', f'--root={root}', '--container-name=demo']
    step('kiwi-ng system stash, the first', stash)
    first = newest_stash('demo')
    say('', f'layer {size(first["layer_size"])}, image {size(first["size"])}')

    with open(f'{root}/{CHANGED_FILE}', 'a', encoding='utf-8') as changed:
        changed.write('Stashed twice.\n')
    step(f'one line added to /{CHANGED_FILE}, stash again', stash)
    second = newest_stash('demo')
    say('', f'layer {size(second["layer_size"])}, image {size(second["size"])},'
            f' {second["layers"]} layers')

    print(run([KIWI, 'system', 'stash_list', '--format=table']).rstrip())

    # the image is thrown away, packing it well takes a minute
    config = write_fast_config(Path(work, 'kiwi.yml'))
    step('kiwi-ng system stackbuild, no description', [
        KIWI, f'--config={config}', 'system', 'stackbuild',
        '--stash=demo', f'--target-dir={target}'
    ])
    check(root, target)


def check(root: str, target: str) -> None:
    """The rebuilt tree holds the change, and there is an image."""
    rebuilt = f'{target}/build/image-root'
    wanted = Path(root, CHANGED_FILE).read_bytes()
    if Path(rebuilt, CHANGED_FILE).read_bytes() != wanted:
        raise DemoFailed(f'{CHANGED_FILE} is not in the rebuilt root as stashed')
    images = [
        path for path in Path(target).iterdir() if '.oci' in path.name
    ]
    if not images:
        raise DemoFailed(f'no image in {target}')
    for path in images:
        say(f'built from the stash: {path.name}', size(path.stat().st_size))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--root', choices=ROOTS, default=ROOTS[0],
        help='the package manager that makes the root, or none and no mirror'
    )
    parser.add_argument(
        '--builtin', action='store_const', dest='root', const=BUILTIN,
        help='the same as --root=builtin'
    )
    given = parser.parse_args()
    if os.geteuid():
        print('demo: needs root, as building images does', file=sys.stderr)
        return 1
    os.environ['PATH'] = f'{Path(KIWI).parent}:{os.environ.get("PATH", "")}'
    start = time.monotonic()
    try:
        with own_storage() as work:
            show(work, given.root)
    except (DemoFailed, RootPrepareFailed, RepositoryFailed, OSError) as issue:
        print(f'demo: {issue}', file=sys.stderr)
        return 1
    print(f'demo: done in {time.monotonic() - start:.0f} s, everything removed again')
    return 0


if __name__ == '__main__':
    sys.exit(main())
