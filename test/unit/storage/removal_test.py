# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be removed from a storage, how, and what that frees."""
from __future__ import annotations

from pathlib import Path

import pytest
from fake_storage import FakeStorage

from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.removal import (
    disk_usage, needed_images, own_layers, remove_image, remove_name
)

ONE, TWO, THREE = 'a' * 64, 'b' * 64, 'c' * 64


def image(layers: str, known: int = 99) -> ImageInfo:
    """Return an image of one layer for each letter."""
    return ImageInfo(layers, layers=tuple(layers), directories=tuple(
        f'/layers/{layers[:number + 1]}' for number in range(len(layers))
    )[:known])


def test_layers_that_only_go_with_the_last_image() -> None:
    one, two, three = (image(layers) for layers in ('a', 'ab', 'ac'))
    assert own_layers([one], [two, three]) == {}
    assert own_layers([two], [one, three]) == {('a', 'b'): '/layers/ab'}
    assert own_layers([one, two, three], []) == {
        ('a',): '/layers/a', ('a', 'b'): '/layers/ab', ('a', 'c'): '/layers/ac'
    }
    # the same diff on another base is another layer
    assert own_layers([image('xb')], [two]) == {
        ('x',): '/layers/x', ('x', 'b'): '/layers/xb'
    }


@pytest.mark.parametrize('known', [0, 1])
def test_directories_that_do_not_fit_the_layers_are_not_guessed(known: int) -> None:
    assert own_layers([image('ab', known)], []) == {('a',): '', ('a', 'b'): ''}


def test_what_is_needed_and_why(storage: FakeStorage) -> None:
    for image_id in (ONE, TWO, THREE):
        storage.add(image_id)
    assert needed_images([]) == {}
    storage.change(mounts={ONE: 1, TWO: 0}, containers=[THREE, THREE])
    assert needed_images([]) == {ONE: 'it is mounted', THREE: 'a container needs it'}
    # buildah's containers are asked for as well
    assert storage.calls('ps', '--all', '--external')


@pytest.mark.parametrize('said', ['{', '5', '[5]', '[{}]', '[null]', '{"id": "x"}'])
def test_mounts_that_nobody_understands_stop_it(storage: FakeStorage, said: str) -> None:
    """To remove what may be mounted would be worse."""
    (storage.home / 'bin/podman').write_text(f"#!/bin/sh\necho '{said}'\n")
    with pytest.raises(KiwiStashToolFailed, match='no list of images'):
        needed_images([])


@pytest.mark.parametrize('call', ['podman image mount', 'podman ps'])
def test_what_cannot_be_asked_is_an_error(storage: FakeStorage, call: str) -> None:
    storage.fail(call, 'Error: storage is locked\n')
    with pytest.raises(KiwiStashToolFailed, match='storage is locked'):
        needed_images([])


def test_an_image_goes_with_its_names(storage: FakeStorage) -> None:
    storage.add(ONE, 'localhost/a:1', 'localhost/a:2')
    storage.add(TWO, 'localhost/a:3', 'localhost/b:1')
    remove_name(TWO, 'localhost/a:3')
    assert storage.names()[TWO] == ['localhost/b:1']
    remove_image(ONE)
    assert list(storage.names()) == [TWO]


def test_an_image_that_stays_is_named(storage: FakeStorage) -> None:
    storage.add(ONE)
    storage.fail('skopeo delete', 'level=fatal msg="image is in use by \\"x\\""', 1)
    with pytest.raises(KiwiStashToolFailed) as raised:
        remove_image(ONE)
    assert raised.value.summary == (
        'image aaaaaaaaaaaa is not removed: image is in use by "x" (exit status 1)'
    )


def test_disk_usage_counts_hard_links_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    top = tmp_path_factory.mktemp('layer')
    (top / 'a').write_bytes(bytes(range(256)) * 64)
    alone = disk_usage(str(top))
    (top / 'b').hardlink_to(top / 'a')
    assert 0 < alone == disk_usage(str(top))


@pytest.mark.parametrize('link', ['/', 'deep', 'deep/er/file', 'nowhere'])
def test_disk_usage_follows_no_link(tmp_path: Path, link: str) -> None:
    (tmp_path / 'deep/er').mkdir(parents=True)
    (tmp_path / 'deep/er/file').write_bytes(bytes(range(256)) * 64)
    before = disk_usage(str(tmp_path))
    assert before >= 256 * 64
    (tmp_path / 'link').symlink_to(link)
    assert disk_usage(str(tmp_path)) == before


def test_disk_usage_is_of_blocks_not_of_sizes(tmp_path: Path) -> None:
    with open(tmp_path / 'sparse', 'wb') as out:
        out.truncate(1 << 30)
    assert disk_usage(str(tmp_path)) < 1 << 20
