#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an RPM repository of a small distribution out of Debian packages.

    tools/rpm_repository.py [--dbpath PATH] [--like IDS] [--bootable] [--cache DIR]

Needs root on a Debian 12 with tools/system-packages; apt must work as it is
configured on the machine. The repository has 167 packages (67 MB, made in 45 to
95 s on two cores): bash, coreutils, rpm, dnf 4, zypper, and leaf packages (htop,
tree, less, nano, vim-tiny, stackdemo in two versions). The distribution calls
itself "stackos"; nothing of dpkg or apt is in it. repo.key is its public key.
With --bootable there is what a machine needs: kernel, systemd, udev, dracut, GRUB for
a BIOS (204 packages, 114 MB).

It is made once and kept in the cache, by what it is made of and with; its path
is printed.
"""
from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from apt_sources import MirrorUnavailable, find_repository
from stackos.contents import RepositoryFailed
from stackos.repository import make_repository

#: as bench/ has it
_DEFAULT_CACHE = '/var/cache/kiwi-stackbuild-bench'
_TOOLS = ('apt-get', 'dpkg-deb', 'rpmbuild', 'rpmsign', 'createrepo_c', 'gpg')
_UNUSED_SECONDS = 30 * 86400


@dataclass(frozen=True)
class Distribution:
    """What can differ.

    :param dbpath: where it has rpm's data base
    :param like: ID_LIKE in os-release
    :param bootable: with kernel, init and boot loader
    """

    dbpath: str = '/usr/lib/sysimage/rpm'
    like: str = 'fedora suse'
    bootable: bool = False

    def key(self) -> str:
        """Return a name for what it is made of and with."""
        digest = hashlib.sha256(repr(self).encode())
        digest.update(f'{platform.machine()} {sys.version_info[:2]}'.encode())
        for path in sorted((HERE / 'stackos').glob('*.py')):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


def cache_directory() -> Path:
    """Where repositories are kept: KIWI_STACKBUILD_BENCH, else below /var/cache."""
    return Path(
        os.environ.get('KIWI_STACKBUILD_BENCH') or _DEFAULT_CACHE
    ).resolve() / 'rpm-repositories'


def cached_repository(
    distribution: Distribution = Distribution(), cache: Optional[Path] = None
) -> Path:
    """Return the directory of a repository; who comes second waits for the first.

    :raises MirrorUnavailable: it has to be made, and no mirror answers
    :raises RepositoryFailed: it cannot be made; nothing is left of it
    """
    top = cache or cache_directory()
    top.mkdir(parents=True, exist_ok=True)
    repo = top / distribution.key()
    with _locked(repo.with_suffix('.lock')):
        if not repo.is_dir():
            _check_machine()
            _make(distribution, top, repo)
        os.utime(repo)
    _remove_unused(top)
    return repo


def _check_machine() -> None:
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if missing:
        raise MirrorUnavailable(f'needs a Debian with {", ".join(missing)}')
    find_repository()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(distribution: Distribution, top: Path, repo: Path) -> None:
    """Make a repository beside its place, then rename it."""
    old_mask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix='rpm-repo.', dir='/var/tmp') as work, \
                tempfile.TemporaryDirectory(prefix='.part.', dir=top) as part:
            made = Path(part, 'repo')
            make_repository(
                made, Path(work), distribution.dbpath, distribution.like,
                distribution.bootable
            )
            os.rename(made, repo)
    finally:
        os.umask(old_mask)


def _remove_unused(top: Path) -> None:
    """Remove what nobody asked for in a long time, as of earlier sources."""
    for lock in top.glob('*.lock'):
        repo = lock.with_suffix('')
        if repo.is_dir() and time.time() - repo.stat().st_mtime > _UNUSED_SECONDS:
            with _locked(lock):
                shutil.rmtree(repo)


def main() -> int:
    """Command line; prints the path."""
    parser = argparse.ArgumentParser(
        description='Make a small RPM repository out of Debian packages.'
    )
    parser.add_argument(
        '--dbpath', default=Distribution.dbpath, help="place of rpm's data base"
    )
    parser.add_argument('--like', default=Distribution.like, help='ID_LIKE')
    parser.add_argument(
        '--bootable', action='store_true', help='with kernel, init and boot loader'
    )
    parser.add_argument('--cache', type=Path, help='directory to keep it in')
    given = parser.parse_args()
    try:
        print(cached_repository(
            Distribution(given.dbpath, given.like, given.bootable), given.cache
        ))
    except (MirrorUnavailable, RepositoryFailed) as issue:
        print(f'rpm_repository: {issue}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
