# SPDX-License-Identifier: GPL-3.0-or-later
"""Root trees made of images: copied, stacked, described, recorded."""
from __future__ import annotations

import os
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from stored_images import StoredImages, own_labels
from trees import describe, make_root
from zoo import holes, make_sparse, write

from kiwi_stackbuild_plugin.description.origin import Origin, read_origin
from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.layer.extras import Extra, Extras, encode
from kiwi_stackbuild_plugin.stackbuild.root_import import (
    copy_tree, import_images, record_origin, replace_description, wipe_description
)
from kiwi_stackbuild_plugin.stackbuild.stacking import Step, plan_stack
from kiwi_stackbuild_plugin.tree.opening import open_tree

ONE, TWO = '1' * 64, '2' * 64
LAYERS = tuple(f'sha256:{digit * 64}' for digit in 'abc')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / 'one')


def told(top: str, extras: Extras, **more: str) -> Any:
    return own_labels(top, EXTRAS=encode(extras, lambda path, why: None), **more)


def record_of(root: Path) -> Optional[Origin]:
    fd = open_tree(str(root))
    try:
        return read_origin(fd)
    finally:
        os.close(fd)


def test_one_image_is_copied_with_all_it_had(root: Path, tmp_path: Path) -> None:
    os.setxattr(root / 'etc/hostname', 'user.a', b'b')
    (root / 'etc/owned').write_text('')
    os.chown(root / 'etc/owned', 1234, 5678)
    info = ImageInfo(ONE, layers=LAYERS[:1], labels=told(LAYERS[0], {
        b'etc/hostname': Extra(-7), b'': Extra(-5, (('user.root', b'x'),)),
        b'gone/file': Extra(-7)
    }, ROOT_MODE='1711', ROOT_OWNER='7:8'))
    import_images([Step(info, str(root))], str(tmp_path / 'made'))
    os.utime(root / 'etc/hostname', ns=(1, -7))
    assert describe(tmp_path / 'made') == describe(root)
    status = os.stat(tmp_path / 'made')
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1711, 7, 8)
    assert (status.st_mtime_ns, os.getxattr(tmp_path / 'made', 'user.root')) == (-5, b'x')


def test_root_directory_of_a_stash_that_does_not_tell(root: Path, tmp_path: Path) -> None:
    root.chmod(0o700)
    os.chown(root, 5, 5)
    import_images([Step(ImageInfo(ONE), str(root))], str(tmp_path / 'made'))
    status = os.stat(tmp_path / 'made')
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 0, 0)


@pytest.mark.parametrize('link', ['image', 'dev', 'etc/fstab'])
def test_root_that_leads_out_is_not_even_copied(root: Path, tmp_path: Path, link: str) -> None:
    subprocess.run(['rm', '-rf', root / link], check=True)
    (root / link).symlink_to(tmp_path)
    with pytest.raises(KiwiStashRootInvalid, match=link):
        import_images([Step(ImageInfo(ONE), str(root))], str(tmp_path / 'made'))
    assert not (tmp_path / 'made').exists()


def test_changes_go_on_top(
    stored: StoredImages, space: Workspace, root: Path, tmp_path: Path
) -> None:
    """Of the second, what it changed since the first; its attributes for that alone."""
    subprocess.run(['cp', '-a', root, stored.tree(ONE)], check=True)
    subprocess.run(['cp', '-a', root, stored.tree(TWO)], check=True)
    second = stored.tree(TWO)
    (second / 'etc/hostname').unlink()
    (second / 'etc/new').write_text('new')
    times = root.joinpath('etc').stat()
    os.utime(second / 'etc', ns=(times.st_atime_ns, times.st_mtime_ns))
    images = [
        stored.add(ONE, 'localhost/one:v1', layers=LAYERS[:1]),
        stored.add(TWO, 'localhost/two:v1', layers=LAYERS[:2], told=told(LAYERS[1], {
            b'etc/new': Extra(-7), b'etc/os-release': Extra(-7), b'': Extra(-9)
        }, ROOT_MODE='0700'))
    ]
    with ExitStack() as stack:
        import_images(plan_stack(space, images, stack), str(tmp_path / 'made'))
    made, wanted = describe(tmp_path / 'made'), describe(second)
    assert made.pop(b'etc/new')[4] == -7 and wanted.pop(b'etc/new')
    assert made == wanted
    assert stat.S_IMODE(os.stat(tmp_path / 'made').st_mode) == 0o755, 'that of the first'


