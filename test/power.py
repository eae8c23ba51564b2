# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk whose power is cut: a file system in a file, copied in one moment.

What is in the page cache of the file system, and not yet on its disk, is not in
the copy. The file is on an xfs of its own, whose copies share blocks: such a
copy is made between two writes, within milliseconds.
"""
from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence

from killing import layers_of_no_image
from storages import Storage, mounts_below
from trees import describe, make_root

from kiwi_stackbuild_plugin.host.mounts import processes_in

#: kiwi-ng, none of whose writes is synced
UNSYNCED = '''#!{python}
import os, sys
os.fsync = lambda fd: None
from kiwi_stackbuild_plugin.host import durable
durable._LIBC = type('Libc', (), {{'syncfs': staticmethod(lambda fd: 0)}})
from kiwi.kiwi import main
sys.exit(main())
'''
OURS = ('image/stash.json', 'image/.stash.json.new')


class Disk:
    """A file system in a file, mounted at a place."""

    def __init__(self, place: Path, kind: str) -> None:
        self.place = place / 'disk'
        self.outside = place / 'outside'
        self._outer, self._file = place / 'outer', place / 'outer.img'
        self._current = self._outer / 'disk.img'
        self._kind = kind
        for directory in (self.place, self._outer, self.outside):
            directory.mkdir(parents=True)
        _make(self._file, 'xfs', 4 << 30)
        _run('mount', '-o', 'loop', self._file, self._outer)
        _make(self._current, kind, 1 << 30)
        self._mount()

    def _mount(self) -> None:
        # the one before may live on for a while, in a mount namespace of others
        options = 'loop,nouuid' if self._kind == 'xfs' else 'loop'
        _run('mount', '-o', options, self._current, self.place)

    def cut(self) -> Path:
        """Return what the disk has in this moment; work goes on."""
        copy = self._outer / f'cut-{time.monotonic_ns()}.img'
        _run('cp', '--reflink=always', self._current, copy)
        return copy

    def switch_on(self, copy: Path) -> None:
        """Go on with what the disk had at a cut; a boot has emptied /run."""
        self._unmount(self.place)
        os.replace(copy, self._current)
        self._mount()
        for run in self.place.glob('storage/run'):
            shutil.rmtree(run)

    def sync(self) -> None:
        """Bring all to the disk."""
        _run('sync', '--file-system', self.place)

    @staticmethod
    def _unmount(place: Path) -> None:
        """Take away what is mounted on a disk, and the disk.

        The kernel lets go of a loop device, and of its file, a little later.
        """
        deadline = time.monotonic() + 30
        while os.path.ismount(place):
            points = [*mounts_below(place), str(place)]
            deepest = max(points, key=len)
            if subprocess.run(
                ['umount', deepest], check=False, stderr=subprocess.DEVNULL
            ).returncode:
                assert time.monotonic() < deadline, (points, processes_in(str(place)))
                time.sleep(0.1)

    def close(self) -> None:
        """Take it away."""
        self._unmount(self.place)
        self._unmount(self._outer)
        self._file.unlink()


def _make(path: Path, kind: str, size: int) -> None:
    with open(path, 'wb') as out:
        out.truncate(size)
    _run(f'mkfs.{kind}', '-q', '-F' if kind == 'ext4' else '-f', path)


def _run(*words: Any) -> None:
    subprocess.run(list(map(str, words)), check=True, stdin=subprocess.DEVNULL)


@dataclass
class Trial:
    """One run during or after which the power was cut."""

    #: the run had said that it is done
    reported: bool
    copy: Path


class PowerCuts:
    """A storage, a tree and temporary files on a disk, and cuts at seeded moments."""

    def __init__(self, disk: Disk, seed: int, unsynced: bool = False) -> None:
        self.disk = disk
        self.random = random.Random(seed)
        # a directory in memory, for which some choose --temp-dir, is empty after a boot
        self.temp_dirs = [disk.place / 'temp', disk.outside / 'temp']
        for directory in self.temp_dirs:
            directory.mkdir()
        self.storage = Storage(disk.place / 'storage', self.temp_dirs[0])
        self.root = make_root(disk.place / 'root')
        for number in range(40):
            (self.root / f'usr/share/doc/file{number}').write_bytes(self.random.randbytes(50_000))
        self.launcher: Sequence[str] = ()
        if unsynced:
            launcher = disk.outside / 'kiwi-ng'
            launcher.write_text(UNSYNCED.format(python=sys.executable))
            launcher.chmod(0o755)
            self.launcher = [str(launcher)]
        self.round = 0
        self.longest = 1.5

    def change(self) -> None:
        """Change the tree, which is on the disk then as is all there was before."""
        self.round += 1
        self.storage.temp_dir = self.random.choice(self.temp_dirs)
        (self.root / 'etc/round').write_text(str(self.round))
        for number in range(10):
            (self.root / f'usr/more{number}').write_bytes(self.random.randbytes(30_000))
        self.disk.sync()

    def run_and_cut(self, *words: str, after: float = 0.4) -> Trial:
        """Start "kiwi-ng system <words>" and cut the power at a seeded moment.

        :param after: seconds after its end in which the moment may be; 0 cuts
            right behind its end, and not before
        """
        started = time.monotonic()
        moment = started + (self.random.uniform(0.2, self.longest + after) if after else 1e3)
        process = subprocess.Popen(
            [*(self.launcher or [self._kiwi()]), '--temp-dir', str(self.storage.temp_dir),
             'system', *words],
            env=self.storage.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(0.005)
        if process.returncode == 0:
            self.longest = 0.7 * self.longest + 0.3 * (time.monotonic() - started)
            time.sleep(self.random.uniform(0, after))
        reported = process.poll() == 0
        copy = self.disk.cut()
        said = process.communicate()[0]
        assert process.returncode == 0, said
        return Trial(reported, copy)

    @staticmethod
    def _kiwi() -> str:
        return str(Path(sys.executable).parent / 'kiwi-ng')

    def switch_on(self, trial: Trial) -> None:
        """Boot after a cut; what is in memory is gone."""
        self.disk.switch_on(trial.copy)
        for path in self.temp_dirs[1].iterdir():
            shutil.rmtree(path)

    def content(self, name: str) -> Dict[bytes, Any]:
        """Return the tree of a stash, as it is stored."""
        path = self.storage.mount(name)
        try:
            return tree(path)
        finally:
            self.storage.unmount(name)

    def names(self) -> List[str]:
        """Return the names of all stashes."""
        return [f'{one["name"]}:{one["tag"]}' for one in self.storage.stashes()]

    def check_nothing_left(self) -> None:
        """Hold that the run after a cut has cleaned up."""
        assert layers_of_no_image(self.storage) == set()
        ours = self.storage.where / 'graph/kiwi-stackbuild'
        assert [path for path in ours.rglob('*') if path.is_file()] == []
        self.storage.remove_kiwis_files()
        assert os.listdir(self.storage.temp_dir) == []
        assert sorted(os.listdir(self.root / 'image')) == ['config.xml', 'stash.json']


def tree(path: Path) -> Dict[bytes, Any]:
    """Describe a tree, but for what a stash writes into it."""
    found = describe(path, OURS)
    found[b'image'] = found[b'image'][:4]
    return found


def _unlike(found: Dict[bytes, Any], wanted: Dict[bytes, Any]) -> Dict[bytes, Any]:
    return {
        path: (found.get(path), wanted.get(path)) for path in sorted({*found, *wanted})
        if found.get(path) != wanted.get(path)
    }


def cut_stashes(cuts: PowerCuts, count: int, after: float = 0.4) -> int:
    """Cut during and after stashes; tell how many of them had been reported."""
    words = ('stash', '--root', str(cuts.root), '--container-name', 'work')
    cuts.storage.kiwi(*words)
    reported = 0
    before = tree(cuts.root)
    for _ in range(count):
        cuts.change()
        wanted = tree(cuts.root)
        trial = cuts.run_and_cut(*words, after=after)
        reported += trial.reported
        cuts.switch_on(trial)
        found = cuts.content('localhost/work')
        assert found == wanted or (not trial.reported and found == before), \
            _unlike(found, wanted)
        said = cuts.storage.kiwi(*words)
        found = cuts.content('localhost/work')
        assert found == wanted, (_unlike(found, wanted), said.stderr, said.stdout)
        cuts.check_nothing_left()
        before = wanted
    return reported


def cut_imports(cuts: PowerCuts, count: int) -> int:
    """Cut during and after the import of a stackbuild; tell how many had ended."""
    cuts.storage.kiwi('stash', '--root', str(cuts.root), '--container-name', 'keep')
    kept = tree(cuts.root)
    target = cuts.disk.place / 'target'
    built = target / 'build/image-root'
    words = ('stackbuild', '--stash', 'keep', '--target-dir', str(target))
    ended = 0
    for _ in range(count):
        subprocess.run(['rm', '-rf', target], check=True)
        cuts.disk.sync()
        trial = cuts.run_and_cut(*words)
        ended += trial.reported
        cuts.switch_on(trial)
        if built.exists():
            # under its name it is whole, whatever kiwi has made of it since
            for path in sorted(kept):
                if path.startswith((b'usr/share/doc/', b'etc/')):
                    assert tree(built)[path] == kept[path], path
        assert cuts.content('localhost/keep') == kept
        if not built.exists() or (target / 'build/.image-root.unfinished').exists():
            cuts.storage.kiwi(*words)
        # the record is the last thing that a build writes
        assert {*os.listdir(target / 'build')} - {'.stackbuild.json'} == {'image-root'}
        cuts.check_nothing_left()
    return ended


def cut_exports(cuts: PowerCuts, count: int) -> int:
    """Cut during and after the writing of archives; tell how many had ended."""
    cuts.storage.kiwi('stash', '--root', str(cuts.root), '--container-name', 'keep')
    archive = cuts.disk.place / 'keep.tar'
    words = ('stash', '--export', f'oci-archive:{archive}', '--container-name', 'keep')
    cuts.storage.kiwi(*words)
    ended = 0
    for _ in range(count):
        cuts.disk.sync()
        trial = cuts.run_and_cut(*words)
        ended += trial.reported
        cuts.switch_on(trial)
        # the earlier one, or the new one
        cuts.storage.run(
            'skopeo', 'copy', f'oci-archive:{archive}', f'dir:{cuts.disk.outside}/copy'
        )
        cuts.storage.kiwi(*words)
        cuts.check_nothing_left()
        assert [path.name for path in cuts.disk.place.glob('.kiwi*')] == []
    return ended
