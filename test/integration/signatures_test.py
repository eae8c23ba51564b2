# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed copies, and a policy.json that wants signatures."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Dict, Iterator, List

import pytest
from registries import Registry, is_installed, other_storage
from storages import Storage

pytestmark = pytest.mark.skipif(
    not is_installed(), reason='docker-registry is not installed'
)
PASSPHRASE = 'not-for-the-list-of-processes'


@pytest.fixture
def signer(tmp_path: Path, registry: Registry) -> Iterator[Dict[str, str]]:
    """Give the environment of a user with a GPG key, and a policy that wants it."""
    containers = tmp_path / 'home/.config/containers'
    (containers / 'registries.d').mkdir(parents=True)
    # sigstore is what lookaside was called before
    (containers / 'registries.d/test.yaml').write_text(json.dumps({'docker': {
        registry.host: dict.fromkeys(
            ('lookaside', 'lookaside-staging', 'sigstore', 'sigstore-staging'),
            f'file://{tmp_path}/signatures'
        )
    }}))
    (tmp_path / 'passphrase').write_text(PASSPHRASE + '\n')
    # a socket is in it, whose path must be short
    with TemporaryDirectory(dir='/tmp') as gnupg:
        environment = {'HOME': str(tmp_path / 'home'), 'GNUPGHOME': gnupg}
        gpg(environment, '--passphrase-file', str(tmp_path / 'passphrase'), '--quick-generate-key',
            'tester@example.org', 'rsa2048', 'sign')
        (tmp_path / 'key.gpg').write_bytes(gpg(environment, '--export'))
        (containers / 'policy.json').write_text(json.dumps({
            'default': [{'type': 'insecureAcceptAnything'}], 'transports': {'docker': {
                registry.host: [{
                    'type': 'signedBy', 'keyType': 'GPGKeys', 'keyPath': f'{tmp_path}/key.gpg'
                }]
            }}
        }))
        yield environment
        subprocess.run(
            ['gpgconf', '--kill', 'all'], env={'PATH': '/usr/bin:/bin', **environment}, check=True
        )


def gpg(environment: Dict[str, str], *words: str) -> bytes:
    return subprocess.run(
        ['gpg', '--batch', '--pinentry-mode', 'loopback', *words], check=True,
        env={'PATH': '/usr/bin:/bin', **environment}, capture_output=True
    ).stdout


def fingerprint(environment: Dict[str, str]) -> str:
    keys = gpg(environment, '--list-secret-keys', '--with-colons').decode()
    return next(line for line in keys.splitlines() if line.startswith('fpr')).split(':')[9]


def fake_skopeo(tmp_path: Path) -> str:
    """Return a PATH with a skopeo that notes its words and goes on."""
    (tmp_path / 'bin').mkdir()
    program = tmp_path / 'bin/skopeo'
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/words\nexec {shutil.which("skopeo")} "$@"\n'
    )
    program.chmod(0o755)
    return f'{tmp_path}/bin:{os.environ["PATH"]}'


def test_policy_that_wants_signatures(
    storage: Storage, root: Path, registry: Registry, signer: Dict[str, str], tmp_path: Path
) -> None:
    target = f'{registry.host}/team/small'
    storage.kiwi('stash', '--root', str(root), f'--export=docker://{target}', *registry.options)
    stash = ['stash', '--root', str(root), '--container-name=new', f'--base={target}']
    build = [
        'stackbuild', f'--stash={target}', '--pull=always', '--dry-run',
        f'--target-dir={tmp_path}/out'
    ]
    with other_storage(tmp_path) as other:
        # where the image is stored already as well: the place is what is not trusted
        for place, words in ((other, stash), (other, build), (storage, stash)):
            failed = place.kiwi(*words, *registry.options, env=signer, check=False)
            assert failed.returncode == 1
            lines = [line for line in failed.stderr.splitlines() if 'KiwiStash' in line]
            assert len(lines) == 1 and target in lines[0], failed.stderr
            assert 'signature was required' in lines[0]
            assert 'policy.json of this machine wants it signed' in failed.stderr
        assert not other.run('podman', 'images', '--all', '--quiet').stdout
        assert not (tmp_path / 'out').exists()
        storage.kiwi(
            'stash', '--container-name=small', f'--export=docker://{target}', '--sbom',
            f'--sign-by={fingerprint(signer)}', f'--sign-passphrase-file={tmp_path}/passphrase',
            *registry.options, env={**signer, 'PATH': fake_skopeo(tmp_path)}
        )
        assert PASSPHRASE not in (tmp_path / 'words').read_text()
        other.kiwi(*stash, *registry.options, env=signer)
        found, = other.stashes(f'--remote={registry.host}/team', 'small', *registry.options)
        assert [one['kind'] for one in found['artifacts']] == ['sbom', 'provenance']
        for one in found['artifacts']:
            other.run(
                'skopeo', 'copy', '--preserve-digests', f'docker://{one["place"]}',
                f'dir:{tmp_path}/{one["kind"]}', *(
                    word.replace('--', '--src-') for word in registry.options
                ), env=signer
            )


@pytest.mark.parametrize(('words', 'says'), [
    (['--sign-by=0123456789ABCDEF0123456789ABCDEF01234567'], 'nothing can be signed'),
    # Debian's skopeo is built without sigstore, and says so
    (['--sign-by=@/cosign.key', '--sign-passphrase-file=@/passphrase'], 'nothing can be signed'),
])
def test_wrong_keys_leave_the_registry_as_it_is(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path, words: List[str], says: str
) -> None:
    (tmp_path / 'cosign.key').write_text('-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\nx\n')
    (tmp_path / 'passphrase').write_text('x')
    failed = storage.kiwi(
        'stash', '--root', str(root), f'--export=docker://{registry.host}/small',
        *(word.replace('@', str(tmp_path)) for word in words), *registry.options, check=False
    )
    assert failed.returncode == 1 and says in failed.stderr
    assert 'Traceback' not in failed.stderr
    assert not registry.has('small')
