# SPDX-License-Identifier: GPL-3.0-or-later
"""Variants of a Debian root: a set of packages and a configuration file each."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import List, Sequence

#: what the variants are for, so to say
SETS = (
    ('nginx-light',), ('redis-server',), ('haproxy',), ('memcached',),
    ('lighttpd',), ('openssh-server',), ('chrony',), ('rsyslog', 'logrotate'),
    ('git',), ('curl', 'jq'), ('postgresql-client',), ('mariadb-client',),
    ('sqlite3', 'php-cli'), ('nftables', 'iproute2'), ('lvm2',), ('bind9-dnsutils',),
    ('vim-tiny', 'tmux'), ('strace', 'lsof'), ('dnsmasq-base',), ('rsync', 'borgbackup'),
)


def make_variant(root: str, number: int, cache: Path) -> None:
    """Install a set into a root and write its configuration file.

    :param cache: directory to keep packages in
    """
    archives = [os.path.basename(path) for path in _fetch(root, SETS[number], cache)]
    os.makedirs(f'{root}/tmp/fleet')
    for name in archives:
        shutil.copy(cache / name, f'{root}/tmp/fleet')
    policy = Path(root, 'usr/sbin/policy-rc.d')
    policy.write_text('#!/bin/sh\nexit 101\n', encoding='ascii')
    policy.chmod(0o755)
    told = subprocess.run(
        ['chroot', root, 'dpkg', '--install',
         *(f'/tmp/fleet/{name}' for name in archives)],
        env={
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8',
            'DEBIAN_FRONTEND': 'noninteractive'
        }, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if told.returncode:
        # a package of the set may want a running system; its files are there
        print(told.stderr.decode(errors='replace').strip().splitlines()[-1])
    policy.unlink()
    shutil.rmtree(f'{root}/tmp/fleet')
    Path(root, 'etc/fleet.conf').write_text(
        f'role = variant {number}\npackages = {" ".join(SETS[number])}\n', encoding='ascii'
    )


def _fetch(root: str, names: Sequence[str], cache: Path) -> List[str]:
    """Download what a set needs over and above a root; by this machine's apt."""
    (cache / 'partial').mkdir(parents=True, exist_ok=True)
    options = [
        '-o', f'Dir::State::status={root}/var/lib/dpkg/status',
        '-o', f'Dir::Cache::archives={cache}', '-o', 'APT::Sandbox::User=root',
        '-o', 'APT::Install-Recommends=false', '-o', 'Debug::NoLocking=true',
        '-y', '-q'
    ]
    # in the order of installation
    planned = subprocess.run(
        ['apt-get', *options, '--simulate', 'install', *names],
        capture_output=True, check=True, text=True
    ).stdout
    subprocess.run(
        ['apt-get', *options, '--download-only', 'install', *names],
        capture_output=True, check=True, stdin=subprocess.DEVNULL
    )
    wanted = re.findall(r'^Inst (\S+) (?:\[\S+\] )?\((\S+)', planned, re.MULTILINE)
    return [
        str(path) for name, version in wanted
        for path in cache.glob(f'{name}_{version.replace(":", "%3a")}_*.deb')
    ]
