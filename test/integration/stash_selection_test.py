# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a tree a stash takes, and what it leaves out, with the real tools."""
from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import Set

from storages import Storage
from trees import describe


def stored(storage: Storage, name: str) -> Set[bytes]:
    """Return the paths that podman mounts for a stash."""
    names = set(describe(storage.mount(f'localhost/{name}')))
    storage.unmount(f'localhost/{name}')
    return names


def test_what_no_layer_can_hold_is_named(storage: Storage, root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / 'var/sock\x1b[31m'))
    (root / 'etc/.wh.gone').touch()
    os.mknod(root / 'var/null', stat.S_IFCHR | 0o600, os.makedev(0, 0))
    refused = storage.kiwi('stash', '--root', str(root), '--strict', check=False)
    assert refused.returncode == 1
    assert not storage.stashes()
    result = storage.kiwi('stash', '--root', str(root))
    told = result.stdout + result.stderr
    assert 'etc/.wh.gone' in told and 'var/null' in told
    assert 'a socket' in told and '\x1b[31m' not in told
    names = stored(storage, 'small')
    assert b'etc/.wh.gone' not in names and b'etc/hostname' in names


def test_left_out_are_other_file_systems_and_what_kiwi_leaves_out(
    storage: Storage, root: Path
) -> None:
    (root / 'mnt').mkdir()
    (root / 'run/pid').write_text('1')
    (root / 'srv/run').mkdir(parents=True)
    (root / 'srv/run/kept').write_text('1')
    (root / 'var/cache/kiwi').mkdir(parents=True)
    subprocess.run(['mount', '-t', 'tmpfs', 'none', root / 'mnt'], check=True)
    try:
        (root / 'mnt/foreign').touch()
        (root / 'dev/null').touch()
        storage.kiwi('stash', '--root', str(root))
    finally:
        subprocess.run(['umount', root / 'mnt'], check=True)
    names = stored(storage, 'small')
    assert b'srv/run/kept' in names and b'mnt' in names
    assert not {
        b'mnt/foreign', b'dev/null', b'run/pid', b'var/cache/kiwi',
        b'image/stash.json'
    } & names
