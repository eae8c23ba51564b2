# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies out of layers: what the kernel's overlayfs shows is the oracle."""
from __future__ import annotations

import errno
import os
import resource
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import AbstractSet, Callable, List, Sequence

import pytest
from disks import disk, overlay
from hypothesis import HealthCheck, given, settings
from mutations import OPERATIONS, Operation, mutate
from trees import describe
from zoo import acl, holes, make_deep, make_sparse, make_zoo, write

from kiwi_stackbuild_plugin.tree import merged_copy
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.merged_copy import can_clone, copy_layers
from kiwi_stackbuild_plugin.tree.opening import opened_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')
MIB = 1 << 20


def copied(
    layers: Sequence[Path], target: Path, sparse: AbstractSet[bytes] = frozenset()
) -> Path:
    """Copy layers, the topmost first; no file stays open."""
    target.mkdir()
    with ExitStack() as stack:
        fds = [stack.enter_context(opened_tree(str(layer))) for layer in layers]
        target_fd = stack.enter_context(opened_tree(str(target)))
        before = len(os.listdir('/proc/self/fd'))
        try:
            copy_layers(fds, target_fd, sparse)
        finally:
            assert len(os.listdir('/proc/self/fd')) == before
    return target


def test_everything_that_a_tree_can_hold(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / 'zoo')
    for path in (zoo / 'links/a/one', zoo / 'xattrs/dir'):
        os.utime(path, ns=(5, os.stat(path).st_mtime_ns))
    made = copied([zoo], tmp_path / 'made')
    for name in ('links/a/one', 'xattrs/dir'):
        assert os.stat(made / name).st_atime_ns == 5
    assert describe(made) == describe(zoo)
    for name in ('sparse/hole', 'sparse/all', 'sparse/end'):
        assert holes(made / name) == holes(zoo / name)


@settings(
    max_examples=25, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck)
)
@given(OPERATIONS, OPERATIONS, OPERATIONS)
def test_copy_is_what_the_kernel_shows(
    first: List[Operation], second: List[Operation], third: List[Operation]
) -> None:
    with tempfile.TemporaryDirectory(prefix='merged-') as scratch:
        where = Path(scratch)
        layers = [where / 'one']
        layers[0].mkdir()
        mutate(layers[0], first)
        for name, operations in (('two', second), ('three', third)):
            with overlay(where, layers, where / name) as merged:
                mutate(merged, operations)
                wanted = describe(merged)
            layers.insert(0, where / name)
        assert describe(copied(layers, where / 'made')) == wanted


def test_copy_inherits_nothing_from_where_it_is_made(tmp_path: Path) -> None:
    outside = tmp_path / 'outside'
    outside.mkdir()
    os.setxattr(outside, 'system.posix_acl_default', acl((4321, 7), mode=0o770))
    os.chmod(outside, 0o2777)
    write(tmp_path / 'tree/etc/file', b'x')
    write(tmp_path / 'tree/other', b'x')
    assert describe(copied([tmp_path / 'tree'], outside / 'made')) == describe(tmp_path / 'tree')


def test_deep_tree_with_few_open_files(tmp_path: Path) -> None:
    (tmp_path / 'tree').mkdir()
    make_deep(tmp_path / 'tree/deep', 3500)
    (tmp_path / 'upper').mkdir()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(map(int, os.listdir('/proc/self/fd')))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 36, limits[1]))
    try:
        made = copied([tmp_path / 'upper', tmp_path / 'tree'], tmp_path / 'made')
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert describe(made) == describe(tmp_path / 'tree')


@pytest.mark.parametrize('data', [{}, {3 * MIB: b'x'}, {0: b'x', 2 * MIB - 1: b'yz'}])
def test_zeros_become_holes_where_asked(tmp_path: Path, data: dict[int, bytes]) -> None:
    make_sparse(tmp_path / 'tree/file', 4 * MIB + 7, data)
    content = (tmp_path / 'tree/file').read_bytes()
    write(tmp_path / 'tree/file', content)
    made = copied([tmp_path / 'tree'], tmp_path / 'made', {b'file'})
    assert (made / 'file').read_bytes() == content
    assert holes(made / 'file') >= MIB and not holes(tmp_path / 'tree/file')


def metacopy(layer: Path) -> None:
    os.setxattr(write(layer / 'etc/file', b''), 'trusted.overlay.metacopy', b'')


def redirect(layer: Path) -> None:
    (layer / 'etc').mkdir(parents=True)
    os.setxattr(layer / 'etc', 'trusted.overlay.redirect', b'other')


