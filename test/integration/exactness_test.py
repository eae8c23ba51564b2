# SPDX-License-Identifier: GPL-3.0-or-later
"""Tree to stash and back, with what podman and umoci make of it as witnesses."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import pytest
from mutations import draw_operations, mutate
from storages import KIWI, Storage, remove_storage
from trees import describe, describe_entry
from zoo import (
    MOMENTS, NAMES, holes, make_deep, make_sparse, make_zoo, set_time, write
)

IMPORTER = Path(__file__).resolve().parents[1] / 'importer.py'
RECORD = ('image/stash.json',)
MTIME, XATTRS = 4, 7
#: what containers/storage sets to 0; what Go cannot hold in nanoseconds
LOST_TIMES = {
    name for name, moment in MOMENTS.items() if not 0 <= moment < 2**63
}
#: what no PAX record can hold
LOST_XATTRS = {'user.empty', 'user.with=equals'}


@pytest.fixture
def zoo(root: Path) -> Path:
    """Give a root tree with everything in it."""
    make_zoo(root / 'zoo')
    os.setxattr(root, 'user.root', b'of the root')
    os.setxattr(root, 'trusted.root', b'\0')
    os.chown(root, 12, 2**31)
    root.chmod(0o3751)
    set_time(root, MOMENTS['before-1970'])
    return root


def stash(storage: Storage, root: Path, *words: str, **more: Any) -> str:
    result = storage.kiwi('stash', '--root', str(root), *words, **more)
    return (result.stdout + result.stderr).strip()


def import_tree(storage: Storage, target: Path, *names: str) -> Path:
    storage.run(
        sys.executable, str(IMPORTER), str(storage.temp_dir),
        str(target), *(names or ('small',))
    )
    return target


def unpack(storage: Storage, where: Path, name: str = 'small') -> Path:
    """Let umoci unpack a stash that skopeo exported."""
    where.mkdir()
    storage.run(
        'skopeo', 'copy', '--quiet', f'containers-storage:localhost/{name}',
        f'oci:{where}/layout:x'
    )
    storage.run(
        'umoci', 'unpack', '--image', f'{where}/layout:x', str(where / 'bundle')
    )
    return where / 'bundle/rootfs'


def mounted(storage: Storage, name: str = 'small') -> Dict[bytes, Tuple[Any, ...]]:
    tree = describe(storage.mount(f'localhost/{name}'))
    storage.unmount(f'localhost/{name}')
    return tree


def losses(
    wanted: Dict[bytes, Tuple[Any, ...]], found: Dict[bytes, Tuple[Any, ...]]
) -> Dict[str, str]:
    """Return what differs, which may be times and attributes only."""
    assert wanted.keys() == found.keys()
    differing: Dict[str, str] = {}
    for path, one in wanted.items():
        two = found[path]
        assert one[:MTIME] == two[:MTIME] and one[5:XATTRS] == two[5:XATTRS], path
        if one[MTIME] != two[MTIME]:
            differing[os.fsdecode(path)] = 'time'
        if one[XATTRS] != two[XATTRS]:
            lost = dict(one[XATTRS]).keys() - dict(two[XATTRS]).keys()
            assert lost and dict(two[XATTRS]).items() <= dict(one[XATTRS]).items()
            differing[os.fsdecode(path)] = ' '.join(sorted(lost))
    return differing


def test_everything_comes_back(storage: Storage, zoo: Path, tmp_path: Path) -> None:
    before, root_before = describe(zoo), describe_entry(os.fsencode(zoo))
    assert 'left out' not in stash(storage, zoo)
    assert describe(zoo, RECORD) == before
    back = import_tree(storage, tmp_path / 'back')
    assert describe(back) == before
    assert describe_entry(os.fsencode(back)) == root_before
    for name in ('hole', 'all', 'end', 'zeros-but-not-sparse'):
        sparse = f'zoo/sparse/{name}'
        assert holes(back / sparse) == holes(zoo / sparse), name
    # and neither the tree nor what was imported differs from what is stored
    assert 'nothing changed, no new layer' in stash(storage, zoo)
    assert 'nothing changed, no new layer' in stash(storage, back)


def test_what_the_storage_does_not_keep_is_known(
    storage: Storage, zoo: Path, tmp_path: Path
) -> None:
    """This is the list in doc/source/exactness.rst."""
    before = describe(zoo)
    stash(storage, zoo)
    attributes = dict.fromkeys(
        ('zoo/xattrs/file', 'zoo/xattrs/dir'), ' '.join(sorted(LOST_XATTRS))
    )
    kinds = ('', 'dir-', 'link-', 'fifo-')
    in_storage = {
        f'zoo/times/{kind}{name}': 'time' for kind in kinds for name in LOST_TIMES
        # the storage keeps a link's time as long as Go can say it
        if not (kind == 'link-' and MOMENTS[name] < 0)
    }
    hard = {f'zoo/links/{name}/setuid': 'time' for name in ('a', 'c')}
    assert losses(before, mounted(storage)) == {**attributes, **in_storage, **hard}
    assert losses(before, describe(unpack(storage, tmp_path / 'umoci'))) == {
        **attributes, **{f'zoo/times/{kind}after-2262': 'time' for kind in kinds}
    }


def test_ten_layers_make_the_tree(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    for number in range(10):
        mutate(root / 'usr', draw_operations(number, 40))
        stash(storage, root, '--verify')
        assert mounted(storage) == describe(root, RECORD)
    layers = storage.stash('small')['layers']
    assert layers == 10
    wanted = describe(root, RECORD)
    assert describe(unpack(storage, tmp_path / 'umoci')) == wanted
    back = import_tree(storage, tmp_path / 'back')
    assert describe(back) == wanted
    mutate(back / 'usr', draw_operations(99, 40))
    stash(storage, back)
    assert mounted(storage) == describe(back, RECORD)
    assert storage.stash('small')['layers'] == 11


def test_small_change_of_a_big_tree_is_a_small_layer(
    storage: Storage, root: Path
) -> None:
    for folder in range(1160):
        where = root / f'usr/share/{folder % 60}/{folder}'
        where.mkdir(parents=True)
        for number in range(49):
            (where / f'file{number}').write_text('some')
    changed = root / 'usr/share/7/7/file7'
    stash(storage, root)
    for number in range(2, 11):
        changed.write_text(f'{number:05}')
        stash(storage, root)
        told = storage.stash('small')
        assert told['layers'] == number
        assert told['layer_size'] <= 2048, 'the promise is 16 KiB'
    assert changed.read_text() == '00010'


def test_long_paths(storage: Storage, root: Path, tmp_path: Path) -> None:
    """Whole paths are longer than PATH_MAX here, in the storage just not."""
    limit = 4095 - len(f'{storage.where}/graph/overlay//diff/') - 64
    make_deep(root / 'deep', limit - len('deep/'))
    before = describe(root)
    assert max(map(len, before)) == limit
    make_deep(root / 'deeper', limit + 1 - len('deeper/'))
    told = stash(storage, root)
    assert told.count('left out: deeper/') == 1
    assert f'the path has {limit + 1} bytes, the storage takes {limit}' in told
    found = describe(import_tree(storage, tmp_path / ('b' * 50)))
    assert {
        path: entry for path, entry in found.items() if not path.startswith(b'deeper')
    } == before


def test_any_name_can_be_deleted(storage: Storage, zoo: Path) -> None:
    """Among them those too long to be a whiteout's file name."""
    stash(storage, zoo)
    shutil.rmtree(zoo / 'zoo/dirs')
    for path in (zoo / 'zoo/names').iterdir():
        path.unlink()
    told = stash(storage, zoo)
    assert f'0 added, 2 changed, {len(NAMES) + 1} removed' in told
    assert set(mounted(storage)) == set(describe(zoo, RECORD))


