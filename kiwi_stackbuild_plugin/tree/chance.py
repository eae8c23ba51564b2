# SPDX-License-Identifier: GPL-3.0-or-later
"""What package managers and kiwi leave in a root as chance: --reproducible.

One table. Directories stay in any case, for programs want them; found by two
prepares of one description, see doc/source/reproducible.rst.
"""
from __future__ import annotations

import os
import re
import stat
from typing import Dict, FrozenSet, Iterator, NamedTuple, Pattern, Tuple

from kiwi_stackbuild_plugin.tree.opening import open_below
from kiwi_stackbuild_plugin.tree.scan import EVERYTHING, Exclusion, scan


class Kind(NamedTuple):
    """One kind of chance: a name for people, and the whole paths of its files."""

    name: str
    expression: str


KINDS: Tuple[Kind, ...] = (
    Kind('logs', r'var/log/(?!README$).+'),
    Kind('histories of package managers',
         r'var/lib/dnf/history(\.sqlite.*|/.+)|var/lib/yum/history/.+'
         r'|usr/lib/sysimage/libdnf5/transaction_history\.sqlite.*'
         r'|var/lib/zypp/AutoInstalled'),
    Kind('caches',
         r'var/cache/ldconfig/aux-cache|var/cache/apt/[^/]+\.bin'
         r'|var/cache/apt/archives/[^/]+\.deb|var/lib/apt/lists/[^/]+_[^/]+'
         r'|var/cache/(dnf|yum|zypp|libdnf5|PackageKit|pacman/pkg|man|fontconfig)/.+'
         # what memory SQLite shares; it makes it anew
         r'|(usr/lib/sysimage|var/lib)/rpm/rpmdb\.sqlite-shm'),
    Kind('backup files',
         r'etc/(passwd|group|shadow|gshadow|subuid|subgid)-|var/backups/.+'
         r'|var/lib/dpkg/[^/]+-old|var/cache/debconf/[^/]+-old'),
    Kind('random seeds and identities',
         r'var/lib/(systemd|urandom|misc)/random-seed|var/lib/random-seed'
         r'|(boot/|boot/efi/|efi/)?loader/random-seed|var/lib/dbus/machine-id'
         r'|var/lib/systemd/credential\.secret|var/lib/zypp/AnonymousUniqueId'),
)
#: stored, but empty: systemd then makes one at the first boot, machine-id(5)
EMPTIED: FrozenSet[bytes] = frozenset({b'etc/machine-id'})
_PLACES = (b'var', b'etc', b'boot', b'efi', b'loader', b'usr/lib/sysimage')


def _expression(kind: Kind) -> Pattern[bytes]:
    # the path of a directory ends in a slash, see scan.Exclusion
    return re.compile(rb'(?:%b)(?<!/)\Z' % kind.expression.encode(), re.DOTALL)


def without_chance(exclusion: Exclusion) -> Exclusion:
    """Return an exclusion that leaves out what the table names as well."""
    parts = [] if exclusion.pattern is None else [exclusion.pattern.pattern]
    parts += [_expression(kind).pattern for kind in KINDS]
    return exclusion._replace(pattern=re.compile(
        b'|'.join(b'(?:%b)' % part for part in parts), re.DOTALL
    ))


def count_chance(root_fd: int) -> Iterator[Tuple[str, int]]:
    """Yield what of the table is in a tree: name of the kind, number of entries."""
    expressions = [(kind.name, _expression(kind)) for kind in KINDS]
    counts: Dict[str, int] = {}
    for place in _PLACES:
        for path, mode in _entries(root_fd, place):
            for name, expression in expressions:
                if not stat.S_ISDIR(mode) and expression.match(path):
                    counts[name] = counts.get(name, 0) + 1
                    break
    yield from counts.items()


def _entries(root_fd: int, place: bytes) -> Iterator[Tuple[bytes, int]]:
    try:
        fd = open_below(root_fd, place)
    except OSError:
        return
    try:
        for entry in scan(fd, EVERYTHING):
            yield place + b'/' + entry.path, entry.stat.st_mode
    finally:
        os.close(fd)
