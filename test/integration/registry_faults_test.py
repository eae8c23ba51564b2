# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is down, lies, refuses, or is cut off; and kept secrets."""
from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path
from typing import Iterator, List, Set

import pytest
from registries import (
    USER, Registry, add_bulk, is_installed, other_storage, skopeo_leavings,
    write_logins
)
from storages import Storage

pytestmark = pytest.mark.skipif(
    not is_installed(), reason='docker-registry is not installed'
)
#: TLS, logins, manifest and config of a few calls
OVERHEAD = 60_000


@pytest.fixture
def command_lines() -> Iterator[Set[bytes]]:
    """Collect the command lines of all processes while a test runs."""
    seen: Set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for pid in filter(str.isdigit, os.listdir('/proc')):
                try:
                    seen.add(Path(f'/proc/{pid}/cmdline').read_bytes())
                except OSError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    done.set()
    thread.join()


def pull(registry: Registry, where: Path, name: str = 'small') -> List[str]:
    """Return words that pull a stash and build nothing."""
    return [
        'stackbuild', f'--stash={registry.host}/{name}', '--dry-run',
        f'--target-dir={where}/out'
    ]


def whole_layers(storage: Storage) -> List[str]:
    """Return the layers that a storage lists as complete."""
    records = storage.where / 'graph/overlay-layers/layers.json'
    try:
        listed = json.loads(records.read_text() or '[]')
    except FileNotFoundError:
        return []
    return [layer['id'] for layer in listed if not layer.get('flags', {}).get('incomplete')]


