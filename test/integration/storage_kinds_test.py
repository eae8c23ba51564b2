# SPDX-License-Identifier: GPL-3.0-or-later
"""Bases and storages of other kinds: it works, or is one clear line."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from images import write_image
from storages import Storage, remove_storage
from trees import describe
from witnesses import RECORD, import_tree, stash
from zoo import make_zoo


class VfsStorage(Storage):
    """A storage of the driver vfs, which copies whole layers."""

    DRIVER = 'vfs'
    INDEXES = False


@pytest.fixture
def vfs(tmp_path: Path) -> Iterator[Storage]:
    """Give an empty storage of the driver vfs."""
    (tmp_path / 'temp-vfs').mkdir()
    own = VfsStorage(tmp_path / 'storage-vfs', tmp_path / 'temp-vfs')
    yield own
    remove_storage(own.where)


def config_of(storage: Storage, name: str) -> Dict[str, Any]:
    """Return the config of a stored image."""
    found: Dict[str, Any] = json.loads(storage.run(
        'skopeo', 'inspect', '--config', '--raw', f'containers-storage:localhost/{name}'
    ).stdout)
    return found


ENTRY = {'created_by': 'x', 'comment': 'told'}


@pytest.mark.parametrize(('layers', 'history'), [
    (3, None), (3, []), (3, [ENTRY]), (2, [ENTRY] * 5), (1, [{'empty_layer': True}]),
    (2, [ENTRY, {'empty_layer': True}, ENTRY])
])
def test_history_fits_the_layers(
    storage: Storage, root: Path, tmp_path: Path, layers: int, history: Any
) -> None:
    """Podman builds on no image whose config contradicts itself."""
    more = {} if history is None else {'history': history}
    reference = write_image(tmp_path / 'base', layers, **more)
    storage.run('skopeo', 'copy', reference, 'containers-storage:localhost/base:latest')
    storage.kiwi('stash', f'--root={root}', '--base=base')
    config = config_of(storage, 'small')
    told = [one for one in config['history'] if not one.get('empty_layer')]
    assert len(told) == len(config['rootfs']['diff_ids']) == layers + 1
    # what the base says of its layers stays
    assert history != [ENTRY] or told[2] == ENTRY
    (tmp_path / 'Containerfile').write_text('FROM localhost/small\nCOPY Containerfile /x\n')
    storage.run('podman', 'build', '--tag=built', str(tmp_path), cwd=tmp_path)
    chain = storage.stash('small')['chain']
    assert [link['added'] for link in chain[:-1]] == [None] * layers
    assert chain[-1]['added'] > 5


def test_base_of_more_layers_than_can_be_mounted(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    reference = write_image(tmp_path / 'base', 145)
    storage.run('skopeo', 'copy', reference, 'containers-storage:localhost/many:latest')
    told = storage.kiwi('stash', f'--root={root}', '--base=many')
    assert 'many:latest has 145 layers' in told.stdout and 'no base' in told.stdout
    assert storage.stash('small')['layers'] == 1
    failed = storage.kiwi(
        'stackbuild', '--stash=many', f'--target-dir={tmp_path}/target', check=False
    )
    assert failed.returncode == 1 and 'Traceback' not in failed.stderr
    assert 'max depth exceeded' in failed.stderr and '--squash-all' in failed.stderr
    assert not (tmp_path / 'target').exists()


def test_image_in_a_read_only_store(storage: Storage, root: Path, tmp_path: Path) -> None:
    """It is listed and a base by its index; what podman cannot mount is one line."""
    stash(storage, root)
    own = tmp_path / 'own.conf'
    own.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{storage.where}/own"\n'
        f'runroot = "{storage.where}/own.run"\n'
        f'[storage.options]\nadditionalimagestores = ["{storage.where}/graph"]\n'
    )
    storage.environment['CONTAINERS_STORAGE_CONF'] = str(own)
    assert [one['name'] for one in storage.stashes()] == ['small']
    failed = storage.kiwi(
        'stackbuild', '--stash=small', f'--target-dir={tmp_path}/target', check=False
    )
    # newer versions of podman can
    assert failed.returncode == 0 or 'additionalimagestores' in failed.stderr
    assert 'Traceback' not in failed.stderr
    (root / 'etc/role').write_text('web')
    assert '1 added' in stash(storage, root)


def test_driver_that_loses_attributes(vfs: Storage, root: Path, tmp_path: Path) -> None:
    make_zoo(root / 'zoo')
    # that driver takes links of pipes, devices and links apart, doc/source/exactness.rst
    shutil.rmtree(root / 'zoo/links')
    os.setxattr(root / 'etc/hostname', 'trusted.t', b'1')
    os.setxattr(root / 'etc/hostname', 'user.t', b'2')
    stash(vfs, root)
    for number in range(2):
        (root / 'etc/role').write_text(f'{number}')
        assert 'left out' not in stash(vfs, root, '--verify')
    back = import_tree(vfs, tmp_path / 'back')
    assert describe(back, RECORD) == describe(root, RECORD)
    assert 'nothing changed, no new layer' in stash(vfs, root)


def test_what_a_driver_has_lost_is_said(
    storage: Storage, vfs: Storage, root: Path, tmp_path: Path
) -> None:
    """A stash of another host's storage has its attributes in the layers only."""
    stash(storage, root)
    (root / 'etc/role').write_text('web')
    stash(storage, root)
    archive = f'oci-archive:{tmp_path}/small.tar:small'
    storage.run('skopeo', 'copy', 'containers-storage:localhost/small', archive)
    vfs.run('skopeo', 'copy', archive, 'containers-storage:localhost/small:latest')
    told = vfs.kiwi('stackbuild', '--stash=small', f'--target-dir={tmp_path}/o', '--dry-run')
    assert 'the storage driver vfs has lost the extended attributes' in told.stdout
    told = storage.kiwi('stackbuild', '--stash=small', f'--target-dir={tmp_path}/o', '--dry-run')
    assert 'storage driver' not in told.stdout


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a key and give its fingerprint."""
    home = tmp_path / 'gpg'
    home.mkdir(mode=0o700)
    monkeypatch.setenv('GNUPGHOME', str(home))

    def gpg(*words: str) -> List[str]:
        return subprocess.run(
            ['gpg', '--quiet', '--batch', *words], check=True, capture_output=True, text=True
        ).stdout.splitlines()

    gpg('--passphrase', '', '--quick-gen-key', 'signer@test', 'rsa2048', 'sign', 'never')
    lines = gpg('--list-keys', '--with-colons')
    yield next(line.split(':')[9] for line in lines if line.startswith('fpr'))
    subprocess.run(['gpgconf', '--kill', 'all'], check=False)


@pytest.mark.parametrize('transport', ['oci-archive', 'oci', 'dir'])
def test_signed_image_is_copied(
    storage: Storage, root: Path, tmp_path: Path, signer: str, transport: str
) -> None:
    stash(storage, root)
    storage.run(
        'skopeo', 'copy', f'--sign-by={signer}', 'containers-storage:localhost/small',
        'containers-storage:localhost/signed:latest', env={'GNUPGHOME': os.environ['GNUPGHOME']}
    )
    place = f'{transport}:{tmp_path}/copy' + ('' if transport == 'dir' else ':localhost/x:1')
    told = storage.kiwi('stash', '--container-name=signed', f'--export={place}', check=False)
    assert told.returncode == 0, told.stderr
    assert f'{place}: copied without its signature' in told.stdout
    storage.run('skopeo', 'inspect', place)
