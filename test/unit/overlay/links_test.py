# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard links of a base are copied up together."""
from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from trees import describe

from kiwi_stackbuild_plugin.overlay.links import copy_up_links
from kiwi_stackbuild_plugin.tree.ahead import LinksAhead
from kiwi_stackbuild_plugin.tree.opening import opened_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')



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
    subprocess.run([
        'mount', '-t', 'overlay', 'overlay', '-o',
        f'lowerdir={base},upperdir={tmp_path}/upper,workdir={tmp_path}/work,'
        'index=off,metacopy=off,redirect_dir=off', root
    ], check=True)
    try:
        with opened_tree(str(base)) as base_fd, opened_tree(str(root)) as root_fd:
            search = LinksAhead([base_fd]) if searched else None
            assert copy_up_links(base_fd, root_fd, search) == 1
        assert describe(root) == describe(base)
        # a change of the one is a change of all
        os.chown(root / 'c/three', 7, 7, follow_symlinks=False)
        assert os.lstat(root / 'a/one').st_uid == os.lstat(root / 'a/b/two').st_uid == 7
        assert not (tmp_path / 'upper/alone').exists()
    finally:
        subprocess.run(['umount', root], check=True)


def test_links_of_layers_are_those_that_show(tmp_path: Path) -> None:
    """Names that a layer above replaces, hides, or links to something else."""
    for name in ('low/dir', 'low/hidden', 'high/dir', 'upper', 'work', 'root', 'base'):
        (tmp_path / name).mkdir(parents=True)
    low, high, root, base = (tmp_path / name for name in ('low', 'high', 'root', 'base'))
    (low / 'one').write_text('low')
    for other in ('dir/two', 'three', 'hidden/four', 'five', 'six'):
        os.link(low / 'one', low / other)
    # what is left of the low group: one, six
    (high / 'dir/two').write_text('high')
    os.link(high / 'dir/two', high / 'three')
    (high / 'hidden').write_text('no directory')
    (high / 'five').mkdir()
    for place, more in (
        (base, ''), (root, f',upperdir={tmp_path}/upper,workdir={tmp_path}/work')
    ):
        subprocess.run([
            'mount', '-t', 'overlay', 'overlay', '-o',
            f'lowerdir={high}:{low}{more},index=off', place
        ], check=True)
    try:
        with opened_tree(str(base)) as base_fd, opened_tree(str(root)) as root_fd, \
                opened_tree(str(low)) as low_fd, opened_tree(str(high)) as high_fd:
            assert copy_up_links(base_fd, root_fd, LinksAhead([low_fd, high_fd])) == 2
        assert describe(root) == describe(base)
        assert sorted(os.listdir(tmp_path / 'upper')) == ['dir', 'one', 'six', 'three']
    finally:
        for point in (root, base):
            subprocess.run(['umount', point], check=True)
