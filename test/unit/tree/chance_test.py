# SPDX-License-Identifier: GPL-3.0-or-later
"""What --reproducible leaves out: by its table, directories never."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from kiwi_stackbuild_plugin.tree.chance import count_chance, without_chance
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import EVERYTHING, Exclusion, scan
from kiwi_stackbuild_plugin.tree.selection import make_exclusion
from zoo import write

LEFT_OUT = {
    'var/log/dpkg.log': 'logs', 'var/log/apt/history.log': 'logs', 'var/log/wtmp': 'logs',
    'var/log/journal/0/system.journal': 'logs', 'var/log/zypp/history': 'logs',
    'var/lib/dnf/history.sqlite': 'histories of package managers',
    'var/lib/dnf/history.sqlite-wal': 'histories of package managers',
    'var/lib/zypp/AutoInstalled': 'histories of package managers',
    'var/cache/ldconfig/aux-cache': 'caches', 'var/cache/apt/pkgcache.bin': 'caches',
    'var/cache/apt/archives/a_1_all.deb': 'caches',
    'var/lib/apt/lists/host_dists_stable_InRelease': 'caches',
    'var/cache/dnf/x/repodata/repomd.xml': 'caches', 'var/cache/zypp/solv/a': 'caches',
    'usr/lib/sysimage/rpm/rpmdb.sqlite-shm': 'caches',
    'etc/passwd-': 'backup files', 'etc/gshadow-': 'backup files',
    'var/lib/dpkg/status-old': 'backup files', 'var/cache/debconf/config.dat-old': 'backup files',
    'var/backups/dpkg.status.0': 'backup files',
    'var/lib/systemd/random-seed': 'random seeds and identities',
    'var/lib/dbus/machine-id': 'random seeds and identities',
    'boot/efi/loader/random-seed': 'random seeds and identities',
}
STAYS = (
    'etc/passwd', 'etc/machine-id', 'etc/mypasswd-', 'var/log/README', 'var/lib/dpkg/status',
    'var/lib/apt/lists/lock', 'var/lib/apt/extended_states', 'var/lib/rpm/rpmdb.sqlite',
    'usr/lib/sysimage/rpm/rpmdb.sqlite-wal', 'var/cache/debconf/config.dat',
    'var/lib/dnf/history', 'srv/var/log/own.log', 'home/user/etc/passwd-', 'usr/share/var/log/x',
    'var/cache/apt/archives/lock', 'var/logs', 'opt/a-old'
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (*LEFT_OUT, *(name for name in STAYS if name != 'var/lib/dnf/history')):
        write(tmp_path / name, b'x')
    (tmp_path / 'var/lib/dnf/history').mkdir()
    (tmp_path / 'var/log/link').symlink_to('dpkg.log')
    write(tmp_path / 'skipped/plain', b'')
    return tmp_path


@pytest.mark.parametrize('exclusion', [
    EVERYTHING, make_exclusion(['/skipped/*', '/skip*/', '/none']),
], ids=['none', 'patterns'])
def test_files_of_the_table_are_left_out(root: Path, exclusion: Exclusion) -> None:
    fd = open_tree(str(root))
    before = {entry.path.decode() for entry in scan(fd, exclusion)}
    after = {entry.path.decode() for entry in scan(fd, without_chance(exclusion))}
    os.close(fd)
    assert before - after == {*LEFT_OUT, 'var/log/link'}
    assert after >= {*STAYS, 'var/log', 'var/log/apt', 'var/cache/dnf/x/repodata'}


def test_what_is_left_out_is_counted(root: Path) -> None:
    kinds = [*LEFT_OUT.values(), 'logs']
    fd = open_tree(str(root))
    assert dict(count_chance(fd)) == {kind: kinds.count(kind) for kind in kinds}
    os.close(fd)


def test_tree_without_chance(tmp_path: Path) -> None:
    write(tmp_path / 'outside/dpkg.log', b'')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root/var').symlink_to('../outside')
    fd = open_tree(str(tmp_path / 'root'))
    assert list(count_chance(fd)) == []
    os.close(fd)