def test_export_that_fails_keeps_the_stash(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    wrong = tmp_path / 'wrong.json'
    write_logins(wrong, registry.host, USER, 'not-the-password')
    export = f'--export=docker://{registry.host}/small'
    cases = [
        ([f'--cert-dir={registry.cert_dir}', f'--authfile={wrong}'],
         'unauthorized', 'podman login'),
        ([f'--authfile={registry.authfile}'], 'x509', '--cert-dir'),
    ]
    for options, says, hint in cases:
        failed = storage.kiwi('stash', '--root', str(root), export, *options, check=False)
        assert failed.returncode == 1
        assert 'small:latest is stored, copying to docker://' in failed.stderr
        assert says in failed.stderr and hint in failed.stderr
        assert len(storage.stashes()) == 1
    registry.proxy.close()
    failed = storage.kiwi(
        'stash', '--container-name=small', export, *registry.options,
        f'--export=oci-archive:{tmp_path}/a.tar', check=False
    )
    assert failed.returncode == 1
    assert 'is the registry up' in failed.stderr
    assert (tmp_path / 'a.tar').is_file(), 'a later copy was not made'


def test_without_certificate_but_trusted(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    login = f'--authfile={registry.authfile}'
    export = f'--export=docker://{registry.host}/small'
    storage.kiwi('stash', '--root', str(root), export, login, '--tls-verify=false')
    with other_storage(tmp_path) as other:
        words = pull(registry, tmp_path)
        failed = other.kiwi(*words, login, check=False)
        assert failed.returncode == 1
        assert 'x509' in failed.stderr and '--cert-dir' in failed.stderr
        other.kiwi(*words, login, '--tls-verify=false')


def test_push_is_cut_and_repeated(
    storage: Storage, root: Path, registry: Registry
) -> None:
    add_bulk(root, 1_000_000)
    export = [f'--export=docker://{registry.host}/small', *registry.options]
    storage.kiwi('stash', '--root', str(root))
    add_bulk(root, 6_000_000)
    registry.proxy.cut_up = 5_000_000
    registry.proxy.cut_ready = lambda: registry.stored_bytes() > 1_000_000
    before = skopeo_leavings()
    failed = storage.kiwi('stash', '--root', str(root), *export, check=False)
    assert failed.returncode == 1
    assert 'is stored, copying to' in failed.stderr
    assert skopeo_leavings() == before and storage.left_overs() == []
    assert not registry.has('small')
    assert 1_000_000 < registry.stored_bytes() < 1_100_000, 'the layer that was complete'
    registry.proxy.reset()
    storage.kiwi('stash', '--container-name=small', *export)
    assert registry.has('small')
    assert registry.proxy.up < 6_000_000 + OVERHEAD, 'a layer that was there travelled'


def test_pull_is_cut_and_repeated(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    export = [f'--export=docker://{registry.host}/small', *registry.options]
    add_bulk(root, 1_000_000)
    storage.kiwi('stash', '--root', str(root))
    add_bulk(root, 6_000_000)
    storage.kiwi('stash', '--root', str(root), *export)
    with other_storage(tmp_path) as other:
        registry.proxy.reset()
        registry.proxy.cut_down = 5_000_000
        # the first layer
        registry.proxy.cut_ready = lambda: whole_layers(other) != []
        words = [*pull(registry, tmp_path), *registry.options]
        failed = other.kiwi(*words, check=False)
        assert failed.returncode == 1
        assert 'cannot be pulled' in failed.stderr
        assert not other.stashes()
        registry.proxy.reset()
        other.kiwi(*words)
        assert len(other.stashes()) == 1
        assert registry.proxy.down < 6_000_000 + OVERHEAD, 'a layer that was there travelled'


def test_registry_that_hangs(
    storage: Storage, root: Path, registry: Registry
) -> None:
    storage.kiwi('stash', '--root', str(root))
    registry.proxy.pace = 60
    failed = storage.kiwi(
        'stash', '--container-name=small', *registry.options,
        f'--export=docker://{registry.host}/small', check=False,
        env={'KIWI_STASH_TIMEOUT': '3'}
    )
    registry.proxy.reset()
    assert failed.returncode == 1
    assert 'no end after 3 seconds' in failed.stderr
    assert 'KIWI_STASH_TIMEOUT' in failed.stderr


def test_content_that_is_not_what_its_digest_says(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    storage.kiwi(
        'stash', '--root', str(root), f'--export=docker://{registry.host}/small',
        *registry.options
    )
    layer = registry.blob(registry.manifest('small')['layers'][0]['digest'])
    good = layer.read_bytes()
    layer.write_bytes(good[:-20] + bytes(20))
    with other_storage(tmp_path) as other:
        words = [*pull(registry, tmp_path), *registry.options]
        failed = other.kiwi(*words, check=False)
        assert failed.returncode == 1 and 'cannot be pulled' in failed.stderr
        assert not other.stashes()
        layer.write_bytes(good)
        unknown = f'{registry.host}/small@sha256:{"0" * 64}'
        failed = other.kiwi(
            'stackbuild', f'--stash={unknown}', *words[2:], check=False
        )
        assert failed.returncode == 1 and 'manifest unknown' in failed.stderr
        assert 'Traceback' not in failed.stderr
        other.kiwi(*words)


def test_credentials_show_nowhere(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path,
    command_lines: Set[bytes]
) -> None:
    login = base64.b64encode(f'{USER}:{registry.password}'.encode()).decode()
    log = tmp_path / 'kiwi.log'
    wrong = tmp_path / 'wrong.json'
    write_logins(wrong, registry.host, USER, registry.password + 'x')
    said = []
    for authfile in (registry.authfile, wrong):
        options = [f'--authfile={authfile}', f'--cert-dir={registry.cert_dir}']
        with other_storage(tmp_path, authfile.stem) as other:
            for words in (
                ['stash', '--root', str(root), f'--export=docker://{registry.host}/small'],
                pull(registry, tmp_path), ['stash_list', f'--remote={registry.host}']
            ):
                told = other.kiwi(
                    *words, *options, check=False,
                    options=['--debug', f'--logfile={log}']
                )
                assert told.returncode == (1 if authfile == wrong else 0), told.stderr
                said.append(told.stdout + told.stderr)
    said.append(log.read_text())
    assert any(b'--authfile=' in line for line in command_lines)
    for secret in (registry.password, login):
        assert not [text for text in said if secret in text]
        assert not [line for line in command_lines if secret.encode() in line]


@pytest.mark.parametrize('words', [
    ['stash', '--root=@', '--export=docker://me:hunter2@localhost:5/x'],
    ['stash', '--root=@', '--base=docker://me:hunter2@localhost:5/x'],
    ['stackbuild', '--target-dir=@/o', '--stash=me:hunter2@localhost:5/x'],
    ['stackbuild', '--target-dir=@/o', '--stash=x', '--from-registry=me:hunter2@localhost:5'],
    ['stackbuild', '--target-dir=@/o', '--stash=x', '--from-registry=https://me:hunter2@host'],
    ['stash_list', '--remote=docker://me:hunter2@localhost:5/x'],
])
def test_login_in_a_reference_is_refused_and_not_repeated(
    storage: Storage, root: Path, words: List[str]
) -> None:
    failed = storage.kiwi(*(word.replace('@', str(root), 1) if word.endswith(
        ('@', '@/o')) else word for word in words), check=False)
    assert failed.returncode == 1
    assert 'do not belong into a reference' in failed.stderr
    assert 'hunter2' not in failed.stdout + failed.stderr
    assert not storage.stashes()
