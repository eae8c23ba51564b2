# SPDX-License-Identifier: GPL-3.0-or-later
"""stash --clamp-mtime --reproducible: one description, one image.

The trees are made by hand; bench/run does it with those that kiwi prepares.
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path

from storages import Storage
from trees import describe, make_root
from witnesses import RECORD, import_tree, mounted, stash
from zoo import set_time, write

EPOCH = 1_600_000_000
ENV = {'SOURCE_DATE_EPOCH': str(EPOCH)}
BOTH = ('--clamp-mtime', '--reproducible')
MTIME, CONTENT = 4, 5
#: what differs between two prepares; not all of it is in both
CHANCE = (
    'var/log/dpkg.log', 'var/log/apt/term.log', 'var/cache/ldconfig/aux-cache',
    'etc/passwd-', 'var/lib/dbus/machine-id', 'var/lib/systemd/random-seed',
    'var/lib/dpkg/status-old', 'var/lib/dnf/history.sqlite'
)


def prepare(where: Path, day: int) -> Path:
    """Make a tree on a day, with what chance leaves in it."""
    if where.exists():
        shutil.rmtree(where)
    root = make_root(where)
    for number, name in enumerate(CHANCE):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number != day:
            path.write_text(f'{name} {day}' * (day + 1))
    (root / 'etc/machine-id').write_text(f'{day:032x}\n')
    set_time(write(root / 'usr/share/old', b'x'), 10**18)
    for path in (*root.rglob('*'), root):
        if path.name not in ('old', 'hostname') and not path.is_symlink():
            set_time(path, (EPOCH + day * 86_400) * 10**9 + 9)
    return root


def test_two_prepares_are_the_same_image(storage: Storage, tmp_path: Path) -> None:
    root, ids = tmp_path / 'root', []
    for day, words in ((1, ['--no-base']), (2, ['--no-base']), (3, [])):
        told = stash(storage, prepare(root, day), *BOTH, *words, env=ENV)
        assert ' of logs' in told and ' of backup files' in told
        assert 'Stored empty: etc/machine-id' in told
        ids.append(storage.stash('small')['id'])
    assert len(set(ids)) == 1 and 'nothing changed' in told
    there, here = mounted(storage), describe(root, RECORD)
    assert {path.decode() for path in here.keys() - there.keys()} == {
        name for name in CHANCE if (root / name).exists()
    }
    assert there[b'etc/machine-id'][CONTENT][0] == 0
    for path, entry in there.items():
        assert entry[MTIME] == min(here[path][MTIME], EPOCH * 10**9), path
    back = import_tree(storage, tmp_path / 'back')
    assert back.stat().st_mtime_ns == EPOCH * 10**9
    assert 'nothing changed' in stash(storage, back, *BOTH, env=ENV)


def test_next_stash_knows_what_was_left_out(storage: Storage, tmp_path: Path) -> None:
    """By index or by mount; with these options nothing changed, without them it did."""
    root = prepare(tmp_path / 'root', 1)
    stash(storage, root, *BOTH, '--verify', env=ENV)
    assert 'nothing changed' in stash(storage, root, *BOTH, '--verify', env=ENV)
    storage.forget_indexes()
    assert 'nothing changed' in stash(storage, root, *BOTH, '--tag=v2', env=ENV)
    stash(storage, root, '--verify')
    assert mounted(storage) == describe(root, RECORD)
    # and a base with logs loses them
    told = stash(storage, root, *BOTH, '--verify', env=ENV)
    assert f' {len(CHANCE) - 1} removed' in told
    there = {path.decode() for path in mounted(storage)}
    assert not there & set(CHANCE) and {'var/log/apt', 'var/cache/ldconfig'} <= there


def test_bad_moments_are_refused(storage: Storage, root: Path) -> None:
    result = storage.kiwi(
        'stash', f'--root={root}', '--clamp-mtime', env={'SOURCE_DATE_EPOCH': ''}, check=False
    )
    assert result.returncode == 1
    assert '--clamp-mtime: SOURCE_DATE_EPOCH is not set' in result.stderr
    assert 'Traceback' not in result.stderr
    assert not os.path.lexists(root / 'image/stash.json')
