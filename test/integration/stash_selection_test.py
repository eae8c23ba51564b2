# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a tree a stash takes, and what it leaves out, with the real tools."""
from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from pathlib import Path
from typing import Set

import pytest
from storages import Storage
from trees import describe
from witnesses import import_tree


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
        b'mnt/foreign', b'dev/null', b'var/cache/kiwi',
        b'image/stash.json'
    } & names


def test_custom_patterns_are_those_of_rsync(storage: Storage, root: Path) -> None:
    (root / 'image/exclude_files.yaml').write_text(
        'exclude: [usr/share/*.txt, /opt/, "srv/**/old", image/config.xml]\n'
    )
    for name in (
        'usr/share/top.txt', 'usr/share/doc/pkg/important.txt', 'opt/x', 'srv/a/b/old',
        'srv/old'
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    storage.kiwi('stash', '--root', str(root))
    names = stored(storage, 'small')
    assert {
        b'usr/share/doc/pkg/important.txt', b'srv/old', b'image/config.xml'
    } <= names
    assert not {b'usr/share/top.txt', b'opt', b'srv/a/b/old'} & names


TMPDIRS = [
    ('tbz', '<type image="tbz"/>'),
    ('oci', '<type image="oci"><containerconfig name="c"/></type>'),
    ('oci kept', '<type image="oci" ensure_empty_tmpdirs="false">'
                 '<containerconfig name="c"/></type>'),
    ('docker kept', '<type image="docker" ensure_empty_tmpdirs="false">'
                    '<containerconfig name="c"/></type>'),
    ('ext4', '<type image="ext4"/>')
]


@pytest.mark.parametrize('kind', [xml for _, xml in TMPDIRS], ids=[name for name, _ in TMPDIRS])
def test_run_and_tmp_reach_kiwi_as_they_were(
    storage: Storage, root: Path, tmp_path: Path, kind: str
) -> None:
    """Which of it an image gets is kiwi's business: its own root has all of it."""
    config = root / 'image/config.xml'
    config.write_text(re.sub(r'<type image="[^>]*/>', kind, config.read_text()))
    assert kind in config.read_text()
    for name in ('run/svc/socket.d/x', 'tmp/keep', 'tmp/.hidden', 'run/.lock'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    storage.kiwi('stash', '--root', str(root))
    there = describe(import_tree(storage, tmp_path / 'imported'))
    own = describe(root)
    for path in own:
        if path.startswith((b'run', b'tmp')):
            assert there[path] == own[path]
    assert b'run/.lock' in there and b'tmp/.hidden' in there
