# SPDX-License-Identifier: GPL-3.0-or-later
"""The same tree is the same image, wherever it is stashed."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from storages import KIWI, Storage, remove_storage
from trees import describe
from witnesses import import_tree, stash
from zoo import holes, make_sparse, make_zoo, set_time, write


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


COPIERS = {
    'tar': 'tar -C "$1" --xattrs --acls -cf - . | tar -C "$2" --xattrs --acls -xpf -',
    'tar --sparse': 'tar -C "$1" --xattrs -Scf - . | tar -C "$2" --xattrs -xpf -',
    'cp --sparse=always': 'cp -a --sparse=always "$1/." "$2"',
    'cp --sparse=never': 'cp -a --sparse=never "$1/." "$2"',
}
#: how a file system is made, and what else it takes; None is where we are
FILE_SYSTEMS = {
    'here': None, 'ext4': ['mkfs.ext4', '-q', '-b', '1024'], 'xfs': ['mkfs.xfs', '-q'],
    'btrfs': ['mkfs.btrfs', '-q'],
}


@contextmanager
def file_system(place: Path, kind: str) -> Iterator[Path]:
    """Give a directory on a file system of a kind, of its own if it has to be."""
    make = FILE_SYSTEMS[kind]
    place.mkdir()
    if make is None:
        yield place
        return
    image = place.with_suffix('.image')
    with open(image, 'wb') as file:
        file.truncate(400 << 20)
    subprocess.run([*make, image], check=True)
    subprocess.run(['mount', '-o', 'loop', image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(['umount', place], check=True)


def make_holes(root: Path) -> Path:
    """Files with holes that matter and with some that do not, links to them."""
    make_sparse(root / 'var/lastlog', 3 << 20, {1 << 20: b'x'})
    make_sparse(root / 'var/small', 1 << 16, {0: b'x'})
    make_sparse(root / 'var/mixed', 1 << 21, dict.fromkeys(range(0, 1 << 21, 8192), b'x'))
    write(root / 'var/zeros', bytes(5 << 20))
    os.link(root / 'var/lastlog', root / 'var/linked')
    return root


@pytest.mark.parametrize(('kind', 'copiers'), [
    ('here', list(COPIERS)), ('ext4', ['tar']),
    ('xfs', ['cp --sparse=never']), ('btrfs', ['cp --sparse=always'])
])
def test_copies_of_a_tree_are_the_same_image(
    storage: Storage, root: Path, tmp_path: Path, kind: str, copiers: List[str]
) -> None:
    """However copier and file system allocate; and what matters comes back."""
    make_holes(root)
    with file_system(tmp_path / 'disk', kind) as disk:
        trees = {'first': root}
        for name in copiers:
            trees[name] = disk / name.replace(' ', '')
            trees[name].mkdir()
            subprocess.run(['bash', '-c', COPIERS[name], 'x', root, trees[name]], check=True)
        stash(storage, root, env=EPOCH)
        first = storage.stash('small')['id']
        assert 'nothing changed' in stash(storage, trees[copiers[-1]], env=EPOCH)
        for name in copiers:
            stash(storage, trees[name], '--no-base', env=EPOCH)
            assert storage.stash('small')['id'] == first, name
    if kind == 'here':
        back = import_tree(storage, tmp_path / 'back')
        # once written, a file that is cut up has blocks for the list of its pieces
        most = (1 << 20) - (1 << 16)
        assert {path.name for path in (back / 'var').iterdir() if holes(path) >= most} == {
            'lastlog', 'linked', 'mixed', 'zeros'
        }


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
