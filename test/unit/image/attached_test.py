# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts in a layout: listed beside their image, nothing written through a link."""
from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest
from in_time import within

from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.image.artifacts import provenance_artifact, sbom_artifact
from kiwi_stackbuild_plugin.image.attached import (
    REF_NAME, attach, complete_reference, image_names, pack_layout
)
from kiwi_stackbuild_plugin.image.layout import make_layout, write_layout

CONFIG = {'architecture': 'amd64', 'os': 'linux', 'rootfs': {'type': 'layers', 'diff_ids': []}}
ARTIFACTS = [sbom_artifact(b'{"sbom": 1}'), provenance_artifact(b'{}')]
CREATED = '2026-01-02T03:04:05Z'


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Give a layout with the image 'stash'."""
    make_layout(str(tmp_path / 'layout'))
    write_layout(str(tmp_path / 'layout'), CONFIG, [], None, {})
    return tmp_path / 'layout'


def entries(layout: Path) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = json.loads((layout / 'index.json').read_text())['manifests']
    return found


def blob(layout: Path, digest: str) -> bytes:
    data = (layout / 'blobs/sha256' / digest[7:]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest[7:]
    return data


def test_image_and_artifacts(layout: Path) -> None:
    image, = entries(layout)
    attach(str(layout), 'stash', ARTIFACTS, CREATED)
    attach(str(layout), 'stash', ARTIFACTS, CREATED)
    assert [one.get('artifactType') for one in entries(layout)] == [
        None, 'application/spdx+json', 'application/vnd.in-toto+json'
    ]
    manifest = json.loads(blob(layout, entries(layout)[1]['digest']))
    assert manifest['subject']['digest'] == image['digest']
    assert blob(layout, manifest['layers'][0]['digest']) == b'{"sbom": 1}'
    assert blob(layout, manifest['config']['digest']) == b'{}'
    assert not list(layout.rglob('.*'))


def test_artifacts_of_an_image_that_is_gone_go(layout: Path) -> None:
    attach(str(layout), 'stash', ARTIFACTS, CREATED)
    foreign = {**entries(layout)[1], 'annotations': {'org.example': 'x'}}
    # another image takes the name
    make_layout(str(layout.parent / 'other'))
    write_layout(str(layout.parent / 'other'), {**CONFIG, 'author': 'x'}, [], None, {})
    new, = entries(layout.parent / 'other')
    for path in (layout.parent / 'other/blobs/sha256').iterdir():
        path.rename(layout / 'blobs/sha256' / path.name)
    (layout / 'index.json').write_text(json.dumps(
        {'schemaVersion': 2, 'manifests': [new, *entries(layout)[1:], foreign]}
    ))
    attach(str(layout), 'stash', ARTIFACTS[:1], CREATED)
    left = entries(layout)
    assert left[:2] == [new, foreign], "what is another's stays"
    assert [json.loads(blob(layout, one['digest']))['subject']['digest'] for one in left[2:]] == [
        new['digest']
    ]


@pytest.mark.parametrize('index', [
    '', '[]', '{}', '{"manifests": 1}', '{"manifests": [1]}',
    json.dumps({'manifests': [{'annotations': {REF_NAME: 'stash'}}]})
])
def test_index_that_is_none(layout: Path, index: str) -> None:
    (layout / 'index.json').write_text(index)
    with pytest.raises(KiwiStashTargetInvalid, match=r'its index\.json is none'):
        attach(str(layout), 'stash', ARTIFACTS, CREATED)
    assert (layout / 'index.json').read_text() == index


def test_image_that_is_not_there(layout: Path) -> None:
    with pytest.raises(KiwiStashTargetInvalid, match="there is no 'v1' in the layout"):
        attach(str(layout), 'v1', ARTIFACTS, CREATED)


def test_nothing_is_written_through_a_link(layout: Path, tmp_path: Path) -> None:
    blobs = layout / 'blobs/sha256'
    blobs.rename(tmp_path / 'elsewhere')
    blobs.symlink_to(tmp_path / 'elsewhere')
    before = sorted(path.name for path in (tmp_path / 'elsewhere').iterdir())
    with pytest.raises(OSError):
        attach(str(layout), 'stash', ARTIFACTS, CREATED)
    assert sorted(path.name for path in (tmp_path / 'elsewhere').iterdir()) == before


def test_file_that_is_a_link_is_replaced(layout: Path, tmp_path: Path) -> None:
    (tmp_path / 'victim').write_text('old')
    name = hashlib.sha256(b'{}').hexdigest()
    (layout / 'blobs/sha256' / name).symlink_to(tmp_path / 'victim')
    attach(str(layout), 'stash', ARTIFACTS, CREATED)
    assert (tmp_path / 'victim').read_text() == 'old'
    assert not (layout / 'blobs/sha256' / name).is_symlink()


def test_archive_is_the_same_again_and_tells_its_image(layout: Path, tmp_path: Path) -> None:
    assert complete_reference(f'oci:{layout}') == f'oci:{layout}', 'skopeo finds a lone one'
    attach(str(layout), 'stash', ARTIFACTS, CREATED)
    for name in ('a.tar', 'b.tar'):
        pack_layout(str(layout), str(tmp_path / name))
    assert (tmp_path / 'a.tar').read_bytes() == (tmp_path / 'b.tar').read_bytes()
    with tarfile.open(tmp_path / 'a.tar') as archive:
        assert archive.getnames()[0] == 'oci-layout' and 'index.json' in archive.getnames()
    for place in (f'oci:{layout}', f'oci-archive:{tmp_path}/a.tar'):
        assert complete_reference(place) == f'{place}:stash'
        assert complete_reference(f'{place}:other') == f'{place}:other'


@pytest.mark.parametrize('text', ['oci:/gone', 'oci-archive:/etc/passwd', 'dir:/x', 'docker://h/n'])
def test_what_else_is_left_to_skopeo(text: str) -> None:
    assert complete_reference(text) == text


def packed(pax: Dict[str, str], kind: bytes = tarfile.REGTYPE) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w', format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo('index.json')
        member.pax_headers, member.type, member.linkname = pax, kind, 'index.json'
        archive.addfile(member)
    return data.getvalue()


@pytest.mark.parametrize('content', [
    b'', b'no archive', packed({}), packed({}, tarfile.SYMTYPE), packed({}, tarfile.LNKTYPE),
    packed({}, tarfile.DIRTYPE), packed({}, tarfile.FIFOTYPE), packed({'GNU.sparse.size': 'x'}),
    packed({'GNU.sparse.map': 'x,y', 'GNU.sparse.size': '3'}), packed({'size': '9' * 30}),
    packed({'GNU.sparse.major': '1', 'GNU.sparse.minor': '0'}), packed({'mtime': '1e999'}), None
])
def test_archives_of_strangers_are_left_to_skopeo(tmp_path: Path, content: Any) -> None:
    path = tmp_path / 'x.tar'
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with within(2):
        assert complete_reference(f'oci-archive:{path}') == f'oci-archive:{path}'


A, N = {'artifactType': 'x'}, {'annotations': {REF_NAME: 'n'}}


@pytest.mark.parametrize(('index', 'names'), [
    ({'manifests': [N, A]}, ['n']), ({'manifests': [N]}, []), ({'manifests': [{}, N, A]}, ['n']),
    ({'manifests': [N, N, A]}, ['n', 'n']), ({'manifests': [A]}, []), ([], []),
    ({'manifests': [1]}, []), ({'manifests': [{**N, 'annotations': 1}, A]}, []),
])
def test_names_in_an_index(index: object, names: List[str]) -> None:
    assert image_names(json.dumps(index).encode()) == names