def test_more_than_8_gib(storage: Storage, root: Path, tmp_path: Path) -> None:
    """The size is too large for a tar header of 1988."""
    big = root / 'var/big'
    make_sparse(big, 2**33 + 5, {2**33: b'end', 2**20: b'begin'})
    stash(storage, root)
    told = storage.stash('small')
    assert told['layer_size'] < 2**20, 'holes are next to nothing in a layer'
    back = import_tree(storage, tmp_path / 'back') / 'var/big'
    assert back.stat().st_size == 2**33 + 5
    assert back.stat().st_blocks * 512 < 2**20
    assert back.stat().st_mtime_ns == big.stat().st_mtime_ns
    subprocess.run(['cmp', '--bytes=2097152', big, back], check=True)
    subprocess.run(['cmp', '--ignore-initial=8589000000', big, back], check=True)


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
    storage: Storage, second_storage: Storage, zoo: Path, tmp_path: Path,
    epoch: Dict[str, str]
) -> None:
    """On two machines' worth of inode order, umask, locale, zone and processors."""
    other = shuffled(zoo, tmp_path / 'other')
    assert describe(other) == describe(zoo)
    old_mask = os.umask(0o077)
    odd = {**epoch, 'LC_ALL': 'C', 'TZ': 'Asia/Tokyo', 'LANG': 'de_DE@euro'}
    cpu = str(min(os.sched_getaffinity(0)))
    ids, configs = [], []
    try:
        for step in ('one', 'two'):
            for tree in (zoo, other):
                set_time(write(tree / f'etc/{step}', step.encode()), 5)
                (tree / f'etc/{step}').chmod(0o644)
                set_time(tree / 'etc', 6)
            stash(storage, zoo, env=epoch)
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
