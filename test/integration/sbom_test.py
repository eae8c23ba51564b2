# SPDX-License-Identifier: GPL-3.0-or-later
"""SBOM and provenance: what they say, where they go with an image, when they go."""
from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest
from registries import Registry, is_installed, other_storage
from rpms import build_rpm, change_database, require_rpm
from sboms import check_sbom
from storages import Storage

needs_registry = pytest.mark.skipif(
    not is_installed(), reason='docker-registry is not installed'
)
STATUS = (
    'Package: {0}\nStatus: install ok installed\nVersion: 1:2.0-1\nArchitecture: amd64\n'
    'Maintainer: A Team <team@example.org>\n\n'
)
SBOM, PROVENANCE = 'application/spdx+json', 'application/vnd.in-toto+json'
MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
REF_NAME = 'org.opencontainers.image.ref.name'
INDEX = 'application/vnd.oci.image.index.v1+json'


@pytest.fixture
def packaged(root: Path) -> Path:
    """Give a root with a package in its data base."""
    (root / 'var/lib/dpkg/status').write_text(STATUS.format('one'))
    return root


def kept(storage: Storage, image_id: str) -> Dict[str, bytes]:
    """Return the documents that are kept of an image, by name."""
    return {
        path.name: path.read_bytes()
        for path in Path(storage.environment['KIWI_STASH_STATE']).glob(f'*/{image_id}/*')
    }


def purls(document: Dict[str, Any]) -> List[str]:
    return [
        one['externalRefs'][0]['referenceLocator'] for one in document['packages']
        if 'externalRefs' in one
    ]


def test_documents_of_a_stash_are_kept_and_shown(storage: Storage, packaged: Path) -> None:
    storage.kiwi('stash', '--root', str(packaged), '--sbom')
    base = storage.stash('small')
    (packaged / 'var/lib/dpkg/status').write_text(STATUS.format('one') + STATUS.format('two'))
    storage.kiwi('stash', '--root', str(packaged), '--tag=v2', '--sbom')
    stash = storage.stash('small:v2')
    found = kept(storage, stash['id'])
    document = check_sbom(found['sbom.spdx.json'])
    assert purls(document) == [
        f'pkg:deb/small/{name}@1:2.0-1?arch=amd64&distro=small' for name in ('one', 'two')
    ]
    assert document['name'] == 'small:v2'
    assert document['creationInfo']['created'] == stash['created']
    assert document['packages'][0]['checksums'][0]['checksumValue'] == stash['id']
    assert document['packages'][1]['checksums'][0]['checksumValue'] == base['digest'][7:]
    statement = json.loads(found['provenance.intoto.json'])
    assert statement['subject'] == [
        {'name': 'small:v2', 'digest': {'sha256': stash['digest'][7:]}}
    ]
    told = statement['predicate']
    assert {one['digest']['sha256'] for one in told['buildDefinition']['resolvedDependencies']} >= {
        base['digest'][7:]
    }
    assert told['runDetails']['metadata'] == {'finishedOn': stash['created']}
    assert set(told['runDetails']['builder']['version']) == {'kiwi', 'kiwi_stackbuild_plugin'}
    assert {one['kind']: Path(one['place']).read_bytes() for one in stash['artifacts']} == {
        'sbom': found['sbom.spdx.json'], 'provenance': found['provenance.intoto.json']
    }
    for data in found.values():
        assert b'localhost' not in data.replace(b'localhost/small', b''), 'the name of this host'
        assert str(packaged).encode() not in data
    table = storage.kiwi('stash_list', '--format=table', 'small:v2').stdout
    assert stash['artifacts'][0]['place'] in table


def test_same_image_same_documents(storage: Storage, packaged: Path, tmp_path: Path) -> None:
    made = []
    for name in ('one', 'two'):
        with other_storage(tmp_path, name) as other:
            other.kiwi(
                'stash', '--root', str(packaged), '--no-base', '--sbom',
                env={'SOURCE_DATE_EPOCH': '1700000000'}
            )
            # kept of the stash of another storage would not be seen
            made.append(kept(other, other.stash('small')['id']))
    assert made[0] == made[1] and len(made[0]) == 2
    assert json.loads(made[0]['sbom.spdx.json'])['creationInfo']['created'] == (
        '2023-11-14T22:13:20Z'
    )


