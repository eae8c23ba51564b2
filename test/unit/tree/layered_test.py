# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers read as overlayfs shows them: by the kernel's own eyes, and links."""
from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, List

import pytest

from kiwi_stackbuild_plugin.tree.layered import LayeredTree

Make = Callable[[Path], object]


def _file(path: str, content: str = 'x') -> Make:
    def make(layer: Path) -> None:
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).write_text(content)
    return make


def _whiteout(path: str) -> Make:
    def make(layer: Path) -> None:
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(layer / path, 0o600 | 0o020000, 0)
    return make


def _opaque(path: str, mark: str = 'trusted.overlay.opaque', value: bytes = b'y') -> Make:
    def make(layer: Path) -> None:
        (layer / path).mkdir(parents=True, exist_ok=True)
        os.setxattr(layer / path, mark, value)
    return make


def _link(path: str, target: str) -> Make:
    def make(layer: Path) -> None:
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).symlink_to(target)
    return make


#: what is in the upper of two layers; the lower has a/b/one and a/b/two
CASES = {
    'nothing': [],
    'another file': [_file('a/b/three')],
    'file replaced': [_file('a/b/one', 'new')],
    'file gone': [_whiteout('a/b/one')],
    'directory gone': [_whiteout('a/b')],
    'parent gone': [_whiteout('a')],
    'directory anew': [_opaque('a/b'), _file('a/b/three')],
    'parent anew': [_opaque('a'), _file('a/b/three')],
    'mark that is not for root': [_opaque('a/b', 'user.overlay.opaque'), _file('a/b/three')],
    'mark of fuse-overlayfs': [
        _opaque('a', 'user.fuseoverlayfs.opaque'), _file('a/b/three')
    ],
    'mark of another value': [_opaque('a', value=b'n'), _file('a/b/three')],
    'directory is a file': [_file('a/b')],
    'directory is a link': [_link('a/b', '/etc')],
    'file is a link': [_link('a/b/one', 'two')],
    'file is a directory': [_file('a/b/one/x')],
}


@pytest.mark.skipif(os.geteuid() != 0, reason='mounts an overlay')
@pytest.mark.parametrize('case', CASES)
def test_same_as_overlayfs(tmp_path: Path, case: str) -> None:
    lower, upper, merged = (tmp_path / name for name in ('lower', 'upper', 'merged'))
    for path in (lower, upper, merged):
        path.mkdir()
    for make in (_file('a/b/one'), _file('a/b/two'), *CASES[case]):
        make(lower if make not in CASES[case] else upper)
    # two lower directories: nothing is written, so no upper one is needed
    subprocess.run([
        'mount', '-t', 'overlay', 'overlay', '-o', f'ro,lowerdir={upper}:{lower}', merged
    ], check=True)
    try:
        expected = [_seen([merged], path) for path in ('a/b', 'a/b/one', 'a/b/three')]
    finally:
        subprocess.run(['umount', merged], check=True)
    assert [_seen([upper, lower], path) for path in ('a/b', 'a/b/one', 'a/b/three')] == expected


def _seen(layers: List[Path], path: str) -> object:
    with ExitStack() as stack:
        fds = [os.open(layer, os.O_RDONLY) for layer in layers]
        for fd in fds:
            stack.callback(os.close, fd)
        tree = LayeredTree(fds)
        try:
            if path == 'a/b':
                return tree.names(b'a/b')
            opened = tree.open(os.fsencode(path))
        except OSError as issue:
            return type(issue)
        if opened is None:
            return None
        stack.callback(os.close, opened)
        return os.read(opened, 100)


@pytest.mark.parametrize('case', CASES)
def test_layer_that_touches_nothing_is_known(tmp_path: Path, case: str) -> None:
    for make in [*CASES[case], _file('elsewhere/b/one')]:
        make(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert LayeredTree([fd]).touches(b'a/b') == (case != 'nothing')
    finally:
        os.close(fd)
