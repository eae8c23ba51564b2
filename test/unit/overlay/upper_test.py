# SPDX-License-Identifier: GPL-3.0-or-later
"""The delta from the uppermost layers is that of a scan of the whole."""
from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from disks import overlay
from hypothesis import HealthCheck, given, settings
from mutations import OPERATIONS, Operation, mutate
from pairs import DISTRUST, find_delta
from zoo import make_sparse, make_zoo, write

from kiwi_stackbuild_plugin.overlay.links import copy_up_links
from kiwi_stackbuild_plugin.overlay.upper import touched
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import PARENT, Delta, compare
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.opening import opened_tree
from kiwi_stackbuild_plugin.tree.scan import EVERYTHING

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')


@dataclass(frozen=True)
class Root:
    """An overlay root and its base; the layers that one of both has."""

    base: Path
    merged: Path
    layers: List[Path]

    def delta(self) -> Delta:
        """Return what the layers tell."""
        with ExitStack() as stack:
            base, tree, *layers = (
                stack.enter_context(opened_tree(str(path)))
                for path in (self.base, self.merged, *self.layers)
            )
            old, new = touched(base, tree, layers, EVERYTHING)
            return compare(old, new, ContentComparer(base, tree), DISTRUST)

    def scanned(self) -> Delta:
        """Return what a scan tells."""
        return find_delta(self.base, self.merged)


@contextmanager
def overlay_root(where: Path, lower: Path, *stashed: Operation) -> Iterator[Root]:
    """Mount an overlay root as stackbuild does.

    :param stashed: the base is a layer on what is below the root, which these make
    """
    with ExitStack() as stack:
        (where / 'root').mkdir()
        merged = stack.enter_context(overlay(where / 'root', [lower], where / 'upper'))
        with opened_tree(str(lower)) as base_fd, opened_tree(str(merged)) as root_fd:
            copy_up_links(base_fd, root_fd)
        if not stashed:
            yield Root(lower, merged, [where / 'upper'])
            return
        (where / 'stash').mkdir()
        base = stack.enter_context(overlay(where / 'stash', [lower], where / 'layer'))
        mutate(base, list(stashed))
        yield Root(base, merged, [where / 'upper', where / 'layer'])


@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck)
)
@given(OPERATIONS, OPERATIONS, OPERATIONS)
def check(first: List[Operation], second: List[Operation], third: List[Operation]) -> None:
    with tempfile.TemporaryDirectory(prefix='upper-') as scratch:
        where = Path(scratch)
        (where / 'lower').mkdir()
        mutate(where / 'lower', first)
        # an own base only now and then: most roots are stashed once
        with overlay_root(where, where / 'lower', *third[:len(third) // 2]) as root:
            mutate(root.merged, second)
            assert root.delta() == root.scanned()


def test_upper_directory_tells_what_a_scan_tells() -> None:
    check()


def chown(path: Path) -> None:
    os.chown(path / 'names/*', 7, 7)


def copy_up(path: Path) -> None:
    os.close(os.open(path / 'names/*', os.O_RDWR))


def link(path: Path) -> None:
    os.link(path / 'types/block', path / 'types/other')


def part_links(path: Path) -> None:
    write(path / 'links/a/new', (path / 'links/a/one').read_bytes())
    (path / 'links/a/new').rename(path / 'links/a/one')


def anew(path: Path) -> None:
    subprocess.run(['rm', '-r', path / 'modes'], check=True)
    write(path / 'modes/new', b'x')


def anew_below(path: Path) -> None:
    """Only the uppermost directory is marked opaque."""
    subprocess.run(['rm', '-r', path / 'links'], check=True)
    (path / 'links/a').mkdir(parents=True)


def file_for_directory(path: Path) -> None:
    subprocess.run(['rm', '-r', path / 'links'], check=True)
    write(path / 'links', b'x')


def punch(path: Path) -> None:
    (path / 'sparse/zeros-but-not-sparse').unlink()
    make_sparse(path / 'sparse/zeros-but-not-sparse', 1 << 18, {})


def swap(path: Path) -> None:
    (path / 'types/empty').rename(path / 'types/aside')
    (path / 'types/block').rename(path / 'types/empty')
    (path / 'types/aside').rename(path / 'types/block')


@pytest.mark.parametrize('change', [
    chown, copy_up, link, part_links, anew, anew_below, file_for_directory, punch, swap
])
def test_zoo(tmp_path: Path, change: Callable[[Path], None]) -> None:
    lower = make_zoo(tmp_path / 'lower')
    with overlay_root(tmp_path, lower) as root:
        assert root.delta().is_empty, 'hard links are copied up, and no change'
        change(root.merged)
        found = root.delta()
        assert found == root.scanned()
    carried = found.removed or [one for one in found.changes if one.kind != PARENT]
    assert not carried if change is copy_up else carried


@pytest.mark.parametrize('mark', [
    'trusted.overlay.redirect', 'trusted.overlay.metacopy', 'trusted.overlay.new',
    'trusted.overlay.whiteout', 'user.overlay.opaque'
])
def test_unknown_mark_is_left_to_the_scan(tmp_path: Path, mark: str) -> None:
    for name in ('lower', 'merged', 'upper'):
        write(tmp_path / name / 'etc/file', b'x')
    os.setxattr(tmp_path / 'upper/etc/file', mark, b'')
    with pytest.raises(Unreadable, match=mark):
        Root(tmp_path / 'lower', tmp_path / 'merged', [tmp_path / 'upper']).delta()


def test_link_that_leads_out_is_left_to_the_scan(tmp_path: Path) -> None:
    for name in ('lower', 'merged', 'upper'):
        write(tmp_path / name / 'etc/file', b'x')
    os.link(tmp_path / 'merged/etc/file', tmp_path / 'merged/other')
    with pytest.raises(Unreadable, match='hard link'):
        Root(tmp_path / 'lower', tmp_path / 'merged', [tmp_path / 'upper']).delta()
