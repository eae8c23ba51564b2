# SPDX-License-Identifier: GPL-3.0-or-later
"""From a container to a machine that boots: stash, stackbuild, QEMU, log in.

Everything is in one temporary directory with a podman storage of its own.
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY / 'test'), str(REPOSITORY / 'tools')]

from debian_root import (
    MirrorUnavailable, RootPrepareFailed, find_repository, kiwi_environment, stop_agent
)
import debian_root
import longrun
import rpm_root
from longrun import RunFailed, say, timed
from machine import Machine, MachineFailed, booted
from rpm_repository import Distribution, RepositoryFailed, cached_repository
from storages import make_storage, remove_storage

KIWI = os.environ.get('KIWI_NG') or str(Path(sys.executable).parent / 'kiwi-ng')
DESCRIPTION = REPOSITORY / 'demo/vm'
#: one file of the container, one of the description on top of it
FROM_BASE = ('etc/stash-base', 'This file is from the container.')
FROM_ROLE = ('etc/stash-role', 'This machine was a container.')
ROOTS = ('apt', *rpm_root.MANAGERS)


@dataclass(frozen=True)
class Packages:
    """Where the container and the machine come from.

    :param manager: one of ROOTS
    :param repository: as kiwi's --set-repo takes it
    :param bootstrap: packages of a container of this kind
    :param question: to the machine's own data base, of a package that it has
    :param rpms: the directory of the repository, for a root of RPM
    """

    manager: str
    repository: str
    bootstrap: Sequence[str]
    question: str
    rpms: Optional[Path] = None

    @classmethod
    def of(cls, manager: str) -> Packages:
        """Find the repository, or make the one of RPM.

        :raises MirrorUnavailable: no mirror answers
        :raises RepositoryFailed: it cannot be made
        """
        if manager == 'apt':
            return cls(
                manager, find_repository().kiwi_argument(),
                ('apt', 'base-files', 'python3'), 'dpkg-query -W systemd'
            )
        with timed('a repository with kernel, init and boot loader'):
            rpms = cached_repository(Distribution(bootable=True))
        return cls(
            manager, f'dir://{rpms},rpm-md,stackos',
            (*rpm_root.bootstrap_packages(), rpm_root.MANAGERS[manager]),
            'rpm -q systemd', rpms
        )

    def prepare(self, root: Path) -> None:
        """Build the container's root.

        :raises RootPrepareFailed: kiwi fails
        """
        if self.rpms:
            rpm_root.prepare_root(
                str(root), rpm_root.RpmPlan(self.manager), KIWI, self.rpms
            )
        else:
            debian_root.prepare_root(str(root), kiwi=KIWI)

    def write_description(self, where: Path, bootstrap: Sequence[str] = ()) -> Path:
        """Write the machine's description for this package manager; return it.

        :param where: the new directory
        :param bootstrap: packages to begin with, if it is for no stash
        """
        shutil.copytree(DESCRIPTION, where)
        config = where / 'config.xml'
        text = config.read_text(encoding='utf-8').replace(
            '<packagemanager>apt<', f'<packagemanager>{self.manager}<'
        )
        if bootstrap:
            packages = ''.join(f'<package name="{name}"/>' for name in bootstrap)
            text = text.replace(
                '</image>', f'<packages type="bootstrap">{packages}</packages></image>'
            )
        config.write_text(text, encoding='utf-8')
        return where


class Steps:
    """Runs commands in one work directory and prints how long each took."""

    def __init__(self, work: Path) -> None:
        self.work = work
        for name in ('gnupg', 'tmp'):
            (work / name).mkdir(mode=0o700)
        self.environment: Dict[str, str] = {
            **kiwi_environment(str(work)), **make_storage(work / 'storage')
        }

    def kiwi(self, text: str, *words: str, seconds: float = 3600) -> None:
        """Run kiwi-ng and say how long it took.

        :raises RunFailed: it fails or takes longer than allowed
        """
        with timed(text):
            longrun.run(
                KIWI, f'--logfile={self.work}/kiwi.log', f'--temp-dir={self.work}/tmp',
                *words, env=self.environment, seconds=seconds
            )


def stash_base(steps: Steps, packages: Packages) -> float:
    """Prepare the container's root and stash it; return kiwi's seconds."""
    root = steps.work / 'base'
    start = time.monotonic()
    packages.prepare(root)
    prepared = time.monotonic() - start
    say(f'kiwi-ng system prepare: a small root by {packages.manager}', prepared)
    (root / FROM_BASE[0]).write_text(FROM_BASE[1] + '\n', encoding='utf-8')
    steps.kiwi(
        'kiwi-ng system stash', 'system', 'stash', f'--root={root}',
        '--container-name=vm-base'
    )
    shutil.rmtree(root)
    return prepared


def build(steps: Steps, packages: Packages, profile: str) -> Path:
    """Build a disk from the stash and the description; return the disk."""
    target = steps.work / profile
    description = packages.write_description(steps.work / f'description-{profile}')
    steps.kiwi(
        f'kiwi-ng system stackbuild: container to disk, {profile}',
        f'--profile={profile}', f'--shared-cache-dir={steps.work}/cache-{profile}',
        'system', 'stackbuild', '--stash=vm-base', f'--description={description}',
        f'--target-dir={target}', '--', f'--set-repo={packages.repository}'
    )
    return find_disk(target)


def find_disk(target: Path) -> Path:
    """Return the raw disk in a target directory."""
    found: List[Path] = sorted(target.glob('*.raw'))
    if len(found) != 1:
        raise RunFailed(f'{target}: {len(found)} disks, not 1')
    return found[0]


def boot(disk: Path, log: Path, uefi: bool, packages: Packages) -> None:
    """Start the machine, log in, look at the files.

    A second time if need be: emulated clocks stop a kernel now and then where
    the processor is shared with many.
    """
    for attempt in (1, 2):
        try:
            _boot_and_look(disk, log, uefi, packages)
            return
        except MachineFailed as issue:
            if attempt == 2:
                raise
            print(f'  once more: {issue}', flush=True)


def _boot_and_look(disk: Path, log: Path, uefi: bool, packages: Packages) -> None:
    start = time.monotonic()
    with booted(disk, log, uefi) as machine:
        machine.wait_for('login: ', 600)
        say(f'booted to "login:" on the serial console ({machine.accelerator})',
            time.monotonic() - start)
        log_in(machine)
        for name, wanted in (FROM_BASE, FROM_ROLE):
            told = machine.run(f'cat /{name}')
            if told != wanted:
                raise MachineFailed(f'/{name} holds {told!r}, not {wanted!r}')
            print(f'  /{name}: {told}', flush=True)
        installed = ' '.join(machine.run(packages.question).split())
        print(f'  {packages.question}: {installed}', flush=True)
        kernel = machine.run('uname -sr; test -d /sys/firmware/efi && echo UEFI || echo BIOS')
        print(f'  {" ".join(kernel.split())}', flush=True)
        if uefi != kernel.endswith('UEFI'):
            raise MachineFailed(f'the machine was started by the wrong firmware: {kernel}')


def log_in(machine: Machine) -> None:
    """Log in as root, with the password of the description."""
    machine.send('root')
    machine.wait_for('assword: ', 60)
    machine.send('linux')
    machine.wait_for(r'# $', 120)


def compare(steps: Steps, packages: Packages, limit: float) -> None:
    """Build the same disk with kiwi alone, from packages."""
    description = packages.write_description(
        steps.work / 'scratch-description', packages.bootstrap
    )
    steps.kiwi(
        'the same from scratch: kiwi-ng system build', '--profile=bios',
        f'--shared-cache-dir={steps.work}/cache-scratch', 'system', 'build',
        f'--description={description}', f'--target-dir={steps.work}/scratch',
        f'--set-repo={packages.repository}', seconds=limit
    )


def check_machine(firmware: List[str], manager: str) -> None:
    """Make sure that the packages and this kernel can make the disks.

    :raises RunFailed: they cannot
    """
    if 'uefi' in firmware:
        if manager != 'apt':
            raise RunFailed(
                f'--root={manager} ends at --firmware=bios: the repository has grub-pc, '
                'with which Debian allows no grub-efi-amd64'
            )
        if shutil.which('modprobe'):
            subprocess.run(['modprobe', '-q', 'vfat'], check=False)
        if '\tvfat\n' not in Path('/proc/filesystems').read_text(encoding='ascii'):
            raise RunFailed(
                'the kernel of this machine has no vfat, which a UEFI disk needs'
            )


def show(work: Path, given: argparse.Namespace) -> None:
    """All steps."""
    check_machine(given.firmware or [], given.root)
    steps = Steps(work)
    try:
        packages = Packages.of(given.root)
        prepared = stash_base(steps, packages)
        for profile in given.firmware or ['bios']:
            disk = build(steps, packages, profile)
            boot(disk, work / f'console-{profile}.log', profile == 'uefi', packages)
            if given.keep:
                kept = shutil.copy(disk, f'{given.keep}-{profile}.raw')
                print(f'  kept: {kept}')
            shutil.rmtree(work / profile)
        if given.compare:
            compare(steps, packages, given.compare)
        else:
            print(f'Not done again: the {prepared:.1f} s of system prepare '
                  '(--compare measures a whole build)')
    finally:
        stop_agent(f'{work}/gnupg')
        remove_storage(work / 'storage')


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--root', choices=ROOTS, default='apt',
        help='the package manager of the container and the machine; otherwise apt'
    )
    parser.add_argument(
        '--firmware', action='append', choices=['bios', 'uefi'],
        help='what starts the machine, can be given twice; otherwise bios'
    )
    parser.add_argument(
        '--compare', type=float, nargs='?', const=1800, metavar='SECONDS',
        help='build from scratch as well, for at most that long'
    )
    parser.add_argument('--keep', metavar='PATH', help='copy the disks to PATH-bios.raw')
    return longrun.main(
        'vm', show_all, parser,
        (MachineFailed, MirrorUnavailable, RepositoryFailed, RootPrepareFailed)
    )


def show_all(given: argparse.Namespace) -> int:
    """All steps, in a directory that is removed at the end."""
    with longrun.work_directory('vm') as work:
        show(work, given)
    print('vm: done, everything removed again')
    return 0


if __name__ == '__main__':
    sys.exit(main())
