# SPDX-License-Identifier: GPL-3.0-or-later
"""The delta from an upper directory is that of a scan of the whole."""
from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, List, Set

import pytest
from disks import overlay
from hypothesis import HealthCheck, given, settings
from mutations import OPERATIONS, Operation, mutate
from pairs import find_delta
from zoo import make_zoo, write

from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import PARENT, Delta
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.opening import opened_tree
from kiwi_stackbuild_plugin.overlay.upper import upper_delta

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')


def delta_of(base: Path, merged: Path, upper: Path) -> Delta:
    with ExitStack() as stack:
        fds = [stack.enter_context(opened_tree(str(path))) for path in (base, merged, upper)]
        return upper_delta(fds[0], fds[1], fds[2], ContentComparer(fds[0], fds[1]))


_told: Set[bool] = set()


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck)
)
@given(OPERATIONS, OPERATIONS)
def check(first: List[Operation], second: List[Operation]) -> None:
    with tempfile.TemporaryDirectory(prefix='upper-') as scratch:
        where = Path(scratch)
        base = where / 'base'
        base.mkdir()
        mutate(base, first)
        with overlay(where, [base], where / 'upper') as merged:
            mutate(merged, second)
            wanted = find_delta(base, merged)
            try:
                found = delta_of(base, merged, where / 'upper')
            except Unreadable:
                _told.add(False)
                return
            assert found == wanted
            _told.add(True)


def test_upper_directory_tells_what_a_scan_tells() -> None:
    check()
    assert _told == {True, False}, 'both are met: told, and left to the scan'


def chown(path: Path) -> None:
    os.chown(path / 'names/*', 7, 7)


def copy_up(path: Path) -> None:
    os.close(os.open(path / 'names/*', os.O_RDWR))


def anew(path: Path) -> None:
    subprocess.run(['rm', '-r', path / 'modes'], check=True)
    write(path / 'modes/new', b'x')


def swap(path: Path) -> None:
    (path / 'types/empty').rename(path / 'types/aside')
    (path / 'types/block').rename(path / 'types/empty')
    (path / 'types/aside').rename(path / 'types/block')


@pytest.mark.parametrize('change', [chown, copy_up, anew, swap])
def test_zoo(tmp_path: Path, change: Callable[[Path], None]) -> None:
    base = make_zoo(tmp_path / 'base')
    with overlay(tmp_path, [base], tmp_path / 'upper') as merged:
        change(merged)
        found = delta_of(base, merged, tmp_path / 'upper')
        assert found == find_delta(base, merged)
    carried = [one for one in found.changes if one.kind != PARENT]
    assert found.is_empty if change is copy_up else carried


@pytest.mark.parametrize('mark', [
    'trusted.overlay.redirect', 'trusted.overlay.metacopy', 'trusted.overlay.new'
])
def test_unknown_mark_is_left_to_the_scan(tmp_path: Path, mark: str) -> None:
    for name in ('base', 'merged', 'upper'):
        write(tmp_path / name / 'etc/file', b'x')
    os.setxattr(tmp_path / 'upper/etc/file', mark, b'')
    with pytest.raises(Unreadable, match=mark):
        delta_of(tmp_path / 'base', tmp_path / 'merged', tmp_path / 'upper')
