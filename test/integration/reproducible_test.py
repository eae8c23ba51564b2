# SPDX-License-Identifier: GPL-3.0-or-later
"""The same tree is the same image, wherever it is stashed."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
from storages import KIWI, Storage, remove_storage
from trees import describe
from witnesses import stash
from zoo import make_zoo, set_time, write


def shuffled(root: Path, target: Path) -> Path:
    """Copy a tree so that its files are made in another order."""
    target.mkdir()
    names = sorted(root.iterdir(), reverse=True)
    subprocess.run(['cp', '-a', *names, target], check=True)
    shutil.copystat(root, target)
    status = root.stat()
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)
    set_time(target, root.stat().st_mtime_ns)
    return target


EPOCH = {'SOURCE_DATE_EPOCH': '1600000000'}


@pytest.fixture
def second_storage(tmp_path: Path, storage: Storage) -> Iterator[Storage]:
    """Give a storage for another machine."""
    own = Storage(tmp_path / 'second', storage.temp_dir)
    yield own
    remove_storage(own.where)


@pytest.mark.parametrize('epoch', [EPOCH, {}], ids=['epoch', 'no-epoch'])
def test_same_tree_is_the_same_image(
    storage: Storage, second_storage: Storage, root: Path, tmp_path: Path,
    epoch: Dict[str, str]
) -> None:
    """On two machines' worth of inode order, umask, locale, zone and processors."""
    make_zoo(root / 'zoo')
    other = shuffled(root, tmp_path / 'other')
    assert describe(other) == describe(root)
    old_mask = os.umask(0o077)
    odd = {**epoch, 'LC_ALL': 'C', 'TZ': 'Asia/Tokyo', 'LANG': 'de_DE@euro'}
    cpu = str(min(os.sched_getaffinity(0)))
    ids, configs = [], []
    try:
        for step in ('one', 'two'):
            for tree in (root, other):
                set_time(write(tree / f'etc/{step}', step.encode()), 5)
                (tree / f'etc/{step}').chmod(0o644)
                set_time(tree / 'etc', 6)
            stash(storage, root, env=epoch)
            second_storage.run(
                'taskset', '--cpu-list', cpu, KIWI, '--temp-dir',
                str(storage.temp_dir), 'system', 'stash', '--root', str(other), env=odd
            )
            pair = [each.stash('small')['id'] for each in (storage, second_storage)]
            ids.append(pair)
            configs.append([
                undated(each) for each in (storage, second_storage)
            ])
    finally:
        os.umask(old_mask)
    assert all(one == two for one, two in configs)
    if epoch:
        assert all(one == two for one, two in ids)


def undated(storage: Storage) -> Any:
    config = json.loads(storage.run(
        'skopeo', 'inspect', '--config', '--raw',
        'containers-storage:localhost/small:latest'
    ).stdout)
    created = config.pop('created')
    labels = config['config']['Labels']
    assert labels.pop('org.opencontainers.image.created') == created
    # the digest of a base is that of its manifest, which has the date in it
    labels.pop('org.opencontainers.image.base.digest')
    for entry in config['history']:
        entry.pop('created')
    return config
