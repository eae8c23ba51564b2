# SPDX-License-Identifier: GPL-3.0-or-later
"""Images elsewhere: looked at, listed, pulled and pushed, and what is said when it fails."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, List, Optional

import pytest
from fake_storage import FakeStorage, config_of, manifest_of
from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.errors import KiwiStashImageNotFound, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.storage import registry
from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access
from kiwi_stackbuild_plugin.storage.cleanup import sweep

ONE = 'a' * 64
CONFIG = config_of(['sha256:1'], created='2026-01-02T03:04:05Z', architecture='arm64')
MANIFEST = manifest_of('tar:1', 'tar:2', sizes=[7, 8])
ACCESS = Access('/logins', False, '/certs')


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build for one machine wherever the tests run."""
    monkeypatch.setattr(Defaults, 'get_platform_name', staticmethod(lambda: 'aarch64'))


def test_what_a_reference_offers(storage: FakeStorage) -> None:
    storage.offer('docker://h/a:1', config=CONFIG)
    assert registry.inspect_offer('docker://h/a:1', DEFAULT_ACCESS) == registry.Offer(
        digest(CONFIG), '2026-01-02T03:04:05Z', 'arm64', ('sha256:1',)
    )
    bare = config_of([], created=None)
    storage.offer('oci-archive:/x', config=bare)
    offer = registry.inspect_offer('oci-archive:/x', DEFAULT_ACCESS)
    assert (offer.created, offer.architecture) == ('', '')


@pytest.mark.parametrize(('place', 'given'), [('docker://h/a:1', True), ('oci:/x:t', False)])
def test_logins_are_for_registries_alone(storage: FakeStorage, place: str, given: bool) -> None:
    """skopeo takes --authfile for any transport; TLS means nothing to a file."""
    storage.offer(place, config=CONFIG)
    registry.inspect_offer(place, ACCESS)
    call, = storage.calls()
    assert (set(ACCESS.options()) <= set(call)) is given


@pytest.mark.parametrize(('machine', 'words'), [
    ('x86_64', {'--override-arch=amd64'}), ('riscv64', {'--override-arch=riscv64'}),
    ('armv7l', {'--override-arch=arm', '--override-variant=v7'}),
])
def test_the_image_is_that_of_kiwis_machine(
    storage: FakeStorage, monkeypatch: pytest.MonkeyPatch, machine: str, words: Any
) -> None:
    monkeypatch.setattr(Defaults, 'get_platform_name', staticmethod(lambda: machine))
    storage.offer('docker://h/a:1', config=CONFIG)
    registry.inspect_offer('docker://h/a:1', DEFAULT_ACCESS)
    call, = storage.calls()
    assert {word for word in call if word.startswith('--override')} == words


