# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in layers: real directories, as the overlay driver keeps them."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stash import chain as module
from kiwi_stackbuild_plugin.stash.chain import LayerContent, LayerReader
from zoo import write

STATUS = 'var/lib/dpkg/status'


def packages(**versions: str) -> bytes:
    return ''.join(
        f'Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n'
        for name, version in versions.items()
    ).encode()


def make_image(folder: Path, *layers: Dict[str, bytes], first: int = 0) -> ImageInfo:
    """Write layers, from the bottom up; one without content is a whiteout."""
    directories = []
    for number, files in enumerate(layers, first):
        directory = folder / str(number)
        directory.mkdir()
        for name, content in files.items():
            if content:
                write(directory / name, content)
            else:
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                os.mknod(directory / name, 0o020600, 0)
        directories.append(str(directory))
    return ImageInfo(
        'f' * 64, layers=tuple(f'sha256:{number}' for number in range(first, first + len(layers))),
        directories=tuple(directories)
    )


def changes(content: Optional[LayerContent]) -> List[Any]:
    assert content is not None
    found = content.packages
    return [
        [one.name for one in found.added], [one.name for one in found.removed],
        [(one.name, one.version, two.version) for one, two in found.updated]
    ]


def test_each_layer_is_compared_with_those_below(tmp_path: Path) -> None:
    info = make_image(
        tmp_path, {STATUS: packages(a='1', b='1')}, {'usr/file': b'x'},
        {STATUS: packages(a='2', c='1')}, {STATUS: b''}, {'etc/file': b'x'}
    )
    assert [changes(content) for content in LayerReader().contents(info)] == [
        [['a', 'b'], [], []], [[], [], []], [['c'], ['b'], [('a', '1', '2')]],
        [[], ['a', 'c'], []], [[], [], []]
    ]


@pytest.mark.parametrize('hide', ['var', 'var/lib', 'var/lib/dpkg'])
def test_packages_of_which_a_layer_hides_the_list_are_gone(tmp_path: Path, hide: str) -> None:
    info = make_image(tmp_path, {STATUS: packages(a='1')}, {hide: b''})
    assert changes(LayerReader().contents(info)[1]) == [[], ['a'], []]


def test_ten_largest_files_of_a_layer(tmp_path: Path) -> None:
    """Paths as they are, from the root; links and whiteouts are no files."""
    info = make_image(tmp_path, {
        **{f'usr/{number:02}': bytes(100 + number) for number in range(12)}, 'gone': b'',
        'usr/b\udcff\n': bytes(500), 'same/2': bytes(200), 'same/1': bytes(200)
    })
    os.symlink('/etc/passwd', tmp_path / '0/link')
    content, = LayerReader().contents(info)
    assert content is not None
    assert content.largest == (
        ('usr/b\udcff\n', 500), ('same/1', 200), ('same/2', 200),
        *((f'usr/{number:02}', 100 + number) for number in range(11, 4, -1))
    )


def test_link_in_a_layer_is_not_followed(tmp_path: Path) -> None:
    """A stranger's layer must not have packages of this machine listed."""
    write(tmp_path / 'outside/status', packages(secret='1'))
    info = make_image(tmp_path, {'x': b'x'}, {'x': b'x'})
    (tmp_path / '1/var/lib').mkdir(parents=True)
    (tmp_path / '1/var/lib/dpkg').symlink_to(tmp_path / 'outside')
    below, above = LayerReader().contents(info)
    assert changes(below) == [[], [], []] and changes(above) == [[], [], []]
    assert above is not None and 'deb' in above.packages.unread


def lose_one(info: ImageInfo) -> ImageInfo:
    os.rename(info.directories[1], info.directories[1] + '.away')
    return info


def other_driver(info: ImageInfo) -> ImageInfo:
    return ImageInfo(info.image_id, layers=info.layers)


def link_one(info: ImageInfo) -> ImageInfo:
    lose_one(info)
    os.symlink('/etc', info.directories[1])
    return info


@pytest.mark.parametrize('spoil', [lose_one, other_driver, link_one])
def test_layers_that_are_not_to_be_read(tmp_path: Path, spoil: Any) -> None:
    info = spoil(make_image(tmp_path, {'a': b'x'}, {'b': b'x'}))
    before = set(os.listdir('/proc/self/fd'))
    assert LayerReader().contents(info) == [None, None]
    assert set(os.listdir('/proc/self/fd')) == before


def test_image_without_layers() -> None:
    assert LayerReader().contents(ImageInfo('f' * 64)) == []


def test_what_two_images_share_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: List[int] = []
    real = module.read_packages

    def counted(tree: Any, read_rpm: Any) -> Any:
        read.append(len(tree.layers))
        return real(tree, read_rpm)

    monkeypatch.setattr(module, 'read_packages', counted)
    base = make_image(tmp_path, {STATUS: packages(a='1')}, {'x': b'x'})
    more = make_image(tmp_path, {STATUS: packages(a='2')}, first=2)
    reader = LayerReader()
    first = reader.contents(base)
    both = ImageInfo(
        'e' * 64, layers=base.layers + more.layers,
        directories=base.directories + more.directories
    )
    assert reader.contents(both)[:2] == first
    assert changes(reader.contents(both)[2]) == [[], [], [('a', '1', '2')]]
    assert changes(reader.contents(more)[0]) == [['a'], [], []], 'the layer alone is another tree'
    assert read == [1, 3, 1]
