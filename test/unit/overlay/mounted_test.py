# SPDX-License-Identifier: GPL-3.0-or-later
"""Which layers only one of an overlay root and an image has, by how the root is mounted."""
from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Sequence

import pytest

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.overlay.mounted import opened_layers
from kiwi_stackbuild_plugin.tree.opening import opened_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='mounts overlays')

#: as overlay.mount has them
OURS = ('index=off', 'metacopy=off', 'redirect_dir=off', 'xino=auto')


def image(tmp_path: Path, *names: str) -> ImageInfo:
    """Give an image of layers in a storage of no podman."""
    paths = []
    for name in names:
        path = tmp_path / 'graph' / name / 'diff'
        path.mkdir(parents=True, exist_ok=True)
        (path / f'of-{name}').touch()
        paths.append(str(path))
    return ImageInfo('f' * 64, driver='overlay', directories=tuple(paths), layers=names)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / 'image root'
    for name in (path, f'{path}.overlay/upper', f'{path}.overlay/work', tmp_path / 'upper'):
        Path(name).mkdir(parents=True)
    yield path
    subprocess.run(['umount', path], check=False, stderr=subprocess.DEVNULL)


def mount(root: Path, lower: Sequence[str], options: Sequence[str], upper: str = '') -> None:
    beside = f'{root}.overlay'
    subprocess.run([
        'mount', '-t', 'overlay', 'overlay', '-o',
        f'lowerdir={":".join(f"{name}/diff" for name in lower)},'
        f'upperdir={upper or beside}/upper,workdir={beside}/work,{",".join(options)}', root
    ], check=True, cwd=root.parent / 'graph')


def told(root: Path, info: ImageInfo) -> List[List[str]]:
    """Return what is in each layer that is told of."""
    with opened_tree(str(root)) as fd, opened_layers(str(root), fd, info) as layers:
        return [os.listdir(layer) for layer in layers]


@pytest.mark.parametrize(('lower', 'layers', 'above'), [
    ('a', 'a', ''), ('ba', 'ab', ''), ('a', 'abc', 'bc'), ('ba', 'abc', 'c'),
    ('b', 'ab', None), ('ab', 'ab', None), ('cba', 'ab', None), ('a', 'b', None)
])
def test_layers_that_one_has(
    tmp_path: Path, root: Path, lower: str, layers: str, above: str
) -> None:
    image(tmp_path, *'abc')
    mount(root, lower, OURS)
    (root / 'new').touch()
    assert told(root, image(tmp_path, *layers)) == (
        [] if above is None else [['new'], *([f'of-{name}'] for name in above)]
    )


@pytest.mark.parametrize('option', ['redirect_dir=on', 'metacopy=on', 'index=on', 'userxattr'])
def test_other_options_tell_nothing(tmp_path: Path, root: Path, option: str) -> None:
    info = image(tmp_path, 'a')
    mount(root, 'a', [option])
    assert told(root, info) == []


def test_other_upper_directory_tells_nothing(tmp_path: Path, root: Path) -> None:
    info = image(tmp_path, 'a')
    (root.parent / 'root').mkdir()
    subprocess.run(['mv', f'{root}.overlay/work', tmp_path / 'work'], check=True)
    subprocess.run([
        'mount', '-t', 'overlay', 'overlay', '-o',
        f'lowerdir={tmp_path}/graph/a/diff,upperdir={tmp_path}/upper,workdir={tmp_path}/work',
        root
    ], check=True)
    assert told(root, info) == []


def test_what_is_not_mounted_tells_nothing(tmp_path: Path, root: Path) -> None:
    info = image(tmp_path, 'a')
    assert told(root, info) == []
    mount(root, 'a', OURS)
    assert told(root, replace(info, directories=())) == []