def test_documents_go_with_their_image(storage: Storage, packaged: Path) -> None:
    gone = []
    for tag in ('by-podman', 'by-prune', 'stays'):
        (packaged / 'etc/motd').write_text(tag)
        storage.kiwi('stash', '--root', str(packaged), f'--tag={tag}', '--sbom')
        gone.append(storage.stash(f'small:{tag}')['id'])
    storage.run('podman', 'rmi', 'localhost/small:by-podman')
    storage.kiwi('stash', '--prune', '--keep-last=1', '--dry-run')
    assert [len(kept(storage, one)) for one in gone] == [2, 2, 2]
    storage.kiwi('stash', '--prune', '--keep-last=1')
    assert [len(kept(storage, one)) for one in gone] == [0, 0, 2]


def test_rpm(storage: Storage, root: Path, tmp_path: Path) -> None:
    require_rpm()
    shutil.rmtree(root / 'var/lib/dpkg')
    change_database(
        root / 'usr/lib/sysimage/rpm', '-U', build_rpm(tmp_path / 'rpms', 'alpha', '1.0', '3')
    )
    storage.kiwi('stash', '--root', str(root), '--sbom')
    document = check_sbom(kept(storage, storage.stash('small')['id'])['sbom.spdx.json'])
    assert purls(document) == ['pkg:rpm/small/alpha@1.0-1?arch=noarch&distro=small&epoch=3']
    package = document['packages'][-1]
    assert package['licenseDeclared'] == 'MIT'
    assert package['sourceInfo'].endswith('alpha-1.0-1.src.rpm')
    assert package['checksums'][0]['algorithm'] == 'SHA256'


def manifest(registry: Registry, name: str, reference: str, kind: str = MANIFEST) -> Any:
    return json.loads(registry.request(f'{name}/manifests/{reference}', kind=kind))


def attach_foreign(registry: Registry, name: str, tag: str) -> str:
    """Attach something of somebody else to an image; return its digest."""
    index = manifest(registry, name, tag, INDEX)
    one = index['manifests'][0]
    data = registry.request(
        f'{name}/manifests/{one["digest"]}', kind=MANIFEST
    ).replace(b'"sbom"', b'"of-others"')
    registry.request(f'{name}/manifests/foreign', data, MANIFEST)
    foreign = {
        **one, 'annotations': {'org.example': 'x'}, 'size': len(data),
        'digest': f'sha256:{hashlib.sha256(data).hexdigest()}'
    }
    registry.request(f'{name}/manifests/{tag}', json.dumps(
        {**index, 'manifests': [foreign, *index['manifests']]}
    ).encode(), INDEX)
    return str(foreign['digest'])


def check_artifact(registry: Registry, name: str, digest: str, image: bytes) -> bytes:
    """Look at an artifact of an image; return its document."""
    one = manifest(registry, name, digest)
    assert one['subject'] == {
        'mediaType': MANIFEST, 'digest': f'sha256:{hashlib.sha256(image).hexdigest()}',
        'size': len(image)
    }
    assert one['config']['mediaType'] == 'application/vnd.oci.empty.v1+json'
    assert one['artifactType'] == one['layers'][0]['mediaType']
    return registry.request(f'{name}/blobs/{one["layers"][0]["digest"]}')


