# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs at random moments, and look at what is left."""
from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

from storages import KIWI, Storage, mounts_below
from trees import describe, make_root

#: what a stash writes into the tree
OURS = ('image/stash.json', 'image/.stash.json.new')


def tree(root: Path) -> Dict[bytes, Any]:
    """Describe a root tree, but for what a stash writes into it."""
    found = describe(root, OURS)
    # a file is made and removed there; a kill in between leaves another mtime
    found[b'image'] = found[b'image'][:4]
    return found


def start(storage: Storage, *words: str) -> subprocess.Popen[bytes]:
    """Start "kiwi-ng system <words>"; no signal is ignored, as it is in a background job."""
    return subprocess.Popen(
        [
            'env', '--default-signal=INT,TERM,HUP', KIWI,
            '--temp-dir', str(storage.temp_dir), 'system', *words
        ], env=storage.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def slow_tool(storage: Storage, tmp_path: Path, name: str, pattern: str) -> Path:
    """Put a tool in front that does its work and then never ends."""
    folder = tmp_path / 'slow'
    folder.mkdir()
    flag = tmp_path / 'reached'
    (folder / name).write_text(
        '#!/bin/sh\n'
        f'case " $* " in {pattern}) PATH="{os.environ["PATH"]}" {name} "$@"\n'
        f'touch {flag}; sleep 1000; sleep 1000;; esac\n'
        f'PATH="{os.environ["PATH"]}" exec {name} "$@"\n'
    )
    (folder / name).chmod(0o755)
    storage.environment['PATH'] = f'{folder}:{os.environ["PATH"]}'
    return flag


def descendants(pid: int) -> List[int]:
    """Return the processes that a process started, with theirs."""
    parents: Dict[int, List[int]] = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                status = Path('/proc', entry, 'stat').read_text(encoding='utf-8')
            except OSError:
                continue
            parents.setdefault(int(status.rpartition(')')[2].split()[1]), []).append(
                int(entry)
            )
    found, pending = [], [pid]
    while pending:
        children = parents.get(pending.pop(), [])
        found += children
        pending += children
    return found


def kill(process: subprocess.Popen[bytes], all_of_them: bool) -> bool:
    """Kill a run, with its tools or without; tell whether it was alive."""
    victims = [process.pid, *(descendants(process.pid) if all_of_them else [])]
    alive = process.poll() is None
    for pid in victims if alive else []:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    return alive


def layers_of_no_image(storage: Storage) -> Set[str]:
    """Return the layers in the storage that no image uses."""
    graph = storage.where / 'graph'
    layers = {
        layer['id']: layer.get('parent', '') for layer in
        json.loads((graph / 'overlay-layers/layers.json').read_text() or '[]')
    }
    used: Set[str] = set()
    for image in json.loads((graph / 'overlay-images/images.json').read_text() or '[]'):
        layer = image.get('layer', '')
        while layer:
            used.add(layer)
            layer = layers[layer]
    return set(layers) - used


class Killer:
    """A stash to be kept, a tree that changes, and kills at seeded moments."""

    def __init__(self, storage: Storage, place: Path, seed: int) -> None:
        self.storage = storage
        self.place = place
        self.random = random.Random(seed)
        self.root = make_root(place / 'root')
        (self.root / 'usr/data').write_bytes(self.random.randbytes(4 << 20))
        storage.kiwi('stash', '--root', str(self.root), '--container-name', 'keep')
        self.kept = tree(self.root)
        self.published: Set[str] = {storage.stash('keep')['id']}
        self.round = 0

    def change(self) -> None:
        """Change the tree, so that a stash has something to do."""
        self.round += 1
        (self.root / 'etc/round').write_text(str(self.round))
        (self.root / 'usr/more').write_bytes(self.random.randbytes(1 << 20))

    def moments(self, count: int, longest: float) -> Iterator[float]:
        """Give seeded moments, in seconds after the start."""
        for _ in range(count):
            yield self.random.uniform(0.25, longest)

    def run_and_kill(self, moment: float, *words: str) -> bool:
        """Start a run and kill it at a moment; tell whether it was alive."""
        process = start(self.storage, *words)
        time.sleep(moment)
        return kill(process, self.round % 2 == 0)

    def check_kept(self) -> None:
        """Hold that the earlier stash is intact and the storage consistent."""
        self.repair_podman()
        path = self.storage.mount('localhost/keep')
        assert tree(path) == self.kept
        self.storage.unmount('localhost/keep')
        self.storage.run(
            'skopeo', 'inspect', 'containers-storage:localhost/keep:latest'
        )
        self.note_published()

    def repair_podman(self) -> None:
        """Do what its user has to do where podman itself died while unmounting.

        The mount point is gone then, but still counted. Our next run repairs the
        image it needs by itself (test_podman_killed_while_it_unmounts).
        """
        tried = self.storage.run('podman', 'image', 'mount', 'localhost/keep', check=False)
        lost = re.search(r'lstat (/\S+/merged): no such file', tried.stderr)
        if lost:
            os.mkdir(lost[1], 0o700)
            self.storage.run('podman', 'image', 'unmount', '--force', 'localhost/keep')
        elif tried.returncode == 0:
            self.storage.unmount('localhost/keep')

    def note_published(self) -> None:
        """Remember the images that had a name; podman keeps them without."""
        for image in self.images():
            if image.get('Names'):
                self.published.add(image['Id'])

    def images(self) -> List[Dict[str, Any]]:
        """Return all images as podman lists them."""
        output = self.storage.run('podman', 'images', '--all', '--format=json').stdout
        found: List[Dict[str, Any]] = json.loads(output)
        return found

    def check_nothing_left(self) -> None:
        """Hold that a successful run has cleaned up behind the killed ones."""
        self.note_published()
        assert {image['Id'] for image in self.images()} <= self.published
        assert layers_of_no_image(self.storage) == set()
        self.storage.remove_kiwis_files()
        assert os.listdir(self.storage.temp_dir) == []
        assert not (self.root / 'image/.stash.json.new').exists()
        merged = [
            point for point in mounts_below(self.storage.where)
            if point.endswith('/merged')
        ]
        assert merged == []


def kill_stashes(killer: Killer, count: int, every: int = 4) -> int:
    """Kill stashes; tell how many were still alive."""
    words = ('stash', '--root', str(killer.root), '--container-name', 'work')
    started = time.monotonic()
    killer.storage.kiwi(*words)
    longest = time.monotonic() - started
    alive = 0
    for number, moment in enumerate(killer.moments(count, longest), 1):
        killer.change()
        before = tree(killer.root)
        alive += killer.run_and_kill(moment, *words)
        assert tree(killer.root) == before
        killer.check_kept()
        if number % every == 0 or number == count:
            killer.storage.kiwi(*words)
            path = killer.storage.mount('localhost/work')
            assert tree(path) == before
            killer.storage.unmount('localhost/work')
            killer.check_nothing_left()
    return alive


def kill_imports(killer: Killer, count: int, every: int = 4) -> int:
    """Kill imports of a stackbuild before kiwi takes over; tell how many lived."""
    target = killer.place / 'target'
    words = ('stackbuild', '--stash', 'keep', '--target-dir', str(target))
    built = target / 'build/image-root'
    alive = 0
    for number, moment in enumerate(killer.moments(count, 1.6), 1):
        killer.round += 1
        alive += killer.run_and_kill(moment, *words)
        killer.check_kept()
        if built.exists():
            # published by one rename, whole
            assert (built / 'usr/data').stat().st_size == 4 << 20
            if not (target / 'build/.image-root.unfinished').exists():
                # kiwi was quicker than we
                subprocess.run(['rm', '-r', str(target)], check=True)
        if number % every == 0 or number == count:
            killer.storage.kiwi(*words)
            assert (built / 'usr/data').read_bytes() == (
                killer.root / 'usr/data'
            ).read_bytes()
            assert sorted(os.listdir(target / 'build')) == ['.stackbuild.json', 'image-root']
            killer.check_nothing_left()
            subprocess.run(['rm', '-r', str(target)], check=True)
    return alive
