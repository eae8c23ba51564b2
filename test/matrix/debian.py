# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the matrix with the tools of a Debian release, in a chroot.

Podman, skopeo and Python are the packages of that release. So is kiwi, with the
plugin installed beside it, where the release has a package of it.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Sequence

from matrix.cell import Outcome
from matrix.environments import (
    REPOSITORY, EnvironmentFailed, NotApplicable, cache_directory,
    find_interpreters, locked_environment, make_environment, pip
)

sys.path.insert(0, str(REPOSITORY / 'tools'))

from apt_sources import (
    AptRepository, MirrorUnavailable, find_repository, mirror_answers,
    proxy_environment
)

SUITES = {'bookworm': 'Debian 12', 'trixie': 'Debian 13'}
TOOLS = ('podman', 'skopeo', 'crun', 'python3', 'xz-utils', 'rsync')
PACKAGES = {
    'bookworm': (*TOOLS, 'kiwi', 'python3-zstandard', 'python3-pip'),
    'trixie': TOOLS
}
#: where the release has no kiwi: from the index, on the release's Python
BROUGHT = {'trixie': ('11.1.6', '3.13')}
LAUNCHER = '''#!/usr/bin/python3
import sys
sys.path.insert(0, '/opt/matrix/site')
from kiwi.kiwi import main
sys.exit(main())
'''
#: kernel file systems, in a mount namespace of our own: all go with it. The
#: chroot is mounted on itself, podman cannot remount "/" otherwise.
ENTER = '''
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
shift
exec chroot . "$@"
'''


def find_mirror(suite: str) -> AptRepository:
    """Return a suite of this machine's mirror.

    :raises NotApplicable: there is no mirror, or not this suite on it
    """
    try:
        own = find_repository()
    except MirrorUnavailable as issue:
        raise NotApplicable(f'no package mirror: {issue}') from None
    wanted = replace(own, suite=suite, components=('main',))
    if not mirror_answers(wanted):
        raise NotApplicable(f'the mirror has no {suite}')
    return wanted


def make_chroot(suite: str) -> Path:
    """Return a chroot of a release with kiwi and the tools, made once.

    :raises NotApplicable: no mirror, or no debootstrap on this machine
    :raises EnvironmentFailed: if it could not be made
    """
    root = cache_directory() / f'debian-{suite}'
    ready = root / 'var/lib/matrix-ready'
    wanted = ' '.join(PACKAGES[suite])
    if ready.exists() and ready.read_text() == wanted:
        return root
    if not shutil.which('debootstrap'):
        raise NotApplicable('debootstrap is not installed')
    mirror = find_mirror(suite)
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    _run([
        'unshare', '--mount', 'debootstrap', '--variant=minbase',
        '--include=ca-certificates', suite, str(root), mirror.uri
    ])
    _copy_settings(root)
    (root / 'etc/apt/sources.list').write_text(f'deb {mirror.uri} {suite} main\n')
    (root / 'usr/sbin/policy-rc.d').write_text('#!/bin/sh\nexit 101\n')
    (root / 'usr/sbin/policy-rc.d').chmod(0o755)
    enter(root, ['apt-get', '-q', 'update'])
    enter(root, [
        'apt-get', '-qy', 'install', '--no-install-recommends',
        *PACKAGES[suite]
    ])
    ready.write_text(wanted)
    return root


def enter(root: Path, argv: Sequence[str]) -> str:
    """Run a command in a chroot; its output."""
    return _run([
        'unshare', '--mount', '--propagation', 'private',
        'sh', '-c', ENTER, 'sh', str(root), *argv
    ])


def _copy_settings(root: Path) -> None:
    """Give the chroot the machine's name service and its certificates."""
    for name in ('etc/resolv.conf', 'etc/hosts', 'etc/ssl/certs/ca-certificates.crt'):
        if os.path.isfile(f'/{name}'):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).unlink(missing_ok=True)
            shutil.copyfile(f'/{name}', root / name)


def _run(argv: Sequence[str]) -> str:
    environment: Dict[str, str] = {
        **{
            name: value for name, value in os.environ.items()
            if not name.startswith(('CONTAINERS_', 'PYTHON', 'VIRTUAL_ENV', 'PIP_'))
        },
        **proxy_environment(),
        'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'LC_ALL': 'C.UTF-8', 'HOME': '/root', 'TMPDIR': '/tmp',
        'DEBIAN_FRONTEND': 'noninteractive'
    }
    told = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False
    )
    if told.returncode not in (0, 1) or (told.returncode and not told.stdout.startswith('[')):
        raise EnvironmentFailed(
            f'{" ".join(argv[-3:])}: exit status {told.returncode}: '
            f'{(told.stderr or told.stdout)[-500:]}'
        )
    return told.stdout


def tool_versions(root: Path, suite: str) -> str:
    """Return the versions in a chroot, for the table."""
    told = enter(root, [
        'dpkg-query', '--show', '--showformat', '${Package} ${Version}\n',
        *(name for name in ('kiwi', 'podman', 'skopeo', 'python3')
          if name in PACKAGES[suite] or name == 'python3')
    ])
    pairs = dict(line.split() for line in told.splitlines())
    if suite in BROUGHT:
        pairs['kiwi'] = BROUGHT[suite][0]
    return ', '.join(
        f'{name} {pairs[name].partition("-")[0].partition("+")[0]}'
        for name in ('kiwi', 'podman', 'skopeo', 'python3')
    )


def run_release(root: Path, suite: str, wheel: Path) -> List[Outcome]:
    """Install the plugin beside the release's kiwi and run a cell there."""
    stage = root / 'opt/matrix'
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    shutil.copytree(REPOSITORY / 'test/matrix', stage / 'test/matrix')
    shutil.copy(REPOSITORY / 'test/trees.py', stage / 'test')
    if suite in BROUGHT:
        kiwi = _bring_kiwi(stage, suite, wheel)
    else:
        kiwi = '/usr/bin/kiwi-ng'
        shutil.copy(wheel, stage)
        enter(root, [
            'python3', '-m', 'pip', 'install', '-q', '--no-deps', '--no-index',
            '--break-system-packages', '--force-reinstall',
            '--root-user-action=ignore', f'/opt/matrix/{wheel.name}'
        ])
    told = enter(root, [
        'python3', '/opt/matrix/test/matrix/cell.py',
        '--kiwi', kiwi, '--work', '/opt/matrix/work'
    ])
    outcomes: List[Dict[str, Any]] = json.loads(told.splitlines()[-1])
    return [Outcome(**outcome) for outcome in outcomes]


def _bring_kiwi(stage: Path, suite: str, wheel: Path) -> str:
    """Copy kiwi and the plugin into a chroot; the path of kiwi-ng there."""
    kiwi, version = BROUGHT[suite]
    interpreter = find_interpreters().get(version)
    if not interpreter:
        raise NotApplicable(f'no Python {version} on this machine to bring kiwi')
    with locked_environment(version, kiwi):
        environment = make_environment(interpreter, version, kiwi)
        shutil.copytree(
            environment.path / f'lib/python{version}/site-packages', stage / 'site',
            ignore=shutil.ignore_patterns('__pycache__', 'pip*', 'setuptools*')
        )
        pip(
            environment, 'install', '-q', '--no-deps',
            '--target', str(stage / 'site'), str(wheel)
        )
    (stage / 'kiwi-ng').write_text(LAUNCHER)
    (stage / 'kiwi-ng').chmod(0o755)
    return '/opt/matrix/kiwi-ng'
