# SPDX-License-Identifier: GPL-3.0-or-later
"""The real tools, each test with a storage of its own, and a real root tree."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / 'test'), str(REPOSITORY / 'tools')]

from trees import make_root  # noqa: E402

KIWI = os.environ.get('KIWI_NG') or str(Path(sys.executable).parent / 'kiwi-ng')
Run = Callable[..., 'subprocess.CompletedProcess[str]']


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Refuse to run as anybody but root: nothing here works then."""
    if items and os.geteuid() != 0:
        pytest.exit('the integration tests need root', 1)


def make_storage(where: Path) -> Dict[str, str]:
    """Make an empty podman storage; return the environment that selects it."""
    where.mkdir(parents=True)
    config = where / 'storage.conf'
    config.write_text(
        '[storage]\ndriver = "overlay"\n'
        f'graphroot = "{where}/graph"\nrunroot = "{where}/run"\n'
    )
    return {'CONTAINERS_STORAGE_CONF': str(config)}


def mounts_below(where: Path) -> List[str]:
    """Return the mount points below a directory, deepest last."""
    with open('/proc/self/mountinfo', encoding='utf-8') as mountinfo:
        points = [line.split(' ')[4] for line in mountinfo]
    return sorted(point for point in points if point.startswith(f'{where}/'))


def remove_storage(where: Path) -> None:
    """Remove a storage with all that is still mounted in it."""
    for point in reversed(mounts_below(where)):
        subprocess.run(['umount', '--lazy', point], check=False)
    shutil.rmtree(where)


class Storage:
    """A podman storage of a test, and kiwi and tools that use it."""

    def __init__(self, where: Path, temp_dir: Path) -> None:
        self.where = where
        self.temp_dir = temp_dir
        self.environment = {**os.environ, **make_storage(where)}

    def run(
        self, *argv: str, check: bool = True, **more: Any
    ) -> 'subprocess.CompletedProcess[str]':
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
        self, *words: str, check: bool = True, options: List[str] = [], **more: Any
    ) -> 'subprocess.CompletedProcess[str]':
        """Run "kiwi-ng [options] system <words>"."""
        return self.run(
            KIWI, '--temp-dir', str(self.temp_dir), *options, 'system', *words,
            check=check, **more
        )

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

    def left_overs(self) -> List[str]:
        """Return mounts and temporary files that should not be there."""
        return mounts_below(self.where) + [
            str(path) for path in self.temp_dir.iterdir()
        ]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """Give an empty storage of its own; the test must leave nothing behind."""
    temp_dir = tmp_path / 'temp'
    temp_dir.mkdir()
    own = Storage(tmp_path / 'storage', temp_dir)
    yield own
    left = own.left_overs()
    remove_storage(own.where)
    assert not left, left


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a small root tree made by hand."""
    return make_root(tmp_path / 'root')


@pytest.fixture(scope='session')
def pristine_debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a real Debian root with kiwi, once in a test run."""
    from apt_sources import MirrorUnavailable
    from debian_root import prepare_root
    target = tmp_path_factory.mktemp('debian') / 'root'
    try:
        return Path(prepare_root(str(target), kiwi=KIWI))
    except MirrorUnavailable as issue:
        pytest.skip(f'no package mirror answers: {issue}')


@pytest.fixture
def debian_root(pristine_debian: Path, tmp_path: Path) -> Path:
    """Give a copy of the real Debian root that a test may change."""
    copy = tmp_path / 'debian-root'
    subprocess.run(
        ['cp', '-a', '--reflink=auto', '-T', pristine_debian, copy], check=True
    )
    return copy
