# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpreters of this machine, and an environment for each kiwi on each."""
from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from longrun import REPOSITORY, attempt

PYTHONS = ('3.9', '3.10', '3.11', '3.12', '3.13')
#: what the distribution is not made of
_NO_SOURCES = (
    '.*', 'build', 'dist', '*.egg-info', '__pycache__', 'test', 'bench', 'demo'
)


class NotApplicable(Exception):
    """Kiwi itself does not run on this Python; the text says why."""


class EnvironmentFailed(Exception):
    """An environment could not be made; the text is the end of pip's words."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one kiwi."""

    path: Path

    @property
    def python(self) -> str:
        return str(self.path / 'bin/python')

    @property
    def kiwi(self) -> str:
        return str(self.path / 'bin/kiwi-ng')


def cache_directory() -> Path:
    """Where environments are kept: MATRIX_CACHE, else below .tox."""
    return Path(os.environ.get('MATRIX_CACHE') or REPOSITORY / '.tox/matrix')


def find_interpreters() -> Dict[str, Optional[str]]:
    """Return the interpreter of each Python, None where this machine has none."""
    return {version: _find_interpreter(version) for version in PYTHONS}


def _find_interpreter(version: str) -> Optional[str]:
    candidates: List[str] = []
    if shutil.which('pyenv'):
        top = attempt('pyenv', 'root').stdout.strip()
        candidates += sorted(glob.glob(f'{top}/versions/{version}.*/bin/python{version}'))
    if shutil.which('uv'):
        candidates.append(attempt('uv', 'python', 'find', version).stdout.strip())
    candidates.append(shutil.which(f'python{version}') or '')
    code = 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])'
    for path in candidates:
        if path and os.access(path, os.X_OK):
            told = attempt(path, '-c', code)
            if told.returncode == 0 and told.stdout.strip() == version:
                return path
    return None


def newest_kiwi(python: str) -> str:
    """Return the newest version of kiwi on the index, by pip."""
    told = attempt(python, '-m', 'pip', 'index', 'versions', 'kiwi')
    for line in told.stdout.splitlines():
        if line.startswith('kiwi ('):
            return line.partition('(')[2].partition(')')[0]
    raise EnvironmentFailed(f'pip index versions kiwi: {_last_line(told.stdout)}')


def make_environment(python: str, version: str, kiwi: str) -> Environment:
    """Return the environment of a kiwi, without the plugin; made once.

    To be called with the environment locked.

    :param python: the interpreter
    :param version: its version, for the name
    :raises NotApplicable: if kiwi does not install or start on this Python
    :raises EnvironmentFailed: if pip failed for another reason
    """
    environment = Environment(_path(version, kiwi))
    ready = environment.path / 'ready'
    if not ready.exists():
        shutil.rmtree(environment.path, ignore_errors=True)
        _install(environment, python, kiwi)
        ready.touch()
    uninstall_plugin(environment)
    told = attempt(environment.kiwi, '--version')
    # kiwi 11.0 exits with 1
    if f'version {kiwi}' not in told.stdout:
        raise NotApplicable(f'kiwi does not start: {_last_line(told.stdout)}')
    return environment


def _path(version: str, kiwi: str) -> Path:
    return cache_directory() / f'kiwi-{kiwi}-py{version}'


@contextmanager
def locked_environment(version: str, kiwi: str) -> Iterator[None]:
    """Keep other runs from an environment that we install into."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with open(f'{_path(version, kiwi)}.lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(environment: Environment, python: str, kiwi: str) -> None:
    made = attempt(python, '-m', 'venv', str(environment.path))
    if made.returncode:
        raise EnvironmentFailed(_last_line(made.stdout))
    # kiwi 9 needs pkg_resources, which newer setuptools no longer bring
    more = ['setuptools<81'] if kiwi.startswith('9.') else []
    pip(environment, 'install', f'kiwi=={kiwi}', 'zstandard>=0.20', 'pytest', *more)


def pip(environment: Environment, *words: str) -> None:
    """Run the pip of an environment.

    :raises NotApplicable: kiwi's requires_python excludes this Python
    :raises EnvironmentFailed: anything else
    """
    told = attempt(
        environment.python, '-m', 'pip', '--disable-pip-version-check', *words
    )
    if told.returncode == 0:
        return
    for line in told.stdout.splitlines():
        if 'Requires-Python' in line or 'requires a different Python' in line.lower():
            raise NotApplicable(f'requires_python: {line.strip()[:200]}')
    raise EnvironmentFailed(f'pip {" ".join(words)}: {_last_line(told.stdout)}')


def install_plugin(environment: Environment, wheel: Path) -> None:
    """Install the plugin beside kiwi."""
    pip(environment, 'install', '-q', '--no-deps', '--force-reinstall', str(wheel))


def uninstall_plugin(environment: Environment) -> None:
    """Take the plugin away, if it is there."""
    pip(environment, 'uninstall', '-q', '-y', 'kiwi_stackbuild_plugin')


def build_wheel(where: Path) -> Path:
    """Build the distribution from a copy: nothing is left in the repository."""
    import sys
    with tempfile.TemporaryDirectory(prefix='matrix-wheel.') as scratch:
        copy = Path(scratch, 'source')
        shutil.copytree(
            REPOSITORY, copy, ignore=shutil.ignore_patterns(*_NO_SOURCES)
        )
        told = attempt(
            sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps',
            '--wheel-dir', str(where), str(copy)
        )
    wheels = list(where.glob('kiwi_stackbuild_plugin-*.whl'))
    if told.returncode or len(wheels) != 1:
        raise EnvironmentFailed(f'no wheel: {told.stdout[-2000:]}')
    return wheels[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else 'no message'