def other_whiteouts(layer: Path) -> None:
    (layer / 'etc').mkdir(parents=True)
    os.setxattr(layer / 'etc', 'trusted.overlay.opaque', b'x')


@pytest.mark.parametrize('mark', [metacopy, redirect, other_whiteouts])
@pytest.mark.parametrize('lowest', [False, True])
def test_layer_that_only_the_kernel_understands(
    tmp_path: Path, mark: Callable[[Path], None], lowest: bool
) -> None:
    mark(tmp_path / 'one')
    write(tmp_path / 'two/etc/other', b'')
    layers = [tmp_path / 'one', tmp_path / 'two']
    with pytest.raises(Unreadable):
        copied(layers[::-1] if lowest else layers, tmp_path / 'made')


def test_marks_of_the_storage_are_not_of_the_tree(tmp_path: Path) -> None:
    """Nested ones are: the kernel takes one 'overlay' off."""
    layer = tmp_path / 'layer'
    write(layer / 'etc/file', b'x')
    os.setxattr(layer / 'etc', 'trusted.overlay.opaque', b'y')
    os.setxattr(layer / 'etc/file', 'trusted.overlay.origin', b'y')
    os.setxattr(layer / 'etc/file', 'trusted.overlay.overlay.own', b'z')
    made = copied([layer], tmp_path / 'made')
    assert os.listxattr(made / 'etc') == []
    assert os.listxattr(made / 'etc/file') == ['trusted.overlay.own']


def test_attribute_that_does_not_fit_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'memory').mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', tmp_path / 'memory'], check=True)
    try:
        os.setxattr(write(tmp_path / 'memory/file', b'x'), 'trusted.large', bytes(65000))
        with caplog.at_level('WARNING', 'kiwi'):
            made = copied([tmp_path / 'memory'], tmp_path / 'made')
    finally:
        subprocess.run(['umount', tmp_path / 'memory'], check=True)
    assert (made / 'file').read_bytes() == b'x'
    assert 'file: not copied: trusted.large' in caplog.text


@pytest.mark.parametrize('code', [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
def test_kernel_that_copies_no_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))
    monkeypatch.setattr(merged_copy.os, 'copy_file_range', refuse)
    write(tmp_path / 'tree/file', os.urandom(3 * MIB + 5))
    make_sparse(tmp_path / 'tree/sparse', MIB, {MIB // 2: b'data'})
    made = copied([tmp_path / 'tree'], tmp_path / 'made')
    assert describe(made) == describe(tmp_path / 'tree')


def test_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    write(tmp_path / 'tree/etc/file', bytes(2 * MIB))
    (tmp_path / 'small').mkdir()
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', tmp_path / 'small'], check=True
    )
    try:
        with pytest.raises(OSError, match='No space left') as raised:
            copied([tmp_path / 'tree'], tmp_path / 'small/made')
        assert raised.value.filename == b'etc'
    finally:
        subprocess.run(['umount', tmp_path / 'small'], check=True)


#: file system, and what is done to the directory of the copy before it is made
CLONES = {
    'xfs': ('xfs', None), 'btrfs': ('btrfs', None),
    # the target is without copy-on-write: blocks cannot be shared then
    'btrfs, nocow': ('btrfs', '+C'),
    'ext4': ('ext4', None)
}


@pytest.mark.parametrize('case', CLONES)
def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path, case: str) -> None:
    kind, attribute = CLONES[case]
    with disk(tmp_path, kind) as place:
        layer = place / 'layer'
        write(layer / 'usr/data', os.urandom(16 * MIB))
        make_sparse(layer / 'usr/sparse', 8 * MIB, {MIB: b'x' * 5000})
        write(layer / 'etc/small', b'x' * 5000)
        target = place / 'targets'
        target.mkdir()
        if attribute:
            subprocess.run(['chattr', attribute, target], check=True)
        subprocess.run(['sync', '--file-system', place], check=True)
        free = free_bytes(place)
        made = copied([layer], target / 'made')
        subprocess.run(['sync', '--file-system', place], check=True)
        shares = free - free_bytes(place) < 8 * MIB
        assert describe(made) == describe(layer)
        assert shares is (kind != 'ext4' and not attribute)
        assert holes(made / 'usr/sparse') >= 6 * MIB
        with opened_tree(str(layer)) as one, opened_tree(str(made)) as two:
            assert can_clone(one, two) is shares
        with opened_tree(str(layer)) as one, opened_tree(str(tmp_path)) as two:
            assert not can_clone(one, two)
        assert sorted(os.listdir(made)) == ['etc', 'usr']


def free_bytes(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bfree * status.f_bsize