@pytest.mark.parametrize('make_holes', [False, True])
def test_copy_of_a_sparse_file(tmp_path: Path, make_holes: bool) -> None:
    (tmp_path / 'tree').mkdir()
    (tmp_path / 'tree/zeros').write_bytes(bytes(1 << 20))
    copy_tree(str(tmp_path / 'tree'), str(tmp_path / 'copy'), make_holes)
    assert (tmp_path / 'copy/zeros').read_bytes() == bytes(1 << 20)
    assert bool((tmp_path / 'copy/zeros').stat().st_blocks) is not make_holes


def test_large_sparse_file_stays_one(tmp_path: Path) -> None:
    """Its zeros would fill the disk before anything digs holes: cp finds them."""
    tree = make_root(tmp_path / 'tree')
    make_sparse(tree / 'etc/large', 1 << 30, {4096: b'x'})
    info = ImageInfo(ONE, layers=LAYERS[:1], labels=told(LAYERS[0], {
        b'etc/large': Extra(sparse=True)
    }))
    import_images([Step(info, str(tree))], str(tmp_path / 'made'))
    assert holes(tmp_path / 'made/etc/large') == holes(tree / 'etc/large')


def test_copy_of_long_paths_and_odd_names(tmp_path: Path) -> None:
    """From inside of it: as long as the kernel has it."""
    tree = make_root(tmp_path / '-r')
    (tree / os.fsdecode(b'etc/\xff\n -x')).write_text('')
    deep = '/'.join(['d' * 200] * 18)
    subprocess.run(['mkdir', '-p', deep], cwd=tree, check=True)
    copy_tree(str(tree), str(tmp_path / 'copy'))
    assert subprocess.run(['test', '-d', deep], cwd=tmp_path / 'copy', check=False).returncode == 0
    with pytest.raises(FileExistsError):
        copy_tree(str(tree), str(tmp_path / 'copy'))
    with pytest.raises(KiwiStashToolFailed):
        copy_tree(str(tmp_path / 'nowhere'), str(tmp_path / 'other'))


def test_what_cp_cannot_copy_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that is too large for one block of ext4; cp --archive is silent."""
    (tmp_path / 'memory').mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', tmp_path / 'memory'], check=True)
    try:
        write(tmp_path / 'memory/tree/file', b'x')
        os.setxattr(tmp_path / 'memory/tree/file', 'trusted.large', bytes(65000))
        with caplog.at_level('WARNING', 'kiwi'):
            copy_tree(str(tmp_path / 'memory/tree'), str(tmp_path / 'copy'))
    finally:
        subprocess.run(['umount', tmp_path / 'memory'], check=True)
    assert (tmp_path / 'copy/file').read_bytes() == b'x'
    kept = 'trusted.large' in os.listxattr(tmp_path / 'copy/file')
    assert kept or 'trusted.large' in caplog.text


def old_directory(image: Path, outside: Path) -> None:
    (image / 'deep').mkdir()
    (image / 'link').symlink_to(outside)


def old_none(image: Path, outside: Path) -> None:
    subprocess.run(['rm', '-r', image], check=True)


@pytest.mark.parametrize('old', [old_directory, old_none])
@pytest.mark.parametrize('new', [True, False])
def test_nothing_of_the_old_description_stays(
    root: Path, tmp_path: Path, old: Callable[[Path, Path], None], new: bool
) -> None:
    """And nothing behind its links goes."""
    outside = tmp_path / 'outside'
    write(outside / 'file', b'x')
    old(root / 'image', outside)
    if new:
        replace_description(str(root), str(make_root(tmp_path / 'two', 'other')))
        assert describe(root / 'image') == describe(tmp_path / 'two/image')
    else:
        wipe_description(str(root))
        assert os.listdir(root / 'image') == []
    assert not (root / 'image').is_symlink() and os.listdir(outside) == ['file']


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('has_image', [True, False])
def test_record_is_of_the_first(root: Path, count: int, has_image: bool) -> None:
    """Only where it is alone its content is known to be that of the tree."""
    if not has_image:
        subprocess.run(['rm', '-r', root / 'image'], check=True)
    images = [ImageInfo(ONE, ('a:b',), 'sha256:x'), ImageInfo(TWO)][:count]
    record_origin(str(root), images)
    found = record_of(root)
    assert found is not None
    assert (found.image, found.name, found.digest) == (ONE, 'a:b', 'sha256:x')
    assert (found.moment > 0) is (count == 1)
