# SPDX-License-Identifier: GPL-3.0-or-later
"""Stashes in a real registry with TLS and logins: what travels, what fails."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterator, List

import pytest
from registries import Registry, is_installed
from storages import Storage, image_root

pytestmark = pytest.mark.skipif(
    not is_installed(), reason='docker-registry is not installed'
)
#: TLS, logins, manifest and config: what even a copy of nothing costs
OVERHEAD = 40_000


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry of its own."""
    server = Registry(tmp_path / 'registry')
    yield server
    server.close()


def add_bulk(root: Path, size: int = 2_000_000) -> None:
    """Give a root tree some bytes that nothing compresses."""
    with open('/dev/urandom', 'rb') as source:
        (root / 'usr/bulk').write_bytes(source.read(size))


def other_storage(storage: Storage, tmp_path: Path) -> Storage:
    """Give a second host: another storage."""
    (tmp_path / 'temp2').mkdir()
    return Storage(tmp_path / 'storage/second', tmp_path / 'temp2')


def test_export_sends_only_what_the_registry_lacks(
    storage: Storage, root: Path, registry: Registry
) -> None:
    add_bulk(root)
    target = f'docker://{registry.host}/team/small'
    export = [f'--export={target}', *registry.options]
    storage.kiwi('stash', '--root', str(root), *export)
    assert registry.proxy.up > 2_000_000
    assert len(registry.manifest('team/small')['layers']) == 1
    (root / 'etc/role').write_text('web')
    registry.proxy.reset()
    storage.kiwi('stash', '--root', str(root), '--tag=v2', *export)
    assert registry.proxy.up < OVERHEAD
    assert len(registry.manifest('team/small', 'v2')['layers']) == 2
    registry.proxy.reset()
    storage.kiwi(
        'stash', '--container-name=small', '--tag=v2', *registry.options,
        f'--export=docker://{registry.host}/other/name:v3'
    )
    assert registry.proxy.up < OVERHEAD, 'a layer of another repository travelled'
    assert registry.has('other/name', 'v3')
