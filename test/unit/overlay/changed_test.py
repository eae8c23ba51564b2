# SPDX-License-Identifier: GPL-3.0-or-later
"""What an overlay root changed, with what it leaves out, is what scans of both tell."""
from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Sequence

import pytest
from disks import overlay_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import OPERATIONS, Operation, mutate
from pairs import DISTRUST

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.labels import TOP_LAYER
from kiwi_stackbuild_plugin.overlay.changed import find_changed_and_excluded
from kiwi_stackbuild_plugin.overlay.links import copy_up_links
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, compare
from kiwi_stackbuild_plugin.tree.opening import opened_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from kiwi_stackbuild_plugin.tree.selection import make_exclusion

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')

LAYER = f'sha256:{"a" * 64}'
#: kiwi's own are such ones
PATTERNS = st.lists(
    st.sampled_from(('a', 'b', 'a/*', 'a/b', 'b/a/*', '/a/?', 'b/a.*', 'a/b/', 'b/[ab]')),
    max_size=4
)
CONTENTS = st.lists(st.sampled_from((b'a', b'b', b'a/b')), max_size=1)


@contextmanager
def overlay_root(where: Path, lower: Path) -> Iterator[Path]:
    """Mount a root as stackbuild has it."""
    root = where / 'image-root'
    beside = Path(f'{root}.overlay')
    for path in (root, beside, beside / 'upper', beside / 'work'):
        path.mkdir(mode=0o700)
    os.chmod(beside / 'upper', 0o755)
    with overlay_at(root, [lower], beside / 'upper', beside / 'work'):
        with opened_tree(str(lower)) as base_fd, opened_tree(str(root)) as root_fd:
            copy_up_links(base_fd, root_fd)
        yield root


def check_same(
    lower: Path, root: Path, patterns: Sequence[str], contents: Sequence[bytes] = ()
) -> Delta:
    """Hold that both ways find the same; return it."""
    info = ImageInfo(
        'f' * 64, driver='overlay', directories=(str(lower),), layers=(LAYER,),
        labels={TOP_LAYER: LAYER}
    )
    exclusion = make_exclusion(patterns, contents)
    with opened_tree(str(lower)) as base_fd, opened_tree(str(root)) as root_fd:
        same = ContentComparer(base_fd, root_fd)
        scanned = compare(scan(base_fd), scan(root_fd, exclusion), same, DISTRUST)
        both = find_changed_and_excluded(
            str(root), root_fd, base_fd, info, patterns, exclusion
        )
        if both is None:
            # hard links that lead to more: all is scanned then
            return scanned
        found = compare(iter(both[0]), iter(both[1]), same, DISTRUST)
    assert found == scanned
    return found


@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck)
)
@given(OPERATIONS, OPERATIONS, PATTERNS, CONTENTS)
def check(
    first: List[Operation], second: List[Operation], patterns: List[str],
    contents: List[bytes]
) -> None:
    with tempfile.TemporaryDirectory(prefix='changed-') as scratch:
        lower = Path(scratch, 'graph/layer/diff')
        lower.mkdir(parents=True)
        mutate(lower, first)
        with overlay_root(Path(scratch), lower) as root:
            mutate(root, second)
            check_same(lower, root, patterns, contents)


def test_changes_and_what_is_left_out_are_those_of_scans() -> None:
    check()


def test_what_is_left_out_is_removed_of_the_image(tmp_path: Path) -> None:
    lower = tmp_path / 'graph/layer/diff'
    for name in ('image/config.xml', 'tmp/old/file', 'etc/hosts', 'var/cache/kiwi/x'):
        (lower / name).parent.mkdir(parents=True, exist_ok=True)
        (lower / name).write_text(name)
    with overlay_root(tmp_path, lower) as root:
        (root / 'image/config.xml').write_text('new')
        (root / 'tmp/new').write_text('new')
        (root / 'etc/new').write_text('new')
        found = check_same(lower, root, ('image', 'tmp/*', 'var/cache/kiwi'))
    assert sorted(found.removed) == [b'image', b'tmp/old', b'var/cache/kiwi']
    assert [change.entry.path for change in found.changes if change.entry.is_file] == [b'etc/new']
