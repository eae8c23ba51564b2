# SPDX-License-Identifier: GPL-3.0-or-later
"""Stashes in a real registry with TLS and logins: what travels, what fails."""
from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import List

import pytest
from registries import (
    Registry, add_bulk, is_installed, other_storage, write_list
)
from storages import Storage, image_root

pytestmark = pytest.mark.skipif(
    not is_installed(), reason='docker-registry is not installed'
)
#: TLS, logins, manifest and config: what even a copy of nothing costs
OVERHEAD = 40_000


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


def test_another_host_pulls_builds_and_stashes_on_it(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path,
    fast: List[str]
) -> None:
    add_bulk(root)
    target = f'{registry.host}/team/small'
    storage.kiwi('stash', '--root', str(root), f'--export=docker://{target}', *registry.options)
    with other_storage(tmp_path) as other:
        words = ['stackbuild', f'--stash={target}', *registry.options]
        other.kiwi(*words, '--target-dir', str(tmp_path / 'a'), options=fast)
        assert (image_root(tmp_path / 'a') / 'usr/bulk').stat().st_size == 2_000_000
        assert other.stash(target)['id'] == storage.stash('small')['id']
        registry.proxy.reset()
        other.kiwi(*words, '--target-dir', str(tmp_path / 'b'), options=fast)
        assert registry.proxy.down == 0, 'it was stored, and the registry was asked'
        other.kiwi(
            *words, '--target-dir', str(tmp_path / 'c'), '--pull=always', options=fast
        )
        assert 0 < registry.proxy.down < OVERHEAD
        (image_root(tmp_path / 'a') / 'etc/role').write_text('web')
        registry.proxy.reset()
        other.kiwi(
            'stash', '--root', str(image_root(tmp_path / 'a')), *registry.options,
            '--container-name=web', f'--export=docker://{registry.host}/team/web'
        )
        assert registry.proxy.up < OVERHEAD
    assert len(registry.manifest('team/web')['layers']) == 2


