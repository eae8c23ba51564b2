# SPDX-License-Identifier: GPL-3.0-or-later
"""What matrix, soak, fleet, vm and packages share: run tools, time steps, end in one line."""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Tuple, Type, Union

REPOSITORY = Path(__file__).resolve().parents[1]
_LINES = 30
Word = Union[str, Path]


class RunFailed(Exception):
    """A step failed; the text has the end of its output."""


def attempt(
    *argv: Word, cwd: Optional[Path] = None, env: Optional[Dict[str, str]] = None,
    seconds: Optional[float] = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool without input; both its outputs are in stdout.

    :param env: variables over and above ours
    :raises RunFailed: it takes longer than allowed
    """
    try:
        return subprocess.run(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, text=True, check=False,
            errors='replace', stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=seconds
        )
    except subprocess.TimeoutExpired as issue:
        raise RunFailed(f'{_shown(argv)}: no end after {seconds:.0f} s') from issue


def run(
    *argv: Word, cwd: Optional[Path] = None, env: Optional[Dict[str, str]] = None,
    seconds: Optional[float] = None
) -> str:
    """Run a tool and return what it said.

    :raises RunFailed: it fails, or takes longer than allowed
    """
    done = attempt(*argv, cwd=cwd, env=env, seconds=seconds)
    if done.returncode:
        end = '\n'.join(done.stdout.replace('\r', '\n').splitlines()[-_LINES:])
        raise RunFailed(f'{_shown(argv)}: exit status {done.returncode}\n{end}')
    return done.stdout


def _shown(argv: Tuple[Word, ...]) -> str:
    return ' '.join(map(str, argv))


def say(text: str, seconds: float) -> None:
    """Print one line of the result."""
    print(f'{text:<58}{seconds:7.1f} s', flush=True)


@contextmanager
def timed(text: str) -> Iterator[None]:
    """Say how long a block took, if it came to its end."""
    start = time.monotonic()
    yield
    say(text, time.monotonic() - start)


@contextmanager
def work_directory(name: str) -> Iterator[Path]:
    """Give a temporary directory for a block."""
    work = Path(tempfile.mkdtemp(prefix=f'stash-{name}.', dir='/var/tmp'))
    try:
        yield work
    finally:
        shutil.rmtree(work)


def main(
    name: str, work: Callable[[argparse.Namespace], int],
    parser: argparse.ArgumentParser, errors: Tuple[Type[Exception], ...] = ()
) -> int:
    """Run a long run from its command line; what stops it is one line.

    :param work: gets the arguments, returns the exit status
    :param errors: what else stops it, over and above RunFailed and OSError
    """
    given = parser.parse_args()
    if os.geteuid():
        print(f'{name}: the tools need root', file=sys.stderr)
        return 1
    try:
        return work(given)
    except (RunFailed, OSError, subprocess.CalledProcessError, *errors) as issue:
        print(f'{name}: {issue}', file=sys.stderr)
        return 1
