# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays where a source is excluded, with rsync as the oracle."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List, Sequence, Set

import pytest

from kiwi_stackbuild_plugin.tree.opening import opened_tree
from kiwi_stackbuild_plugin.layer.protected import excluded_part, overlaid
from kiwi_stackbuild_plugin.tree.scan import scan
from kiwi_stackbuild_plugin.tree.selection import make_exclusion


def make_tree(root: Path, names: Sequence[str]) -> Path:
    """Make files, and directories where the name ends in a slash."""
    root.mkdir()
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith('/'):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(root.name)
    return root


def result_of(source: Path, target: Path, patterns: Sequence[str]) -> List[bytes]:
    """Return the paths of what the two trees make, with a mark for those of the target."""
    exclusion = make_exclusion(patterns)
    with opened_tree(str(source)) as one, opened_tree(str(target)) as two:
        inodes = {entry.inode for entry in scan(two)}
        return [
            entry.path + (b' of target' if entry.inode in inodes and entry.is_file else b'')
            for entry in overlaid(
                scan(one, exclusion), excluded_part(scan(two), exclusion)
            )
        ]


def result_of_rsync(source: Path, target: Path, patterns: Sequence[str]) -> Set[bytes]:
    subprocess.run(
        ['rsync', '-a', '--delete', *(f'--exclude=/{pattern}' for pattern in patterns),
         f'{source}/', str(target)], check=True, stderr=subprocess.DEVNULL
    )
    with opened_tree(str(target)) as fd:
        found = {
            entry.path: entry for entry in scan(fd)
        }
    return {
        path + (
            b' of target' if entry.is_file
            and (target / os.fsdecode(path)).read_text() == target.name else b''
        ) for path, entry in found.items()
    }


@pytest.mark.parametrize('source, target, patterns', [
    (['tmp/a', 'etc/b'], ['tmp/c', 'etc/d'], ['tmp/*']),
    (['tmp/'], ['tmp/c/d/e', 'tmp/c/f'], ['tmp/*']),
    (['tmp/same'], ['tmp/same', 'other/x'], ['tmp/*']),
    (['tmp-a', 'tmp/'], ['tmp/x', 'tmp.b'], ['tmp/*']),
    # the source has not even the directory
    (['etc/b'], ['run/deep/x', 'run/y', 'gone/z'], ['run/deep']),
    (['etc/b'], ['run/x'], ['run']),
    (['a/b/keep.txt', 'a/b/x.log'], ['a/b/y.log', 'a/b/old.txt', 'a/c/z.log'], ['a/*/*.log']),
    (['dev/null'], ['dev/'], ['dev/*']),
    ([], ['a/b'], []),
    (['a'], [], ['a']),
], ids=str)
def test_as_rsync_leaves_it(
    tmp_path: Path, source: List[str], target: List[str], patterns: List[str]
) -> None:
    one, two = make_tree(tmp_path / 'source', source), make_tree(tmp_path / 'target', target)
    found = result_of(one, two, patterns)
    assert set(found) == result_of_rsync(one, two, patterns)
    paths = [path.replace(b' of target', b'').split(b'/') for path in found]
    assert paths == sorted(paths)


def test_nothing_is_below_what_is_no_directory(tmp_path: Path) -> None:
    """rsync fails here."""
    source = make_tree(tmp_path / 'source', ['etc/x'])
    (source / 'run').symlink_to('var/run')
    target = make_tree(tmp_path / 'target', ['run/a', 'run/b/c', 'tmp/x'])
    assert result_of(source, target, ['run/*', 'tmp/*']) == [
        b'etc', b'etc/x', b'run', b'tmp', b'tmp/x of target'
    ]
