# SPDX-License-Identifier: GPL-3.0-or-later
"""system stash_list with the real podman."""
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from storages import Storage
from trees import make_root


def test_list_is_empty_at_first(storage: Storage) -> None:
    assert storage.stashes() == []
    assert storage.kiwi('stash', '--list').stdout == storage.kiwi('stash_list').stdout
    assert 'NAME' in storage.kiwi('stash_list', '--format=table').stdout


def test_list_has_what_the_contract_says(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    stash = storage.stashes()[0]
    assert list(stash) == [
        'name', 'tag', 'id', 'digest', 'created', 'size', 'layer_size', 'layers',
        'base', 'description', 'type', 'profiles', 'packagemanager', 'author'
    ]
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', stash['created'])
    assert stash['description'] is True
    assert stash['author'] == 'Test Author'
    table = storage.kiwi('stash_list', '--format=table', 'small:latest').stdout
    assert re.search(r'^small +latest +' + stash['id'][:12], table, re.MULTILINE)


def test_one_name_is_listed_with_its_chain(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/role').write_text('web')
    (root / 'etc/hostname').unlink()
    storage.kiwi('stash', '--root', str(root))
    stash = storage.stash('small:latest')
    first, second = stash['chain']
    assert first['added'] > 5
    assert (first['changed'], first['removed']) == (0, 0)
    counts = second['added'], second['changed'], second['removed']
    assert counts == (1, 1, 1), 'role, the directory it is in, hostname'
    assert second['size'] == stash['layer_size']
    assert second['author'] == 'Test Author'
    assert second['created'] == stash['created']
    table = storage.kiwi('stash_list', '--format=table', 'small').stdout
    assert re.search(r' 1 +1 +1 +Test Author$', table, re.MULTILINE)


def test_list_knows_the_older_plugin_and_not_descendants(
    storage: Storage, root: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    for name, label in (('older', 'io.osinside.kiwi.meta=KIWI'), ('foreign', 'a=b')):
        storage.run(
            'podman', 'import', '--change', f'LABEL {label}',
            str(_tar(root)), f'localhost/{name}'
        )
    names = [stash['name'] for stash in storage.stashes()]
    assert names == ['older', 'small']
    assert storage.stash('older')['layer_size'] > 0


def _tar(root: Path) -> Path:
    archive = root.parent / 'tree.tar'
    subprocess.run(['tar', '-cf', archive, '-C', root, '.'], check=True)
    return archive


def test_hundred_stashes_are_listed_in_two_calls(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    storage.run('podman', 'tag', 'localhost/small', *(
        f'localhost/small:v{number}' for number in range(100)
    ))
    log = tmp_path / 'calls'
    fake = tmp_path / 'bin'
    fake.mkdir()
    for tool in ('podman', 'skopeo'):
        real = subprocess.run(
            ['which', tool], check=True, capture_output=True, text=True
        ).stdout.strip()
        (fake / tool).write_text(f'#!/bin/sh\necho {tool} >> {log}\nexec {real} "$@"\n')
        (fake / tool).chmod(0o755)
    found = storage.kiwi(
        'stash_list', '--format=json', env={'PATH': f'{fake}:{os.environ["PATH"]}'}
    )
    assert len(json.loads(found.stdout)['stashes']) == 101
    assert len(log.read_text().splitlines()) <= 2


def test_two_roots_share_a_storage(storage: Storage, tmp_path: Path) -> None:
    for name in ('one', 'two'):
        storage.kiwi('stash', '--root', str(make_root(tmp_path / name, name)))
    assert [stash['name'] for stash in storage.stashes()] == ['one', 'two']
