# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored stashes are read again: what is damaged is named, and nothing is built on it."""
from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
from killing import layers_of_no_image
from storages import Storage
from trees import describe

OURS = ('image/stash.json',)


class VfsStorage(Storage):
    """A storage whose driver copies."""

    DRIVER = 'vfs'


def check(storage: Storage, *words: str, status: int = 0) -> List[Dict[str, Any]]:
    """Return what "stash_list --check" says of each stash."""
    result = storage.kiwi('stash_list', '--format=json', *(words or ['--check']), check=False)
    assert result.returncode == status, (result.stdout, result.stderr)
    found: List[Dict[str, Any]] = json.loads(result.stdout[result.stdout.index('{\n'):])['stashes']
    return found


def flip(storage: Storage, pattern: str) -> Path:
    """Flip a bit of a file in the storage; size and time stay."""
    path, = sorted((storage.where / 'graph').glob(pattern))
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return path


@pytest.mark.parametrize(('storage', 'pattern'), [
    (Storage, 'overlay/*/diff/usr/bin/tool'), (VfsStorage, 'vfs/dir/*/usr/bin/tool')
], indirect=['storage'])
def test_flipped_bit_is_named(storage: Storage, root: Path, pattern: str) -> None:
    storage.kiwi('stash', '--root', str(root))
    assert [one['state'] for one in check(storage)] == ['whole']
    flip(storage, pattern)
    (found,) = check(storage, status=1)
    assert found['state'] == 'damaged' and (found['layers'], found['read']) == (1, 1)
    assert {one['path'] for one in found['damage']} <= {'usr/bin/tool', 'usr/bin/tool2'}
    table = storage.kiwi('stash_list', '--check', '--format=table', check=False)
    assert table.returncode == 1
    assert re.search(r'\n  layer [0-9a-f]{12}: usr/bin/tool2?: other content', table.stdout)
    assert '1 of 1 stashes are damaged: small:latest' in table.stdout + table.stderr


def test_nothing_is_built_on_damage(storage: Storage, root: Path, tmp_path: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/second').write_text('2')
    storage.kiwi('stash', '--root', str(root))
    flip(storage, 'overlay/*/diff/etc/second')
    check(storage, status=1)
    refused = storage.kiwi(
        'stackbuild', '--stash=small', f'--target-dir={tmp_path}/target', check=False
    )
    assert refused.returncode == 1 and 'is damaged, as stash_list --check' in (
        refused.stdout + refused.stderr
    )
    asked = storage.kiwi('stash', '--root', str(root), '--base=small', check=False)
    assert asked.returncode == 1 and 'podman rmi --force localhost/small' in (
        asked.stdout + asked.stderr
    )
    said = storage.kiwi('stash', '--root', str(root))
    assert 'localhost/small:latest is no base: layer' in said.stdout + said.stderr
    assert storage.stash('small')['layers'] == 1
    (new,) = check(storage, '--check', 'small:latest')
    assert new['state'] == 'whole'
    path = storage.mount('localhost/small')
    assert describe(path, OURS) == describe(root, OURS)
    storage.unmount('localhost/small')


def test_damaged_layer_is_not_used_again(storage: Storage, root: Path) -> None:
    """The same tree makes the same layer, which the storage has already."""
    storage.kiwi('stash', '--root', str(root))
    flip(storage, 'overlay/*/diff/usr/bin/tool')
    check(storage, status=1)
    refused = storage.kiwi('stash', '--root', str(root), check=False)
    assert refused.returncode == 1 and 'podman rmi --force' in refused.stdout + refused.stderr
    storage.run('podman', 'rmi', '--force', 'localhost/small')
    storage.kiwi('stash', '--root', str(root))
    assert [one['state'] for one in check(storage)] == ['whole']


def test_slices_read_each_layer_once(storage: Storage, root: Path) -> None:
    for number in range(4):
        (root / 'etc/number').write_text(str(number))
        storage.kiwi('stash', '--root', str(root), f'--tag=v{number}')
    read = [
        next(one['read'] for one in check(storage, f'--check={number}/3') if one['tag'] == 'v3')
        for number in (1, 2, 3)
    ]
    assert sum(read) == 4


@pytest.mark.parametrize(('words', 'why'), [
    (['--check=0/3'], 'is no slice'), (['--check=4/3'], 'is no slice'),
    (['--check=x'], 'is no slice'), (['--check=1'], 'is no slice'), (['--check='], 'is no slice'),
    (['--check=1/2', '--diff=a', 'b'], 'does not go with --diff'),
    (['--check', '--remote=h'], 'does not go with --remote'),
    (['--check', 'none'], "--check 'none': no such stash")
])
def test_wrong_words(storage: Storage, words: List[str], why: str) -> None:
    result = storage.kiwi('stash_list', *words, check=False)
    assert result.returncode == 1 and why in result.stdout + result.stderr
    assert 'Traceback' not in result.stdout + result.stderr


def test_layer_that_no_run_vouches_for_is_made_anew(storage: Storage, root: Path) -> None:
    """As a cut leaves it: a layer and no image, its files not on the disk."""
    storage.kiwi('stash', '--root', str(root))
    graph = storage.where / 'graph'
    image, = json.loads((graph / 'overlay-images/images.json').read_text())
    layer, = json.loads((graph / 'overlay-layers/layers.json').read_text())
    (graph / 'overlay-images/images.json').write_text('[]')
    notes = graph / 'kiwi-stackbuild/unfinished'
    (notes / image['id']).write_text(json.dumps({'layers': [layer['diff-digest']]}))
    (graph / 'overlay' / layer['id'] / 'diff/usr/bin/tool').write_bytes(b'')
    storage.kiwi('stash', '--root', str(root))
    assert [one['state'] for one in check(storage)] == ['whole']
    assert layers_of_no_image(storage) == set() and list(notes.iterdir()) == []