@needs_registry
def test_documents_are_referrers_of_the_exported_image(
    storage: Storage, packaged: Path, registry: Registry
) -> None:
    target = f'{registry.host}/team/small'
    words = ['--sbom', f'--export=docker://{target}', *registry.options]
    storage.kiwi(
        'stash', '--root', str(packaged), *words, f'--export=docker://{registry.host}/two:v3'
    )
    raw = registry.request('team/small/manifests/latest', kind=MANIFEST)
    digest = hashlib.sha256(raw).hexdigest()
    tag = f'sha256-{digest}'
    ours = [one['digest'] for one in manifest(registry, 'team/small', tag, INDEX)['manifests']]
    foreign = attach_foreign(registry, 'team/small', tag)
    storage.kiwi('stash', '--container-name=small', *words)
    entries = manifest(registry, 'team/small', tag, INDEX)['manifests']
    assert [one['digest'] for one in entries] == [foreign, *ours], 'the same again, once'
    sbom, provenance = (check_artifact(registry, 'team/small', one, raw) for one in ours)
    assert purls(check_sbom(sbom)) == ['pkg:deb/small/one@1:2.0-1?arch=amd64&distro=small']
    assert json.loads(provenance)['subject'] == [
        {'name': f'{target}:latest', 'digest': {'sha256': digest}}
    ]
    words = [f'--remote={registry.host}/team', *registry.options]
    stash, = storage.stashes(*words, 'small:latest')
    assert [(one['kind'], one['digest']) for one in stash['artifacts']] == [
        ('other', foreign), ('sbom', ours[0]), ('provenance', ours[1])
    ]
    assert [one['type'] for one in stash['artifacts'][1:]] == [SBOM, PROVENANCE]
    stash, = storage.stashes(f'--remote={registry.host}', *registry.options, 'two')
    assert [one['kind'] for one in stash['artifacts']] == ['sbom', 'provenance']
    said = storage.kiwi('stash_list', *words)
    assert [one['tag'] for one in json.loads(said.stdout)['stashes']] == ['latest']
    assert 'sha256-' not in said.stderr, 'the tag of the referrers is no image'


def layout_of(path: Path, where: Path) -> Path:
    """Return a layout, unpacked if it is an archive."""
    if path.is_dir():
        return path
    with tarfile.open(path) as archive:
        archive.extractall(where, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    return where


@pytest.mark.parametrize('form', ['oci:@/x', 'oci-archive:@/x:v1'])
def test_documents_in_a_layout(
    storage: Storage, packaged: Path, tmp_path: Path, form: str
) -> None:
    place = form.replace('@', str(tmp_path))
    storage.kiwi('stash', '--root', str(packaged), '--sbom', f'--export={place}')
    (packaged / 'etc/motd').write_text('changed')
    storage.kiwi('stash', '--root', str(packaged), '--sbom', f'--export={place}')
    layout = layout_of(tmp_path / 'x', tmp_path / 'unpacked')
    entries = json.loads((layout / 'index.json').read_text())['manifests']

    def blob(digest: str) -> Any:
        data = (layout / 'blobs/sha256' / digest[7:]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest[7:]
        return json.loads(data)

    # what skopeo leaves of the earlier one has no name any more
    image, = (one for one in entries if one.get('annotations', {}).get(REF_NAME))
    ours = [one for one in entries if 'artifactType' in one and blob(
        one['digest']
    )['subject']['digest'] == image['digest']]
    assert [one['artifactType'] for one in ours] == [SBOM, PROVENANCE]
    check_sbom(json.dumps(blob(blob(ours[0]['digest'])['layers'][0]['digest'])).encode())
    name = place if ':v1' in place else f'{place}:latest'
    wanted = storage.stash('small')['id']
    with other_storage(tmp_path) as other:
        said = other.kiwi(
            'stackbuild', f'--stash={place.replace(":v1", "")}', '--dry-run',
            f'--target-dir={tmp_path}/out'
        ).stdout
        assert f'({wanted[:12]}): all of it' in said
    assert storage.run('skopeo', 'inspect', '--config', name).returncode == 0


def test_where_there_is_no_room_that_is_said(
    storage: Storage, packaged: Path, tmp_path: Path
) -> None:
    places = [f'docker-archive:{tmp_path}/x.tar', f'dir:{tmp_path}/dir']
    said = storage.kiwi(
        'stash', '--root', str(packaged), '--sbom', *(f'--export={place}' for place in places)
    )
    for place in places:
        assert f'{place}: no SBOM and no provenance go there' in said.stdout + said.stderr
    # nor are they kept where others could write
    directory, = Path(storage.environment['KIWI_STASH_STATE']).glob('*/*')
    directory.chmod(0o777)
    failed = storage.kiwi(
        'stash', '--container-name=small', '--sbom', f'--export=oci:{tmp_path}/x', check=False
    )
    assert failed.returncode == 1 and 'others can write there' in failed.stderr
    assert not (tmp_path / 'x').exists()
