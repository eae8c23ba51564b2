# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a root tree is a change of, and when a chain of layers ends."""
from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import pytest
from stored_images import StoredImages, own_labels
from trees import make_root

from kiwi_stackbuild_plugin.description.origin import take_moment, write_origin
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid, KiwiStashImageNotFound
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo, oci_architecture
from kiwi_stackbuild_plugin.stash.base import (
    MOST_LAYERS, Base, chain_is_beyond_use, chain_is_full, chain_limit, container_below,
    imported_archive, imported_label, resolve_base
)
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.storage.find import Sources

ONE, TWO, THREE = '1' * 64, '2' * 64, '3' * 64
LAYERS = tuple(f'sha256:{digit * 64}' for digit in 'abc')
STASH = own_labels(LAYERS[0])
MACHINE = oci_architecture(os.uname().machine)
CONTAINER = json.dumps({'rootfs': {'diff_ids': LAYERS[:1]}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / 'root')


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    fd = open_tree(str(root))
    yield fd
    os.close(fd)


def found(
    space: Workspace, root_fd: int, explicit: Optional[str] = None, no_base: bool = False
) -> Tuple[str, str]:
    """Return ID and reason of the base of a stash small:v2."""
    base = resolve_base(
        Sources(space), root_fd, 'small:v2', explicit, no_base, take_moment(root_fd)
    )
    return (base.info.image_id, base.why) if base else ('', '')


def test_rules_in_their_order(
    space: Workspace, root: Path, root_fd: int, stored: StoredImages
) -> None:
    """Each rule gives way to the one that is added after it."""
    assert found(space, root_fd) == ('', '')
    stored.add(ONE, 'localhost/small:v1', told=STASH)
    assert found(space, root_fd) == (
        ONE, 'the newest stash of the same name, there is none of small:v2'
    )
    stored.add(TWO, 'localhost/small:v2', told=STASH)
    assert found(space, root_fd) == (TWO, 'the stash of the same name')
    (root / 'image/imported_root').write_text(CONTAINER)
    container = hashlib.sha256(CONTAINER.encode()).hexdigest()
    stored.add(container)
    assert found(space, root_fd) == (container, 'the root tree was derived from it')
    stored.add(THREE, 'docker.io/library/other:latest')
    write_origin(root_fd, THREE, 'other', 'sha256:x', take_moment(root_fd))
    assert found(space, root_fd) == (THREE, 'the root tree came from it')
    assert found(space, root_fd, 'small:v1') == (ONE, 'as asked for')
    assert found(space, root_fd, no_base=True) == ('', '')
    with pytest.raises(KiwiStashImageNotFound):
        found(space, root_fd, 'nowhere')


def test_image_of_the_record_is_gone(
    space: Workspace, root_fd: int, stored: StoredImages, caplog: pytest.LogCaptureFixture
) -> None:
    stored.add(ONE, 'localhost/small:v1', told=STASH)
    write_origin(root_fd, THREE, 'other', 'sha256:x', take_moment(root_fd))
    assert found(space, root_fd)[0] == ONE
    assert f'(other, {THREE[:12]}) is no longer stored' in caplog.text


@pytest.mark.parametrize(('image', 'told', 'architecture', 'taken'), [
    ('localhost/small:v2', {}, '', False),
    ('localhost/small:v2', STASH, '', True),
    ('localhost/small:v1', STASH, MACHINE, True),
    ('localhost/small:v1', STASH, 'mips', False),
    ('localhost/smaller:v1', STASH, '', False),
    ('registry:5000/small:v2', STASH, '', False),
])
def test_what_a_name_gives(
    space: Workspace, root_fd: int, stored: StoredImages, image: str, told: Any,
    architecture: str, taken: bool
) -> None:
    stored.add(ONE, image, told=told, Architecture=architecture)
    assert bool(found(space, root_fd)[0]) is taken


def test_newest_of_a_name(space: Workspace, root_fd: int, stored: StoredImages) -> None:
    """By the moment, then by the length of the chain; an odd moment is the oldest."""
    times = (('1', '2026-01-01T00:00:00Z', 1), ('2', '2026-01-01T01:00:00+02:00', 3),
             ('3', '2026-01-01T00:00:00Z', 2), ('4', 'tomorrow', 3))
    for digit, created, count in times:
        stored.add(digit * 64, f'host/other:{digit}', f'localhost/small:t{digit}',
                   layers=LAYERS[:count], told=STASH, Created=created)
    base = resolve_base(Sources(space), root_fd, 'small:v2', None, False, None)
    assert base is not None and base.info.image_id == THREE
    assert base.info.display_name == 'localhost/small:t3'


@pytest.mark.parametrize('explicit', [None, ONE])
def test_moment_is_only_that_of_the_recorded_image(
    space: Workspace, root_fd: int, stored: StoredImages, explicit: Optional[str]
) -> None:
    stored.add(ONE)
    moment = take_moment(root_fd)

    def touched(image: str) -> Optional[int]:
        write_origin(root_fd, image, 'x', 'sha256:x', moment)
        base = resolve_base(Sources(space), root_fd, 'x:y', explicit, False, take_moment(root_fd))
        return base.touched_since if base else None

    assert touched(ONE) == moment
    assert touched(TWO) is None


@pytest.mark.parametrize(('told', 'rounded'), [
    ({}, True), (own_labels(LAYERS[0], MTIME='ns'), False),
    (own_labels(LAYERS[0], MTIME='rounded'), True), (own_labels(LAYERS[1], MTIME='ns'), True),
])
def test_times_of_a_base(told: Any, rounded: bool) -> None:
    assert Base(ImageInfo(ONE, labels=told, layers=LAYERS[:1]), '').rounded is rounded


@pytest.mark.parametrize(('kind', 'there'), [
    ('none', False), ('file', True), ('link', False), ('fifo', False), ('directory', False),
    ('long', True),
])
def test_archive_in_the_tree(
    root: Path, root_fd: int, stored: StoredImages, kind: str, there: bool
) -> None:
    """No link leads to another one, and nothing waits for a fifo."""
    place = root / 'image/imported_root'
    (root.parent / 'secret').write_text(CONTAINER)
    {
        'none': lambda: None, 'file': lambda: place.write_text(CONTAINER),
        'link': lambda: place.symlink_to('../../secret'), 'fifo': lambda: os.mkfifo(place),
        'directory': place.mkdir, 'long': lambda: place.write_text(CONTAINER + ' ' * (1 << 18))
    }[kind]()
    with imported_archive(root_fd) as path:
        assert (path is not None) is there
    assert imported_label(root_fd) == (
        {labels.IMPORTED_ROOT: CONTAINER} if kind == 'file' else {}
    )


def test_container_below_is_put_together(space: Workspace, stored: StoredImages) -> None:
    stash = stored.add(TWO, 'localhost/small:v2', layers=LAYERS[:2])
    whole = stored.add(ONE, layers=LAYERS[:1])
    base = container_below(space, stash, CONTAINER)
    assert base is not None and base.info.layers == LAYERS[:1]
    assert base.info.image_id == hashlib.sha256(CONTAINER.encode()).hexdigest()
    for config in ('', '{}', json.dumps({'rootfs': {'diff_ids': LAYERS[1:]}})):
        assert container_below(space, stash, config) is None
    base = container_below(space, whole, CONTAINER)
    assert base is not None and base.info == whole


def test_container_of_too_many_layers(
    space: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    layers = tuple(map(str, range(MOST_LAYERS)))
    config = json.dumps({'rootfs': {'diff_ids': layers}})
    assert container_below(space, ImageInfo(ONE, layers=layers), config) is None
    assert f'has {MOST_LAYERS} layers itself' in caplog.text


@pytest.mark.parametrize('text', [
    '', '0', '121', '-1', '1.5', '1_0', ' 1', '٣', '³', 'x', '9' * 99
])
def test_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv('KIWI_STASH_MAX_LAYERS', text)
    with pytest.raises(KiwiStashArgumentInvalid, match='not a number from 1 to 120'):
        chain_limit()


@pytest.mark.parametrize(('limit', 'count', 'full', 'beyond'), [
    ('3', 2, False, False), ('3', 3, True, False), ('120', 119, False, False),
    ('120', 120, True, False), ('120', 121, True, True), ('3', 121, True, True),
])
def test_chain_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: str, count: int,
    full: bool, beyond: bool
) -> None:
    monkeypatch.setenv('KIWI_STASH_MAX_LAYERS', limit)
    info = ImageInfo(ONE, layers=tuple(map(str, range(count))))
    assert (chain_is_full(info), chain_is_beyond_use(info)) == (full, beyond)
    caplog.set_level(logging.INFO, 'kiwi')
    caplog.clear()
    chain_is_full(info)
    assert (f'has {count} layers, at most {limit} are stacked' in caplog.text) is full
