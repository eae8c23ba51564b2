# SPDX-License-Identifier: GPL-3.0-or-later
"""A stored stash copied elsewhere: destinations checked, archives complete or not there."""
from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from fake_storage import FakeStorage, config_of, manifest_of
from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.stash.export import (
    ExportRequest, check_exports, check_signing, export
)
from kiwi_stackbuild_plugin.storage.access import NOT_SIGNED, Signing

ONE = 'a' * 64
DIGEST = f'sha256:{"0" * 64}'


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStorage:
    """Give a storage with a stash, and an image that is none."""
    made = FakeStorage(tmp_path / 'fake', monkeypatch)
    for name in ('tmp', 'out'):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(
        Defaults, 'get_temp_location', staticmethod(lambda: str(tmp_path / 'tmp'))
    )
    made.add(
        ONE, 'localhost/a:v1', Labels={labels.META: 'KIWI'}, config=config_of(['sha256:1']),
        manifest=manifest_of('tar:1')
    )
    made.add('b' * 64, 'localhost/plain:v1')
    return made


@pytest.mark.parametrize(('text', 'place'), [
    ('docker://h.x/n', 'docker://h.x/n:v1'), ('docker://h:5000/n:x', 'docker://h:5000/n:x'),
    ('oci:@/out/dir:t', 'oci:@/out/dir:t'), ('dir:@/out/dir', 'dir:@/out/dir'),
])
def test_where_it_goes(storage: FakeStorage, tmp_path: Path, text: str, place: str) -> None:
    export(ExportRequest('a', 'v1', (text.replace('@', str(tmp_path)),)))
    *packed, last = storage.state['pushed']
    assert last == place.replace('@', str(tmp_path))
    assert len(packed) == text.startswith('oci:')
    assert storage.names()[ONE] == ['localhost/a:v1'] and os.listdir(tmp_path / 'tmp') == []


@pytest.mark.parametrize('kind', ['oci-archive', 'docker-archive'])
@pytest.mark.parametrize('reference', ['', ':n:v1'])
@pytest.mark.parametrize('there', [False, True])
def test_archive_replaces_another_when_it_is_complete(
    storage: FakeStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str, reference: str, there: bool
) -> None:
    """skopeo adds to an archive, or refuses to, where one is there."""
    monkeypatch.chdir(tmp_path / 'out')
    if there:
        Path('x.tar').write_text('old')
    export(ExportRequest('a', 'v1', (f'{kind}:x.tar{reference}',)))
    assert os.listdir() == ['x.tar']
    written, = storage.state['pushed']
    if kind == 'oci-archive':
        with tarfile.open('x.tar') as opened:
            assert 'index.json' in opened.getnames()
        assert written.startswith(f'oci:{tmp_path}/tmp/.kiwi-stash-')
        assert written.endswith(f'/packed-{ONE[:12]}{reference}')
    else:
        assert Path('x.tar').read_text() == f'containers-storage:@{ONE}'
        assert written.startswith(f'{kind}:{tmp_path}/out/.kiwi-stash-')
        assert written.endswith(f'/archive{reference}')


def test_failed_archive_leaves_the_old_one(storage: FakeStorage, tmp_path: Path) -> None:
    path = tmp_path / 'out/x.tar'
    path.write_text('old')
    storage.fail('skopeo copy', 'no space left on device', 1)
    with pytest.raises(KiwiStashToolFailed) as raised:
        export(ExportRequest('a', 'v1', (f'oci-archive:{path}',)))
    assert raised.value.summary == (
        f'a:v1 is stored, copying to oci-archive:{path} failed: no space left on device'
    ), 'the name that the user knows'
    assert os.listdir(tmp_path / 'out') == ['x.tar'] and path.read_text() == 'old'


