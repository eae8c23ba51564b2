# SPDX-License-Identifier: GPL-3.0-or-later
"""Variants of a Debian root, each a description, and the matrix file of all of them."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Sequence

from apt_sources import AptRepository
from debian_root import RootPlan, write_description
from lxml import etree

#: what the variants are for, so to say
SETS = (
    ('nginx-light',), ('redis-server',), ('haproxy',), ('memcached',),
    ('lighttpd',), ('openssh-server',), ('chrony',), ('rsyslog', 'logrotate'),
    ('git',), ('curl', 'jq'), ('postgresql-client',), ('mariadb-client',),
    ('sqlite3', 'php-cli'), ('nftables', 'iproute2'), ('lvm2',), ('bind9-dnsutils',),
    ('vim-tiny', 'tmux'), ('strace', 'lsof'), ('dnsmasq-base',), ('rsync', 'borgbackup'),
)
#: what each is built as: an archive, which every kiwi makes in the same way
TYPE = 'tbz'
BASE = 'base'


def variant_name(number: int) -> str:
    """Name a variant, its stash and its description."""
    return f'variant-{number:02d}'


def write_variant(directory: Path, number: int, repository: AptRepository) -> None:
    """Write the description of a variant: its packages, and a file of its own.

    It has nothing to be bootstrapped, since kiwi's own stackbuild does that again
    in a root that has it.
    """
    plan = RootPlan(SETS[number], variant_name(number), (('image', TYPE),))
    path = Path(write_description(str(directory), plan, repository)) / 'config.xml'
    document = etree.parse(str(path))
    for section in document.findall('packages'):
        if section.get('type') == 'bootstrap':
            section.getparent().remove(section)
    for setting in document.iter('containerconfig'):
        setting.getparent().remove(setting)
    document.write(str(path))
    etc = directory / 'root/etc'
    etc.mkdir(parents=True)
    (etc / 'fleet.conf').write_text(
        f'role = variant {number}\npackages = {" ".join(SETS[number])}\n', encoding='ascii'
    )


def write_matrix(path: Path, count: int, registry: str, options: Sequence[str]) -> None:
    """Write the one file that all variants are built by, descriptions beside it.

    :param registry: host and prefix that each is pushed to
    :param options: further options of each cell, as "--name=value"
    """
    more = dict(word[2:].split('=', 1) for word in options)
    path.write_text(json.dumps({
        'target-dir': 'out',
        'defaults': {
            'stash': BASE, 'description': '${role}', 'stash-as': '${role}',
            'export': f'docker://{registry}/${{role}}', **more
        },
        'axes': {'role': [variant_name(number) for number in range(count)]}
    }, indent=2), encoding='ascii')


def fetch_packages(root: str, count: int, archives: Path) -> None:
    """Download what the first variants need over and above a root, by this machine's apt.

    :param archives: where kiwi's own apt looks for packages in its cache
    """
    (archives / 'partial').mkdir(parents=True, exist_ok=True)
    for names in SETS[:count]:
        subprocess.run([
            'apt-get', '-o', f'Dir::State::status={root}/var/lib/dpkg/status',
            '-o', f'Dir::Cache::archives={archives}', '-o', 'APT::Sandbox::User=root',
            '-o', 'APT::Install-Recommends=false', '-o', 'Debug::NoLocking=true',
            '-y', '-q', '--download-only', 'install', *names
        ], capture_output=True, check=True, stdin=subprocess.DEVNULL)
