# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman storages for tests, each with kiwi and the tools that use it."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

from kiwi_forks import KiwiForks

KIWI = os.environ.get('KIWI_NG') or str(Path(sys.executable).parent / 'kiwi-ng')
FORKS = KiwiForks(KIWI)


def make_storage(where: Path, driver: str = 'overlay') -> Dict[str, str]:
    """Make an empty podman storage; return the environment that selects it."""
    where.mkdir(parents=True)
    config = where / 'storage.conf'
    config.write_text(
        f'[storage]\ndriver = "{driver}"\n'
        f'graphroot = "{where}/graph"\nrunroot = "{where}/run"\n'
    )
    return {
        'CONTAINERS_STORAGE_CONF': str(config), 'KIWI_STASH_CACHE': f'{where}/indexes',
        'KIWI_STASH_STATE': f'{where}/state'
    }


def mounts_below(where: Path) -> List[str]:
    """Return the mount points below a directory, deepest last."""
    with open('/proc/self/mountinfo', encoding='utf-8') as mountinfo:
        points = [line.split(' ')[4] for line in mountinfo]
    return sorted(point for point in points if point.startswith(f'{where}/'))


def remove_storage(where: Path) -> None:
    """Remove a storage with all that is still mounted in it."""
    for point in reversed(mounts_below(where)):
        subprocess.run(['umount', '--lazy', point], check=False)
    # rmtree of Python before 3.13 does not go deep
    subprocess.run(['rm', '-rf', where], check=True)


class Storage:
    """A podman storage of a test, and kiwi and tools that use it."""

    #: False lets each stash mount its base and scan it
    INDEXES = True
    DRIVER = 'overlay'

    def __init__(self, where: Path, temp_dir: Path) -> None:
        self.where = where
        self.temp_dir = temp_dir
        self.environment = {
            **os.environ, **make_storage(where, self.DRIVER),
            **({} if self.INDEXES else {'KIWI_STASH_CACHE': ''})
        }

    def forget_indexes(self) -> None:
        """Let the next stash mount its base and scan it."""
        shutil.rmtree(self.environment['KIWI_STASH_CACHE'], ignore_errors=True)

    def run(
        self, *argv: str, check: bool = True, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a tool on this storage; its output is in the assertion."""
        environment = {**self.environment, **more.pop('env', {})}
        result = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, text=True,
            capture_output=True, check=False, **more
        )
        if check:
            assert result.returncode == 0, (argv, result.stdout, result.stderr)
        return result

    def kiwi(
        self, *words: str, check: bool = True, options: Sequence[str] = (),
        wrapper: Sequence[str] = (), **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run "[wrapper] kiwi-ng [options] system <words>"."""
        argv = (KIWI, '--temp-dir', str(self.temp_dir), *options, 'system', *words)
        environment = {**self.environment, **more.get('env', {})}
        # its usage text depends on it as it is imported
        alone = wrapper or '--check' in words or set(more) - {'env', 'cwd'}
        if alone or not FORKS.can_run(environment):
            return self.run(*wrapper, *argv, check=check, **more)
        result = FORKS.run(argv, environment, more.get('cwd'))
        if check:
            assert result.returncode == 0, (argv, result.stdout, result.stderr)
        return result

    def stashes(self, *words: str) -> List[Dict[str, Any]]:
        """Return what stash_list tells."""
        output = self.kiwi('stash_list', '--format=json', *words).stdout
        stashes: List[Dict[str, Any]] = json.loads(output)['stashes']
        return stashes

    def stash(self, name: str) -> Dict[str, Any]:
        """Return what stash_list tells of the one stash of a name."""
        found = self.stashes(name)
        assert len(found) == 1, found
        return found[0]

    def mount(self, name: str) -> Path:
        """Mount an image; the fixture takes it back."""
        return Path(self.run('podman', 'image', 'mount', name).stdout.strip())

    def unmount(self, name: str) -> None:
        """Take a mount back."""
        self.run('podman', 'image', 'unmount', name)

    def remove_kiwis_files(self) -> None:
        """Remove what kiwi itself leaves when it is killed."""
        for path in self.temp_dir.glob('kiwi_*'):
            path.unlink()

    def left_overs(self) -> List[str]:
        """Return mounts and temporary files that should not be there."""
        mounted = [
            # podman's driver binds its own directory on itself
            point for point in mounts_below(self.where) if point.endswith('/merged')
        ]
        return mounted + [str(path) for path in self.temp_dir.iterdir()]


def image_root(target: Path) -> Path:
    """Return the root tree that stackbuild made in a target directory."""
    return target / 'build/image-root'
