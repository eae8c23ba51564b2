# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stash takes of a tree, and how contents are compared."""
from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, List, Optional, Set

import pytest
from in_time import within

from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import Exclusion, scan
from kiwi_stackbuild_plugin.tree.selection import (
    directories_of, make_exclusion, storable
)
from zoo import make_deep, make_socket, write


def scanned(root: Path, exclusion: Exclusion = Exclusion()) -> List[Entry]:  # noqa: B008
    fd = open_tree(str(root))
    try:
        return list(scan(fd, exclusion))
    finally:
        os.close(fd)


def paths(entries: List[Entry]) -> List[bytes]:
    return [entry.path for entry in entries]


def test_exclusions(tmp_path: Path) -> None:
    for name in (
        'dev/null', 'var/cache/a/b', 'var/lib/run/keep', 'run/lock', 'tmp/x.o',
        'usr/tmp/x.o', 'image/imported_root', 'etc/[x]', '.git/config', 'tmp/deep/y.o'
    ):
        write(tmp_path / name, b'')
    found = paths(scanned(tmp_path, make_exclusion(
        ['/run/*', 'image/imported_root', 'tmp/*.o', '.git', 'var/cache/*/b', '/'],
        [b'dev']
    )))
    assert found == [
        b'dev', b'etc', b'etc/[x]', b'image', b'run', b'tmp', b'tmp/deep',
        b'tmp/deep/y.o', b'usr', b'usr/tmp',
        b'usr/tmp/x.o', b'var', b'var/cache', b'var/cache/a', b'var/lib',
        b'var/lib/run', b'var/lib/run/keep'
    ]


def test_pattern_with_directory_wildcard_and_undecodable_names(tmp_path: Path) -> None:
    write(tmp_path / 'a/\udcff/x', b'')
    write(tmp_path / 'b/x', b'')
    exclusion = make_exclusion([os.fsdecode(b'[ab]/\xff*')])
    assert paths(scanned(tmp_path, exclusion)) == [b'a', b'b', b'b/x']


def test_what_no_layer_holds_is_reported(tmp_path: Path) -> None:
    write(tmp_path / '.wh.d/in/deeper', b'')
    write(tmp_path / 'a/.wh..wh..opq', b'')
    write(tmp_path / '.wh', b'')
    make_socket(tmp_path / 'socket')
    os.mknod(tmp_path / 'zero', stat.S_IFCHR | 0o600, 0)
    os.mknod(tmp_path / 'zero-block', stat.S_IFBLK | 0o600, 0)
    make_deep(tmp_path / 'deep', 2100 - len('deep/'))
    told: List[Any] = []
    asked: List[int] = []

    def longest() -> int:
        asked.append(2097)
        return 2097
    kept = paths(list(storable(
        scanned(tmp_path), lambda *what: told.append(what), longest
    )))
    assert {path for path, _ in told if len(path) < 100} == {
        b'.wh.d', b'a/.wh..wh..opq', b'socket', b'zero'
    }
    assert asked == [2097], 'once, and only for a very long path'
    (_, why), = [item for item in told if len(item[0]) > 100]
    assert why == 'the path has 2100 bytes, the storage takes 2097'
    assert not any(part.startswith(b'.wh.d') for part in kept)
    assert {b'.wh', b'a', b'zero-block'} <= set(kept)


def test_patterns_match_whole_paths() -> None:
    exclusion = make_exclusion(['a*'])
    assert exclusion.pattern is not None
    assert re.match(exclusion.pattern, b'ab')
    assert re.match(exclusion.pattern, b'ab/'), 'a directory'
    assert not re.match(exclusion.pattern, b'x/ab')
    assert not re.match(exclusion.pattern, b'ab/c')


@pytest.mark.parametrize(('pattern', 'path', 'matched'), [
    ('*a' * 12 + 'b', b'a' * 250, b'a' * 250 + b'b'),
    ('usr/' + '?*' * 12 + 'b', b'usr/' + b'a' * 250, b'usr/' + b'a' * 250 + b'b'),
    ('[a]*' * 12 + 'b', b'a' * 250, b'a' * 250 + b'b'),
    ('**a' * 12 + 'b', b'a/' * 500, b'a/' * 500 + b'ab'),
    ('**/' * 12 + 'b', b'a/' * 500, b'a/' * 500 + b'b'),
    ('**' + 'a*' * 12 + 'b', b'a' * 250, b'a/' + b'a' * 250 + b'b'),
    ('**' + '*a**' * 12 + 'b', b'aa/' * 300, b'aa/' * 300 + b'b'),
    ('**' + 'a*' * 12 + '/**b', b'aaa/' * 250, b'aaa/' + b'a' * 12 + b'/c/b')
])
def test_any_number_of_stars(pattern: str, path: bytes, matched: bytes) -> None:
    expression = make_exclusion([pattern, pattern]).pattern
    assert expression is not None
    with within(2):
        assert expression.match(path) is None
        assert expression.match(matched)


@pytest.mark.parametrize('pattern', [
    'image', '/image/', 'image/*', 'image/config.xml', '**', '*', '*/config.xml', 'i*/**',
    '.pro*', '.profile', '[i.]*', 'image/***'
])
def test_what_a_rebuild_needs_is_kept(tmp_path: Path, pattern: str) -> None:
    wanted = [b'.profile', b'image', b'image/config.xml', b'image/root']
    for name in wanted:
        if name != b'image':
            write(tmp_path / os.fsdecode(name), b'')
    write(tmp_path / 'images/x', b'')
    found = paths(scanned(tmp_path, make_exclusion([pattern], (), [b'image', b'.profile'])))
    assert [path for path in found if not path.startswith(b'images')] == wanted
    if pattern in ('**', '*', 'i*/**'):
        assert b'images/x' not in found


@pytest.mark.parametrize(('patterns', 'expected'), [
    ([], set()), (['image', '/.kconfig'], {b''}), (['run/*', '/dev/?'], {b'run', b'dev'}),
    (['var/cache/kiwi', 'var/cache/[ab]*/'], {b'var/cache'}),
    (['a/**'], None), (['**'], None), (['a*/b'], None), (['a[/]b'], None),
    (['a\\*/b'], None), (['a/b\\*'], None), (['image', 'dir/***'], None)
])
def test_directories_that_patterns_reach(
    patterns: List[str], expected: Optional[Set[bytes]]
) -> None:
    assert directories_of(patterns) == expected
