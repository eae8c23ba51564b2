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


@pytest.mark.parametrize('make', [make_file, make_link, make_device])
def test_all_names_of_a_file_stay_one(tmp_path: Path, make: object) -> None:
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
            assert copy_up_links(base_fd, root_fd) == 1
        assert describe(root) == describe(base)
        # a change of the one is a change of all
        os.chown(root / 'c/three', 7, 7, follow_symlinks=False)
        assert os.lstat(root / 'a/one').st_uid == os.lstat(root / 'a/b/two').st_uid == 7
        assert not (tmp_path / 'upper/alone').exists()
    finally:
        subprocess.run(['umount', root], check=True)
