# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that users of comparable tools met, each held here as a test.

Those that belong to a subject have their test with it: doc/source/promises.rst
names them all.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import List

import pytest
from storages import Storage, image_root
from trees import CONFIG, describe

BEFORE_1970 = -123_456_789_000_000_001


def layer_size(storage: Storage, name: str) -> int:
    return int(storage.stash(name)['layer_size'])


def test_times_are_kept_to_the_nanosecond(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    """Rounded times made every file come again in each layer."""
    times = {
        'etc/half': 1_600_000_000_500_000_000, 'etc/most': 1_600_000_000_999_999_999,
        'etc/old': BEFORE_1970, 'etc/zero': 0, 'etc/future': 9_999_999_999_000_000_001
    }
    for name, moment in times.items():
        (root / name).write_text(name)
        os.utime(root / name, ns=(moment, moment))
    storage.kiwi('stash', '--root', str(root))
    storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out'),
        options=fast
    )
    rebuilt = image_root(tmp_path / 'out')
    assert {name: (rebuilt / name).stat().st_mtime_ns for name in times} == times
    result = storage.kiwi('stash', '--root', str(root))
    assert 'nothing changed' in result.stdout + result.stderr


@pytest.mark.parametrize(('name', 'stored'), [
    ('a', 'a'), ('UPPER', 'upper'), ('a.b_c-d', 'a.b_c-d'), ('x' * 245, 'x' * 245)
])
def test_names_that_work_everywhere_work_here(
    storage: Storage, root: Path, name: str, stored: str
) -> None:
    """One letter was refused, upper case passed and failed later in podman."""
    (root / 'image/config.xml').write_text(CONFIG.format(schema='7.4', name=name))
    storage.kiwi('stash', '--root', str(root))
    assert storage.stash(stored)['tag'] == 'latest'
    storage.run('podman', 'image', 'exists', f'localhost/{stored}:latest')


def test_holes_take_no_room_in_a_layer(storage: Storage, root: Path) -> None:
    with open(root / 'etc/holes', 'wb') as sparse:
        sparse.truncate(64 << 20)
    storage.kiwi('stash', '--root', str(root))
    assert layer_size(storage, 'small') < 65536
    mounted = storage.mount('localhost/small')
    assert (mounted / 'etc/holes').stat().st_size == 64 << 20
    storage.unmount('localhost/small')


def test_stacked_stashes_keep_links_apart_and_deletions(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    """Writing in place changed a linked file too; what was deleted came back."""
    (root / 'etc/gone').write_text('of the first')
    (root / 'etc/gone.d').mkdir()
    (root / 'etc/gone.d/file').write_text('')
    storage.kiwi('stash', '--root', str(root))
    tool = (root / 'usr/bin/tool').read_bytes()
    (root / 'usr/bin/tool').unlink()
    (root / 'usr/bin/tool').write_bytes(b'another')
    (root / 'etc/gone').unlink()
    (root / 'etc/gone.d/file').unlink()
    (root / 'etc/gone.d').rmdir()
    storage.kiwi('stash', '--root', str(root), '--container-name', 'two')
    (root / 'etc/three').write_text('')
    storage.kiwi('stash', '--root', str(root), '--container-name', 'three')
    for number, names in enumerate((['small', 'two'], ['small', 'two', 'three'])):
        target = tmp_path / f'out{number}'
        storage.kiwi(
            'stackbuild', *(f'--stash={name}' for name in names),
            '--target-dir', str(target), options=fast
        )
        built = image_root(target)
        assert (built / 'usr/bin/tool').read_bytes() == b'another'
        assert (built / 'usr/bin/tool2').read_bytes() == tool
        assert not (built / 'etc/gone').exists()
        assert not (built / 'etc/gone.d').exists()
        assert (built / 'etc/three').exists() == ('three' in names)


def test_nothing_of_the_tree_is_touched_by_a_stash(storage: Storage, root: Path) -> None:
    before = describe(root)
    os.chmod(root / 'image', 0o555)
    before[b'image'] = describe(root)[b'image']
    for _ in range(2):
        storage.kiwi('stash', '--root', str(root))
        assert describe(root, ('image/stash.json',)) == before