def test_skopeo_reads_the_registries_conf_of_podman(
    storage: FakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('CONTAINERS_REGISTRIES_CONF', '/my/registries.conf')
    storage.offer('docker://h/a:1', config=CONFIG)
    registry.inspect_offer('docker://h/a:1', DEFAULT_ACCESS)
    assert storage.calls('--registries-conf=/my/registries.conf')


def test_copy_in_has_the_digest_that_was_offered(
    storage: FakeStorage, space: Workspace
) -> None:
    storage.offer('docker://h/a:1', config=CONFIG, manifest=MANIFEST)
    offer = registry.inspect_offer('docker://h/a:1', DEFAULT_ACCESS)
    assert registry.copy_in(space, 'docker://h/a:1', offer, ACCESS) == digest(CONFIG)
    assert storage.names() == {digest(CONFIG): []}
    assert storage.calls('copy', '--src-authfile=/logins', '--src-tls-verify=false')


def test_pull_tells_the_id_and_nothing_else_it_said(storage: FakeStorage) -> None:
    storage.offer('h/a:1', id=ONE)
    assert registry.pull_image('h/a:1', ACCESS) == ONE
    storage.fail('podman pull', 'Error: h/a:1: unauthorized: authentication required\n')
    with pytest.raises(KiwiStashImageNotFound, match='h/a:1: cannot be pulled: ') as raised:
        registry.pull_image('h/a:1', ACCESS)
    assert 'podman login' in raised.value.hint


@pytest.mark.parametrize(('names', 'code', 'left'), [
    # a policy may refuse the place of an image that is stored: it is not what came in
    (['localhost/a:1'], 125, [ONE]),
    (['localhost/a:1'], -9, [ONE]),
    # what a podman that was killed left is not trusted
    (None, -9, []),
    # one that ended by itself lists only what is whole
    (None, 125, [ONE]),
])
def test_what_stays_of_a_pull_that_fails(
    storage: FakeStorage, tmp_path: Path, names: Optional[List[str]], code: int, left: List[str]
) -> None:
    storage.fail('podman pull', 'Error: a signature was required\n', code)
    if names is not None:
        storage.add(ONE, *names)
    with pytest.raises(KiwiStashImageNotFound, match='signature was required'):
        registry.pull_image('h/a:1', DEFAULT_ACCESS, registry.Offer(ONE, '', 'arm64'))
    if names is None:
        storage.add(ONE, 'h/a:1')
    sweep([str(tmp_path)])
    assert list(storage.names()) == left


@pytest.mark.parametrize(('entries', 'chosen'), [
    ([], ''), (['amd64'], ''), (['amd64', 'arm64', 'arm64'], 1), ([None, 'arm64'], 1)
])
def test_of_a_list_the_image_of_our_machine_is_read(
    storage: FakeStorage, entries: List[Any], chosen: Any
) -> None:
    told = [{'digest': f'sha256:{number}' + '0' * 63, 'platform': one and {'architecture': one}}
            for number, one in enumerate(entries)]
    listing = json.dumps({'manifests': told})
    storage.offer('docker://h:5000/a:1', manifest=listing, config=CONFIG)
    for entry in told:
        storage.offer(f'docker://h:5000/a@{entry["digest"]}', manifest=MANIFEST, config=CONFIG)
    info, sizes = registry.read_remote('h:5000/a:1', DEFAULT_ACCESS)
    assert (sizes, info.size) == (([7, 8], 15) if chosen else ([], 0))
    assert info.digest == f'sha256:{digest(MANIFEST if chosen else listing)}'
    assert (info.image_id, info.layers, info.names) == (digest(CONFIG), ('sha256:1',), ())
    asked = [call for call in storage.calls('--config') if '@sha256:' in call[-2]]
    assert [call[-2][-64] for call in asked] == ([str(chosen)] if chosen else [])


@pytest.mark.parametrize('texts', [
    {'manifest': '[]', 'config': CONFIG}, {'manifest': MANIFEST, 'config': '{"rootfs": 1}'},
    {'manifest': 'not', 'config': CONFIG},
    {'manifest': '{"manifests": [{"digest": "../../x"}]}', 'config': CONFIG},
])
def test_what_is_no_image(storage: FakeStorage, texts: Any) -> None:
    storage.offer('docker://h/a:1', **texts)
    with pytest.raises(KiwiStashImageNotFound, match='h/a:1: what is there is no image'):
        registry.read_remote('h/a:1', DEFAULT_ACCESS)


def test_lists_of_strangers_hold_names_only(storage: FakeStorage) -> None:
    storage.offer('docker://h/a', tags='{"Tags": ["v2", "-x", "v1", "v1"]}')
    assert registry.list_tags('h/a', DEFAULT_ACCESS) == ['v1', 'v2']
    storage.offer('h:5000/', search='h:5000/b\nh:5000/a/c\nh:5000/a/c\nh:5000/../x\n'
                  '--help\nh:5000/A\n\x1b[2J\nh:5000/\nh:5000/a;b\n')
    assert registry.list_repositories('h:5000', ACCESS) == ['h:5000/a/c', 'h:5000/b']
    call, = storage.calls('search')
    assert call[-1] == '/certs:/etc/ssl/certs', 'podman 4 has no --cert-dir there'
    assert '--tls-verify=false' in call and '--cert-dir=/certs' not in call


@pytest.mark.parametrize('ask', [registry.list_tags, registry.list_repositories])
def test_registry_that_does_not_tell(storage: FakeStorage, ask: Any) -> None:
    storage.fail('', 'Get "https://me:pw@h/v2/": dial tcp: connection refused', 1)
    with pytest.raises(KiwiStashImageNotFound, match=r'^(docker://)?h: cannot be listed') as raised:
        ask('h', DEFAULT_ACCESS)
    assert '***@h' in raised.value.summary and 'pw' not in str(raised.value)
    assert raised.value.hint.startswith('is the registry up')


@pytest.mark.parametrize(('place', 'remote'), [('docker://h/a:1', True), ('oci:/x:t', False)])
def test_push(storage: FakeStorage, place: str, remote: bool) -> None:
    storage.add(ONE)
    registry.push_image(ONE, place, ACCESS)
    assert storage.state['pushed'] == [place]
    assert bool(storage.calls('--dest-authfile=/logins', '--dest-precompute-digests')) is remote


@pytest.mark.parametrize(('error', 'pushed', 'said'), [
    ('Can not copy signatures to oci: no room', True, 'copied without its signature'),
    ('unauthorized', False, ''),
])
def test_push_without_a_signature_where_there_is_no_room(
    storage: FakeStorage, caplog: pytest.LogCaptureFixture, error: str, pushed: bool, said: str
) -> None:
    storage.add(ONE)
    storage.fail('skopeo', error, 1, times=1 if pushed else 9)
    if pushed:
        registry.push_image(ONE, 'oci:/x:t', DEFAULT_ACCESS, 'oci:shown')
        assert storage.calls('--remove-signatures') and f'oci:shown: {said}' in caplog.text
    else:
        with pytest.raises(KiwiStashToolFailed, match='copying to oci:shown failed: unauthor'):
            registry.push_image(ONE, 'oci:/x:t', DEFAULT_ACCESS, 'oci:shown')
        assert not storage.calls('--remove-signatures')
    assert bool(storage.state['pushed']) is pushed
