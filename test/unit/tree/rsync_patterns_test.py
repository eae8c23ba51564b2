# SPDX-License-Identifier: GPL-3.0-or-later
"""Exclude patterns mean what the real rsync, which kiwi calls, takes them for."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Set

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from kiwi_stackbuild_plugin.tree.selection import make_exclusion

EXAMPLES = int(os.environ.get('KIWI_STASH_TEST_FUZZ', '60'))
NAMES = ('a', 'b', 'ab', 'a.txt', '.a', '*', '[', '\\', 'a-', ']a', 'a*', 'Z1', '\n', 'é')
TOKENS = (
    'a', 'b', 'ab', '.txt', '.', '-', 'Z', '1', 'é', '/', '/', '/', '*', '*', '**', '***', '?',
    '[ab]', '[!a]', '[^a]', '[a-c]', '[]a]', '[!]a]', '[a-]', '[-a]', '[[:alpha:]]',
    '[[:digit:][:upper:]]', '[[:no:]]', '[[:alpha]', '[a\\]b]', '[\\a-\\c]', '[/a]', '[',
    '[a', ']', '\\', '\\*', '\\a', '\\[', '[[:punct:]]', '[!-~]', '[*?]', '\n', ' '
)


@pytest.fixture(scope='module')
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give files of all names in directories of some, three deep."""
    top = tmp_path_factory.mktemp('patterns') / 'tree'
    places = ['', 'd', 'a', 'a/ab', 'a/ab/b', 'd/*', 'ab', 'd/a.txt']
    for where in places:
        (top / where).mkdir(parents=True, exist_ok=True)
    for where in places:
        for name in NAMES:
            if not (top / where / name).is_dir():
                (top / where / name).touch()
    return top


def left_by_us(tree: Path, pattern: str) -> Set[str]:
    fd = open_tree(str(tree))
    try:
        return {os.fsdecode(entry.path) for entry in scan(fd, make_exclusion([pattern]))}
    finally:
        os.close(fd)


def left_by_rsync(tree: Path, pattern: str) -> Set[str]:
    """As kiwi.utils.sync calls it, with what is read of exclude_files.yaml."""
    copy = tree.with_name('copy')
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(
        ['rsync', '-r', '--exclude', '/' + pattern.lstrip('/'), f'{tree}/', copy], check=True
    )
    return {str(path.relative_to(copy)) for path in copy.rglob('*')}


@settings(
    max_examples=2 * EXAMPLES, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize='KIWI_STASH_TEST_FUZZ' not in os.environ
)
@given(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=7).map(''.join))
@example('a/*.txt')
@example('*.txt')
@example('**.txt')
@example('a/**')
@example('a/***')
@example('a/***/')
@example('a**/')
@example('d/')
@example('a.txt/')
@example('**/b')
@example('a//')
@example('/')
@example('//a/b')
@example('*')
@example('a\\b')
@example('\\*')
@example('a/?')
@example('a?b')
@example('[!b]')
@example('a[/]b')
@example('*/*/b')
@example('d/a*')
@example('*a*b*')
@example('**a*/*b')
@example('*/**b**')
def test_patterns_are_those_of_rsync(tree: Path, pattern: str) -> None:
    assert left_by_us(tree, pattern) == left_by_rsync(tree, pattern)
