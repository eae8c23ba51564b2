# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard links of a base are copied up together."""
from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, List, Optional

import pytest
from disks import overlay, overlay_at
from trees import describe

from kiwi_stackbuild_plugin.image.cache import drop_layers
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.overlay.links import LinkSearch, copy_up_links
from kiwi_stackbuild_plugin.tree.opening import opened_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory for what is found in layers."""
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def image(layers: int) -> ImageInfo:
    return ImageInfo('f' * 64, layers=tuple(
        f'sha256:{number:064x}' for number in range(layers)
    ))


def make_file(path: Path) -> None:
    path.write_text('content')
    path.chmod(0o4711)
    os.setxattr(path, 'user.kept', b'x')


def make_link(path: Path) -> None:
    path.symlink_to('elsewhere')


def make_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


@pytest.mark.parametrize('searched', [True, False])
@pytest.mark.parametrize('make', [make_file, make_link, make_device])
def test_all_names_of_a_file_stay_one(tmp_path: Path, make: object, searched: bool) -> None:
    assert callable(make)
    for name in ('base/a/b', 'base/c', 'upper', 'work', 'root'):
        (tmp_path / name).mkdir(parents=True)
    base, root = tmp_path / 'base', tmp_path / 'root'
    make(base / 'a/one')
    (base / 'alone').write_text('alone')
    for other in ('a/b/two', 'c/three'):
        os.link(base / 'a/one', base / other, follow_symlinks=False)
    os.utime(base / 'a/one', ns=(5, 5), follow_symlinks=False)
    for directory in ('a/b', 'a', 'c', '.'):
        os.utime(base / directory, ns=(7, 7))
    with overlay_at(root, [base], tmp_path / 'upper', tmp_path / 'work'):
        with opened_tree(str(base)) as base_fd, opened_tree(str(root)) as root_fd:
            search = LinkSearch(image(1), [base_fd]) if searched else None
            assert copy_up_links(base_fd, root_fd, search) == 1
        assert describe(root) == describe(base)
        # a change of the one is a change of all
        os.chown(root / 'c/three', 7, 7, follow_symlinks=False)
        assert os.lstat(root / 'a/one').st_uid == os.lstat(root / 'a/b/two').st_uid == 7
        assert not (tmp_path / 'upper/alone').exists()


def test_links_of_layers_are_those_that_show(tmp_path: Path) -> None:
    """Names that a layer above replaces, hides, or links to something else."""
    for name in ('low/dir', 'low/hidden', 'high/dir', 'upper', 'over', 'root'):
        (tmp_path / name).mkdir(parents=True)
    low, high, root = (tmp_path / name for name in ('low', 'high', 'root'))
    (low / 'one').write_text('low')
    for other in ('dir/two', 'three', 'hidden/four', 'five', 'six'):
        os.link(low / 'one', low / other)
    # what is left of the low group: one, six
    (high / 'dir/two').write_text('high')
    os.link(high / 'dir/two', high / 'three')
    (high / 'hidden').write_text('no directory')
    (high / 'five').mkdir()
    with overlay(tmp_path, [high, low], tmp_path / 'unused') as base, \
            overlay_at(root, [high, low], tmp_path / 'upper', tmp_path / 'over'):
        with opened_tree(str(base)) as base_fd, opened_tree(str(root)) as root_fd, \
                opened_tree(str(low)) as low_fd, opened_tree(str(high)) as high_fd:
            search = LinkSearch(image(2), [low_fd, high_fd])
            assert copy_up_links(base_fd, root_fd, search) == 2
        assert describe(root) == describe(base)
        assert sorted(os.listdir(tmp_path / 'upper')) == ['dir', 'one', 'six', 'three']


def find(info: ImageInfo, *layers: Path) -> Optional[List[bytes]]:
    """Search layers, and return what is told of them."""
    with ExitStack() as stack:
        fds = [stack.enter_context(opened_tree(str(layer))) for layer in layers]
        search = LinkSearch(info, fds)
        stack.callback(search.close)
        return search.names()


def make_layers(where: Path) -> List[Path]:
    layers = [where / 'low', where / 'high']
    for layer in layers:
        layer.mkdir()
        (layer / os.fsdecode(b'a\xff')).write_text('')
        os.link(layer / os.fsdecode(b'a\xff'), layer / layer.name)
    return layers


def test_a_layer_is_searched_once(tmp_path: Path) -> None:
    low, high = make_layers(tmp_path)
    assert sorted(find(image(1), low) or []) == [b'a\xff', b'low']
    # of the lower one nothing is read any more
    assert find(image(2), tmp_path, high) == find(image(2), low, high)
    (low / 'low').unlink()
    (high / 'high').unlink()
    assert sorted(find(image(2), low, high) or []) == [b'a\xff', b'a\xff', b'high', b'low']
    drop_layers(image(2).layers)
    assert find(image(2), low, high) == []


def damage(path: Path) -> None:
    path.write_text('["')


def mistype(path: Path) -> None:
    path.write_text('[[7]]')


def open_up(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize('happen', [damage, mistype, open_up, Path.unlink])
def test_what_is_kept_and_not_apt_is_searched_again(
    tmp_path: Path, cache: Path, happen: Callable[[Path], None]
) -> None:
    low, _ = make_layers(tmp_path)
    find(image(1), low)
    (kept,) = (cache / 'links').iterdir()
    (low / 'low').unlink()
    happen(kept)
    assert find(image(1), low) == []


def test_no_layers_to_search_tell_nothing(tmp_path: Path) -> None:
    assert find(image(1)) is None
