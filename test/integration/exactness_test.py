# SPDX-License-Identifier: GPL-3.0-or-later
"""Tree to stash and back, with what podman and umoci make of it as witnesses."""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import pytest
from mutations import draw_operations, mutate
from storages import Storage, remove_storage
from trees import describe, describe_entry, make_root
from witnesses import RECORD, import_tree, mounted, stash, unpack
from zoo import (
    MOMENTS, NAMES, holes, make_deep, make_sparse, make_zoo, set_time
)

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


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """Give a directory for very many files: in memory, where there is enough."""
    memory = Path('/dev/shm')
    enough = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    with tempfile.TemporaryDirectory(dir=memory if enough else tmp_path) as path:
        yield Path(path)


@pytest.fixture
def roomy_storage(roomy: Path) -> Iterator[Storage]:
    """Give a storage for very many files."""
    (roomy / 'temp').mkdir()
    storage = Storage(roomy / 'storage', roomy / 'temp')
    yield storage
    assert not storage.left_overs()
    remove_storage(storage.where)


def test_small_change_of_a_big_tree_is_a_small_layer(
    roomy_storage: Storage, roomy: Path
) -> None:
    """58,000 entries; the second to the sixth stash have one changed file each."""
    root = make_root(roomy / 'root')
    for folder in range(1160):
        where = root / f'usr/share/{folder % 60}/{folder}'
        where.mkdir(parents=True)
        for number in range(49):
            (where / f'file{number}').write_text('some')
    changed = root / 'usr/share/7/7/file7'
    stash(roomy_storage, root)
    for number in range(2, 7):
        changed.write_text(f'{number:05}')
        stash(roomy_storage, root)
        told = roomy_storage.stash('small')
        assert told['layers'] == number
        assert told['layer_size'] <= 2048, 'the promise is 16 KiB'
    assert changed.read_text() == '00006'


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


@pytest.mark.long
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
