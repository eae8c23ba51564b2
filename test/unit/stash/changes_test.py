# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed since a base: the same by its index and by its mount."""
from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest
from stored_images import StoredImages, own_labels
from trees import make_root

from kiwi_stackbuild_plugin.description.origin import take_moment
from kiwi_stackbuild_plugin.host.errors import KiwiStashVerifyFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.layer.extras import Extra, encode
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.stash.changes import find_changes, verify
from kiwi_stackbuild_plugin.stash.index import IndexWriter
from kiwi_stackbuild_plugin.stash.source import RootTree, open_root
from kiwi_stackbuild_plugin.tree.delta import PARENT, Delta
from kiwi_stackbuild_plugin.tree.rows import send
from kiwi_stackbuild_plugin.tree.scan import scan_rows

BASE = 'b' * 64
EXACT = own_labels(MTIME='ns')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / 'root')


@pytest.fixture
def tree(root: Path) -> Iterator[RootTree]:
    with open_root(str(root)) as tree:
        yield tree


@pytest.fixture
def base(stored: StoredImages, tree: RootTree, tmp_path: Path) -> Base:
    """Give an image of the tree as it is, with its index."""
    subprocess.run(['cp', '-a', tree.path, stored.tree(BASE)], check=True)
    writer = IndexWriter(str(tmp_path / 'index'), tree.exclusion)
    send(writer.begin(), scan_rows(tree.fd, tree.exclusion))
    writer.keep(BASE)
    moment = take_moment(tree.fd)
    return Base(stored.add(BASE, told=EXACT), 'here', moment)


def changes(
    space: Workspace, tree: RootTree, base: Base, **more: Any
) -> Tuple[Delta, List[str]]:
    """Return the delta, and what it says as 'D path', 'A path' and 'C path'."""
    delta = find_changes(space, tree, base, lambda: tree.entries([], lambda: 4000), **more)
    return delta, [f'D {os.fsdecode(path)}' for path in delta.removed] + [
        f'{change.kind} {os.fsdecode(change.entry.path)}'
        for change in delta.changes if change.kind != PARENT
    ]


def edit(root: Path) -> List[str]:
    """Change a tree; what a delta says of it."""
    (root / 'etc/hostname').unlink()
    (root / 'etc/new').write_text('new')
    (root / 'usr/share').chmod(0o700)
    before = (root / 'etc/os-release').stat()
    (root / 'etc/os-release').write_text('ID=SMALL\n')
    os.utime(root / 'etc/os-release', ns=(before.st_atime_ns, before.st_mtime_ns))
    times = root.joinpath('etc').stat()
    os.utime(root / 'etc', ns=(times.st_atime_ns, times.st_mtime_ns))
    return ['D etc/hostname', 'C etc/os-release', 'A etc/new', 'C usr/share']


@pytest.mark.parametrize('use_index', [True, False])
@pytest.mark.parametrize('trusted', [True, False])
def test_same_by_index_and_by_mount(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages,
    use_index: bool, trusted: bool
) -> None:
    base = base if trusted else replace(base, touched_since=None)
    assert changes(space, tree, base, use_index=use_index)[0].is_empty
    expected = edit(Path(tree.path))
    said = changes(space, tree, base, use_index=use_index)[1]
    assert sorted(set(said) - {'C etc'}) == sorted(expected)
    assert len(stored.calls('mount')) == len(stored.calls('unmount'))
    assert space.open_notes() == []


def test_base_is_mounted_only_where_a_file_was_touched(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages
) -> None:
    (Path(tree.path) / 'etc/new').write_text('new')
    assert 'A etc/new' in changes(space, tree, base)[1]
    assert stored.calls('mount') == []
    (Path(tree.path) / 'usr/bin/tool').chmod(0o755)
    assert 'C usr/bin/tool' not in changes(space, tree, base)[1]
    assert len(stored.calls('mount')) == 1


@pytest.mark.parametrize('cut', [0, 20, -1])
def test_damaged_index_is_no_index(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages, cut: int
) -> None:
    index = stored.where / 'indexes' / BASE
    index.write_bytes(index.read_bytes()[:cut])
    expected = edit(Path(tree.path))
    assert set(expected) <= set(changes(space, tree, base)[1])
    assert len(stored.calls('mount')) == 1


def test_damage_in_the_storage(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages
) -> None:
    """The index cannot know; who verifies looks himself."""
    (stored.tree(BASE) / 'etc/hostname').unlink()
    assert changes(space, tree, base)[0].is_empty
    said = changes(space, tree, base, use_index=False)[1]
    assert 'A etc/hostname' in said


def test_file_of_the_index_that_no_layer_has(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages
) -> None:
    """It went while it was stashed; now it is back and touched."""
    (stored.tree(BASE) / 'etc/hostname').unlink()
    (Path(tree.path) / 'etc/hostname').chmod(0o644)
    assert changes(space, tree, base)[1] == ['C etc/hostname']


def test_extras_of_the_base_are_part_of_it(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages
) -> None:
    """The storage sets times before 1970 to 0; the label knows them."""
    for top, moment in ((tree.path, -5), (stored.tree(BASE), 0)):
        os.utime(os.path.join(top, 'etc/os-release'), ns=(moment, moment))
    assert changes(space, tree, base, use_index=False)[1] == ['C etc/os-release']
    told = {**EXACT, **own_labels(EXTRAS=encode(
        {b'etc/os-release': Extra(-5)}, lambda path, why: None
    ))}
    info = ImageInfo(BASE, labels=told, layers=base.info.layers)
    assert changes(space, tree, replace(base, info=info), use_index=False)[0].is_empty


def test_verify(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages
) -> None:
    verify(space, tree, 'small:v1', BASE, False)
    (stored.tree(BASE) / 'etc/more').write_text('')
    (stored.tree(BASE) / 'etc/hostname').write_text('SMALL\n')
    os.utime(stored.tree(BASE) / 'etc/hostname', ns=(1, 1_600_000_000_987_654_321))
    with pytest.raises(KiwiStashVerifyFailed) as issue:
        verify(space, tree, 'small:v1', BASE, False)
    assert issue.value.summary.startswith('small:v1: ')
    assert "the first is 'etc/more'" in issue.value.summary
    assert len(stored.calls('mount')) == len(stored.calls('unmount'))


@pytest.mark.parametrize('rounded', [True, False])
def test_verify_of_rounded_times(
    space: Workspace, tree: RootTree, base: Base, stored: StoredImages, rounded: bool
) -> None:
    os.utime(stored.tree(BASE) / 'etc/hostname', ns=(1, 1_600_000_000_000_000_000))
    if rounded:
        verify(space, tree, 'small:v1', BASE, rounded)
        return
    with pytest.raises(KiwiStashVerifyFailed, match=r"1 paths in the storage .*'etc/hostname'"):
        verify(space, tree, 'small:v1', BASE, rounded)