def test_from_registry_asks_for_what_is_there_now(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    export = [f'--export=docker://{registry.host}/team/small', *registry.options]
    storage.kiwi('stash', '--root', str(root), *export)
    words = [
        'stackbuild', '--stash=small', f'--from-registry={registry.host}/team',
        *registry.options, '--dry-run', f'--target-dir={tmp_path}/out'
    ]
    with other_storage(tmp_path) as other:
        other.kiwi(*words)
        (root / 'etc/role').write_text('web')
        storage.kiwi('stash', '--root', str(root), *export)
        newest = storage.stash('small')['id']
        target = f'{registry.host}/team/small'
        other.kiwi(*words, '--pull=missing')
        assert other.stash(target)['id'] != newest
        other.kiwi(*words)
        assert other.stash(target)['id'] == newest
        registry.stop()
        failed = other.kiwi(*words, check=False)
        assert failed.returncode == 1 and 'cannot be read' in failed.stderr
        newer = other.kiwi(*words, '--pull=newer')
        assert 'taking the stored one' in newer.stdout + newer.stderr
        other.kiwi(*words, '--pull=never')
        other.run('podman', 'rmi', '--all', '--force')
        failed = other.kiwi(*words, '--pull=never', check=False)
        assert failed.returncode == 1 and '--pull=never forbids' in failed.stderr


def test_pinned_digest_archive_and_layout(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    storage.kiwi(
        'stash', '--root', str(root), f'--export=docker://{registry.host}/small',
        f'--export=oci-archive:{tmp_path}/small.tar', f'--export=oci:{tmp_path}/layout:v1',
        *registry.options
    )
    wanted = storage.stash('small')['id']
    digest = storage.run(
        'skopeo', 'inspect', '--format={{.Digest}}', *registry.options,
        f'docker://{registry.host}/small'
    ).stdout.strip()
    with tarfile.open(tmp_path / 'small.tar') as archive:
        assert 'index.json' in archive.getnames()
    for number, reference in enumerate((
        f'docker://{registry.host}/small@{digest}', f'oci-archive:{tmp_path}/small.tar',
        f'oci:{tmp_path}/layout:v1'
    )):
        with other_storage(tmp_path, str(number)) as other:
            said = other.kiwi(
                'stackbuild', f'--stash={reference}', *registry.options,
                '--dry-run', f'--target-dir={tmp_path}/out'
            ).stdout
            assert f'({wanted[:12]}): all of it' in said
            if not reference.startswith('docker:'):
                # a dry run leaves nothing
                assert not other.run('podman', 'images', '--all', '--quiet').stdout
    before = (tmp_path / 'small.tar').stat().st_ino
    storage.kiwi(
        'stash', '--container-name=small', f'--export=oci-archive:{tmp_path}/small.tar'
    )
    assert (tmp_path / 'small.tar').stat().st_ino != before


def test_list_of_a_registry(
    storage: Storage, root: Path, registry: Registry
) -> None:
    export = [f'--export=docker://{registry.host}/team/small', *registry.options]
    storage.kiwi('stash', '--root', str(root), *export)
    (root / 'etc/role').write_text('web')
    storage.kiwi('stash', '--root', str(root), '--tag=v2', *export)
    with tarfile.open(root / 'foreign.tar', 'w') as archive:
        archive.add(root / 'etc')
    storage.run('podman', 'import', str(root / 'foreign.tar'), 'localhost/foreign')
    storage.run(
        'podman', 'push', '--quiet', *registry.options, 'localhost/foreign',
        f'docker://{registry.host}/team/foreign'
    )
    name = f'{registry.host}/team/small'
    for place, words in (
        (registry.host, []), (f'{registry.host}/team', []), (name, []),
        (f'{registry.host}/team', ['small'])
    ):
        found = storage.stashes(f'--remote={place}', *registry.options, *words)
        assert [(item['name'], item['tag']) for item in found] == [
            (name, 'latest'), (name, 'v2')
        ]
    assert found[1]['id'] == storage.stash('small:v2')['id']
    assert found[1]['base']['name'] == 'localhost/small:latest'
    chain = found[1]['chain']
    assert (chain[1]['added'], chain[1]['removed']) == (1, 0)
    assert sum(link['size'] for link in chain) == found[1]['size']
    only = storage.stashes(f'--remote={registry.host}/team', *registry.options, 'small:v2')
    assert [item['tag'] for item in only] == ['v2']


def test_age_of_a_base(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    export = [f'--export=docker://{registry.host}/small', *registry.options]
    storage.kiwi('stash', '--root', str(root), *export, env={'SOURCE_DATE_EPOCH': '1700000000'})
    words = [
        'stackbuild', f'--stash={registry.host}/small', '--max-age=7d',
        *registry.options, '--dry-run', f'--target-dir={tmp_path}/out'
    ]
    with other_storage(tmp_path) as other:
        registry.proxy.reset()
        refused = other.kiwi(*words, check=False)
        assert refused.returncode == 1
        assert '--max-age allows 7d' in refused.stderr
        assert not other.stashes(), 'it was pulled although it is too old'
        other.kiwi(*(word for word in words if not word.startswith('--max-age')))
        (root / 'etc/role').write_text('web')
        storage.kiwi('stash', '--root', str(root), *export)
        other.kiwi(*words)
        assert other.stash(f'{registry.host}/small')['id'] == storage.stash('small')['id']


def test_manifest_list_is_chosen_from_by_architecture(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    storage.kiwi(
        'stash', '--root', str(root), f'--export=docker://{registry.host}/small:amd64',
        *registry.options, options=['--target-arch=x86_64']
    )
    (root / 'etc/role').write_text('other')
    storage.kiwi(
        'stash', '--root', str(root), f'--export=docker://{registry.host}/small:arm64',
        '--container-name=arm', *registry.options, '--no-base',
        options=['--target-arch=aarch64']
    )
    write_list(registry, 'small', ['amd64', 'arm64'])
    for machine, name in (('x86_64', 'small'), ('aarch64', 'arm')):
        with other_storage(tmp_path, machine) as other:
            other.kiwi(
                'stackbuild', f'--stash={registry.host}/small:all', *registry.options,
                '--dry-run', f'--target-dir={tmp_path}/out',
                options=[f'--target-arch={machine}']
            )
            found = other.stash(f'{registry.host}/small:all')
            assert found['id'] == storage.stash(name)['id']
    with other_storage(tmp_path, 'none') as other:
        for tag, machine, says in (
            ('all', 's390x', 'see --target-arch'),
            ('arm64', 'x86_64', 'a root tree for arm64, the image is to be built for amd64')
        ):
            failed = other.kiwi(
                'stackbuild', f'--stash={registry.host}/small:{tag}', *registry.options,
                '--dry-run', f'--target-dir={tmp_path}/out', check=False,
                options=[f'--target-arch={machine}']
            )
            assert failed.returncode == 1 and says in failed.stderr
        assert not json.loads(other.run('podman', 'images', '--format=json').stdout)
