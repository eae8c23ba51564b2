# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stored can be saved and pushed with podman's own defaults, in any format."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest
from storages import Storage, remove_storage
from trees import describe
from witnesses import mounted, stash

NAME = 'localhost/small'


@pytest.fixture
def elsewhere(tmp_path: Path, storage: Storage) -> Iterator[Storage]:
    """Give a storage for another machine."""
    own = Storage(tmp_path / 'elsewhere', storage.temp_dir)
    yield own
    remove_storage(own.where)


def large(root: Path) -> None:
    (root / 'usr/large').write_bytes(os.urandom(9 << 20))


def pack_with_zstd(storage: Storage) -> None:
    """Store the stash again as earlier versions did, with layers of zstd."""
    layout = f'{storage.where}/layout'
    storage.run(
        'skopeo', 'copy', '--quiet', '--dest-compress-format=zstd', '--dest-compress',
        f'containers-storage:{NAME}', f'oci:{layout}:x'
    )
    storage.run('podman', 'rmi', '--force', NAME)
    storage.run('skopeo', 'copy', '--quiet', f'oci:{layout}:x', f'containers-storage:{NAME}')
    assert 'zstd' in storage.run(
        'skopeo', 'inspect', '--raw', f'containers-storage:{NAME}').stdout


def make_small(storage: Storage, root: Path) -> None:
    stash(storage, root)


def make_large(storage: Storage, root: Path) -> None:
    large(root)
    stash(storage, root)


def make_chain(storage: Storage, root: Path) -> None:
    make_large(storage, root)
    (root / 'etc/second').touch()
    stash(storage, root)
    (root / 'usr/large').write_bytes(os.urandom(8 << 20))
    stash(storage, root)


def make_on_zstd(storage: Storage, root: Path) -> None:
    make_large(storage, root)
    pack_with_zstd(storage)
    (root / 'etc/second').touch()
    stash(storage, root)


@pytest.mark.parametrize('make', [make_small, make_large, make_chain, make_on_zstd])
def test_stash_can_be_saved_and_pushed(
    storage: Storage, elsewhere: Storage, root: Path, tmp_path: Path,
    make: Callable[[Storage, Path], None]
) -> None:
    make(storage, root)
    archives = []
    for number, command in enumerate([
        'podman save --quiet --output={} ' + NAME,
        'podman save --quiet --format=oci-archive --output={} ' + NAME,
        f'skopeo copy --quiet containers-storage:{NAME} docker-archive:{{}}:{NAME}:latest',
        f'skopeo copy --quiet --format=v2s2 containers-storage:{NAME} dir:{{}}',
        f'podman push --quiet --format=v2s2 {NAME} dir:{{}}',
        f'podman push --quiet {NAME} dir:{{}}'
    ]):
        archives.append(tmp_path / f'archive{number}')
        storage.run(*command.format(archives[-1]).split())
    tree = mounted(storage)
    for archive in archives:
        if archive.is_dir():
            elsewhere.run(
                'skopeo', 'copy', '--quiet', f'dir:{archive}', f'containers-storage:{NAME}'
            )
        else:
            elsewhere.run('podman', 'load', '--input', str(archive))
        there = mounted(elsewhere)
        elsewhere.run('podman', 'rmi', '--force', NAME)
        assert there.keys() == tree.keys()
    assert tree[b'etc/hostname'] == describe(root)[b'etc/hostname']


def test_listed_layers_are_what_the_storage_has(storage: Storage, root: Path) -> None:
    """A plain layer is named by the digest and size that anybody can check."""
    make_chain(storage, root)
    manifest = json.loads(storage.run(
        'skopeo', 'inspect', '--raw', f'containers-storage:{NAME}').stdout)
    config = json.loads(storage.run(
        'skopeo', 'inspect', '--config', '--raw', f'containers-storage:{NAME}').stdout)
    kinds = [layer['mediaType'].rpartition('.')[2] for layer in manifest['layers']]
    assert kinds == ['tar', 'tar+gzip', 'tar']
    plain = [
        (layer['digest'], diff_id) for layer, diff_id
        in zip(manifest['layers'], config['rootfs']['diff_ids'])
        if layer['mediaType'].endswith('tar')
    ]
    assert all(one == two for one, two in plain)
    assert manifest['layers'][0]['size'] > 9 << 20
    assert storage.stash('small')['digest'] == storage.run(
        'podman', 'image', 'inspect', '--format={{.Digest}}', NAME).stdout.strip()
