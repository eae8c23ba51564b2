# SPDX-License-Identifier: GPL-3.0-or-later
"""Real root trees, by apt, dnf 4 and zypper, each prepared once in a test run."""
from __future__ import annotations

import fcntl
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Sequence

import debian_root
import pytest
import rpm_root
from apt_sources import MirrorUnavailable
from debian_root import RootPlan, kiwi_environment
from rpm_root import RpmPlan
from storages import KIWI

MANAGERS = ('apt', 'dnf4', 'zypper')
#: what kiwi itself makes of a new root: its link to the data base of the build
#: host, and the parents of its cache, which it mounts there at the same path
KIWIS_OWN = (' /var/lib/rpm', ' /var/cache', ' /tmp', ' /var/tmp')


@dataclass(frozen=True)
class RealRoot:
    """A copy of a root tree of its own for a test.

    :param manager: as kiwi calls it
    :param work: for gpg's home and kiwi's cache
    """

    manager: str
    path: Path
    work: Path

    @property
    def is_rpm(self) -> bool:
        """Tell the kind of its packages."""
        return self.manager != 'apt'

    @property
    def addition(self) -> str:
        """Name a package that it does not have; its program has the same name."""
        return 'htop' if self.is_rpm else 'hello'

    @property
    def environment(self) -> Dict[str, str]:
        """Variables for kiwi, where it installs packages."""
        (self.work / 'gnupg').mkdir(mode=0o700, parents=True, exist_ok=True)
        return kiwi_environment(str(self.work))

    def write_description(self, where: Path, *packages: str, name: str = 'real') -> Path:
        """Write the description that made it, with more packages; return its file."""
        write_description(self.manager, where, *packages, name=name)
        return where / 'config.xml'

    def audit(self, root: Path) -> Sequence[str]:
        """Return what the package manager itself finds wrong in a root of its kind."""
        command = [
            'rpm', '-Va', '--nomtime', '--noconfig'
        ] if self.is_rpm else ['dpkg', '--audit']
        told = subprocess.run(
            ['chroot', root, *command], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False
        ).stdout.splitlines()
        return [line for line in told if not line.endswith(KIWIS_OWN)]

    def installed(self, root: Path) -> Sequence[str]:
        """Return the packages that a root has, by its own data base."""
        command = [
            'rpm', '-qa'
        ] if self.is_rpm else ['dpkg-query', '-W', '-f', '${Package}-${Version}\n']
        return sorted(subprocess.run(
            ['chroot', root, *command], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split())


def package_cache() -> str:
    """Return the global option for a cache of kiwi's that no other test worker has.

    It is below kiwi's own: kiwi makes the directory in the root tree too, where one below
    /tmp would change the mode of /tmp.
    """
    return f'--shared-cache-dir=/var/cache/kiwi/test-{os.environ.get("PYTEST_XDIST_WORKER", "gw")}'


def write_description(manager: str, where: Path, *packages: str, name: str = 'real') -> None:
    """Write the description of a root."""
    if manager == 'apt':
        debian_root.write_description(str(where), RootPlan(packages, name))
    else:
        rpm_root.write_description(str(where), RpmPlan(manager, packages, name))


def pristine_root(manager: str, factory: pytest.TempPathFactory) -> Path:
    """Return the root of a package manager, for reading only.

    Who asks first prepares it, in whichever process of a test run.
    """
    base = factory.getbasetemp()
    where = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
    target = where / f'pristine-{manager}'
    with open(where / f'pristine-{manager}.lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not target.is_dir():
                _prepare(manager, f'{target}.part')
                os.rename(f'{target}.part', target)
        except MirrorUnavailable as issue:
            pytest.skip(f'no package mirror answers: {issue}')
    return target


def _prepare(manager: str, target: str) -> None:
    if manager == 'apt':
        debian_root.prepare_root(target, kiwi=KIWI)
    else:
        rpm_root.prepare_root(target, RpmPlan(manager), kiwi=KIWI)


def copy_root(manager: str, factory: pytest.TempPathFactory, where: Path) -> RealRoot:
    """Return a copy of a pristine root.

    :param where: a directory for it
    """
    source = pristine_root(manager, factory)
    where.mkdir()
    subprocess.run(
        ['cp', '-a', '--reflink=auto', '-T', source, where / 'root'], check=True
    )
    return RealRoot(manager, where / 'root', where / 'work')