def test_one_that_fails_does_not_stop_the_others(
    storage: FakeStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage.fail('docker://one', 'something new', 1)
    storage.fail('docker://two', 'unauthorized', 1)
    with pytest.raises(KiwiStashToolFailed) as raised:
        export(ExportRequest(
            'a', 'v1', ('docker://one.x/n', 'docker://two.x/n', 'docker://h.x/n')
        ))
    assert storage.state['pushed'] == ['docker://h.x/n:v1']
    assert 'copying to docker://one.x/n:v1 failed: something new' in raised.value.summary
    assert raised.value.hint == (
        'only the copy again: kiwi-ng system stash --export=docker://one.x/n '
        '--container-name=a --tag=v1'
    )
    assert 'copying to docker://two.x/n:v1 failed: unauthorized' in caplog.text


@pytest.mark.parametrize(('name', 'tag'), [('gone', 'v1'), ('a', 'v2'), ('plain', 'v1')])
def test_what_is_no_stash_is_not_copied(storage: FakeStorage, name: str, tag: str) -> None:
    with pytest.raises(KiwiStashImageNotFound, match=f"--container-name '{name}:{tag}': no such"):
        export(ExportRequest(name, tag, ('docker://h.x/n',)))
    assert storage.state['pushed'] == []


@pytest.mark.parametrize(('request_', 'says'), [
    (ExportRequest('A', 'v1', ('docker://h.x/n',)), "--container-name 'A' cannot name a stash"),
    (ExportRequest('a', '-', ('docker://h.x/n',)), "--tag '-' is not valid"),
    (ExportRequest('a', 'v1', ('docker://h.x/n', 'docker://n')), 'needs a registry host'),
])
def test_nothing_is_copied_before_all_is_checked(
    storage: FakeStorage, request_: ExportRequest, says: str
) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        export(request_)
    assert says in raised.value.summary and not storage.calls()


@pytest.mark.parametrize(('text', 'says'), [
    ('', 'names no transport'), ('h.x/n:v1', 'names no transport'), (ONE, 'names no transport'),
    ('docker:h.x/n', 'names no transport'), ('ftp://h/n', 'names no transport'),
    ('containers-storage:a', 'names no transport'), ('docker://', 'nothing behind the transport'),
    ('oci:', 'nothing behind the transport'), ('docker://n', 'needs a registry host'),
    ('docker://h.x/N', 'upper case'), (f'docker://h.x/n@{DIGEST}', 'a digest is what a copy has'),
    ('docker://me:pw@h.x/n', 'user and password'), ('oci-archive:@/gone/x.tar', 'is not there'),
    ('oci:@/file/x:t', 'is not there'), ('oci-archive:@/dir', 'is a directory'),
    ('docker-archive:@/dir:n:t', 'is a directory'), ('dir:@/gone/x', 'is not there'),
])
def test_destinations_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / 'file').touch()
    (tmp_path / 'dir').mkdir()
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        check_exports([f'oci:{tmp_path}/dir:t', text.replace('@', str(tmp_path), 1)
                       if '@/' in text else text])
    assert says in raised.value.summary and 'pw' not in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ['dir', 'file']


def test_place_that_one_may_not_write_to() -> None:
    """In a child of another user: root may write everywhere."""
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            check_exports(['oci-archive:/x.tar'])
        except KiwiStashArgumentInvalid as issue:
            os._exit(7 if "'/x.tar' cannot be written to" in issue.summary else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_can_be_copied_to_is_not_touched(tmp_path: Path) -> None:
    check_exports([
        f'oci-archive:{tmp_path}/x.tar', f'oci:{tmp_path}/d:t', f'dir:{tmp_path}/new',
        'docker://h.x/n'
    ])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(('exports', 'says'), [
    ((), '--sign-by signs what --export copies'),
    (('docker://h.x/n', 'oci:d:t'), "'oci:d:t': only copies in registries are signed"),
    (('oci-archive:x.tar',), 'only copies in registries'), (('dir:d',), 'only copies in'),
])
def test_signatures_need_a_place(exports: tuple[str, ...], says: str) -> None:
    check_signing(NOT_SIGNED, exports)
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        check_signing(Signing('ABCD', None, 'sign-by'), exports)
    assert says in raised.value.summary
