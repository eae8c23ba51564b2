# SPDX-License-Identifier: GPL-3.0-or-later
"""References, image values, layouts, the record in the tree."""
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict

import pytest

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, printable, printable_path
)
from kiwi_stackbuild_plugin.image.image import (
    encode, info_from_inspect, make_config, make_manifest, oci_architecture,
    oci_descriptor
)
from kiwi_stackbuild_plugin.image.layout import add_image, make_layout
from kiwi_stackbuild_plugin.image.reference import (
    check_stash_name, name_problem, parse_reference, tag_problem
)
from kiwi_stackbuild_plugin.layer.blob import Layer

DIGEST = 'sha256:' + 'a' * 64


@pytest.mark.parametrize('text, kind, host, name, tag, digest', [
    ('debian', 'name', '', 'debian', '', ''),
    ('debian:v2', 'name', '', 'debian', 'v2', ''),
    ('a/b-c_d.e:V_1.x-2', 'name', '', 'a/b-c_d.e', 'V_1.x-2', ''),
    ('localhost/debian', 'name', 'localhost', 'debian', '', ''),
    ('host:5000/a/b:t', 'name', 'host:5000', 'a/b', 't', ''),
    ('registry.example.com/a', 'name', 'registry.example.com', 'a', '', ''),
    ('[::1]:5000/a', 'name', '[::1]:5000', 'a', '', ''),
    (f'host.org/a@{DIGEST}', 'name', 'host.org', 'a', '', DIGEST),
    ('a' * 64, 'id', '', '', '', ''), ('0123456789ab', 'id', '', '', '', ''),
    (DIGEST, 'id', '', '', '', ''), ('oci:dir:tag', 'transport', '', '', '', ''),
    ('docker://x', 'transport', '', '', '', '')
])
def test_references(
    text: str, kind: str, host: str, name: str, tag: str, digest: str
) -> None:
    found = parse_reference(text)
    assert (found.kind, found.host, found.name, found.tag, found.digest) == (
        kind, host, name, tag, digest
    )


@pytest.mark.parametrize('text, tagged', [
    ('a', 'a:latest'), ('h.de/a:1', 'h.de/a:1'), (f'h.de/a@{DIGEST}', f'h.de/a@{DIGEST}')
])
def test_full_names(text: str, tagged: str) -> None:
    assert parse_reference(text).tagged == tagged


@pytest.mark.parametrize('text', [
    '', 'A', 'a:', ':a', 'a b', 'a//b', '/a', 'a/', '-a', 'a:-b', 'a@sha256:1', 'oci:',
    'docker://', 'a:b:c', 'a\n', 'ä', '../a', 'a' * 256, 'a:' + 'b' * 129, 'a..b', 'a@'
])
def test_no_references(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid):
        parse_reference(text)


def test_broken_rules_are_named() -> None:
    assert 'empty' in str(name_problem(''))
    assert '300 characters' in str(name_problem('a' * 300))
    assert 'upper case' in str(name_problem('aB'))
    assert "'!'" in str(name_problem('a!'))
    assert 'begin and end' in str(name_problem('a-'))
    assert name_problem('a__b/c--d') is None
    assert '129 characters' in str(tag_problem('a' * 129))
    assert tag_problem('_a') is None
    check_stash_name('a', 'b', 'here')
    with pytest.raises(KiwiStashArgumentInvalid, match=r"^here 'B' cannot name a stash"):
        check_stash_name('B', 'b', 'here')
    with pytest.raises(KiwiStashArgumentInvalid, match=r"--tag '\.' is not valid"):
        check_stash_name('a', '.', 'here')


def test_nothing_that_a_terminal_acts_on_is_printed() -> None:
    assert printable('plain ü') == 'plain ü'
    assert printable('a\x1b[2Jb\udcff\nc\x9b') == 'a\\x1b[2Jb\\xff\nc\\x9b'
    assert printable_path(b'a\nb\xff') == 'a\\nb\\xff'


def test_first_and_further_configs() -> None:
    settings: Dict[str, Any] = {
        'maintainer': 'me', 'labels': {'b': '1', 'a': '2'},
        'entry_subcommand': ['/bin/sh'], 'history': {'comment': 'c'}
    }
    first = make_config(None, settings, 'sha256:1', 'T1', 'x86_64')
    assert (first['architecture'], first['os'], first['author']) == ('amd64', 'linux', 'me')
    assert first['config'] == {'Cmd': ['/bin/sh'], 'Labels': {'a': '2', 'b': '1'}}
    assert first['history'] == [{'created': 'T1', 'comment': 'c'}]
    kept = json.dumps(first)
    second = make_config(first, {'labels': {'a': '3'}}, None, 'T2', 'riscv64')
    assert json.dumps(first) == kept, 'values do not change'
    assert second['architecture'] == 'amd64'
    assert second['config'] == {'Cmd': ['/bin/sh'], 'Labels': {'a': '3', 'b': '1'}}
    assert second['rootfs']['diff_ids'] == ['sha256:1']
    assert second['history'][1] == {'created': 'T2', 'empty_layer': True}
    bare = make_config({'rootfs': {'diff_ids': []}, 'history': None}, {}, 'd', 'T', 'x')
    assert (bare['rootfs']['diff_ids'], len(bare['history'])) == (['d'], 1)


@pytest.mark.parametrize('docker, oci', [
    ('application/vnd.docker.image.rootfs.diff.tar.gzip', 'tar+gzip'),
    ('application/vnd.docker.image.rootfs.diff.tar', 'tar'),
    ('application/vnd.docker.image.rootfs.diff.tar.zstd', 'tar+zstd'),
    ('application/vnd.oci.image.layer.v1.tar+gzip', 'tar+gzip')
])
def test_layers_of_docker_get_the_types_of_oci(docker: str, oci: str) -> None:
    found = oci_descriptor({'mediaType': docker, 'digest': 'd', 'size': 1, 'urls': []})
    assert found == {
        'mediaType': f'application/vnd.oci.image.layer.v1.{oci}', 'digest': 'd', 'size': 1
    }


def test_layout_holds_what_its_digests_say(tmp_path: Path) -> None:
    blobs = make_layout(str(tmp_path / 'layout'))
    layer = Layer('p', 'sha256:l', 'sha256:d', 5, 6, 1, 0, 0)
    base = {'mediaType': 'application/vnd.oci.image.layer.v1.tar', 'digest': 'b', 'size': 2}
    image_id = add_image(str(tmp_path / 'layout'), {'a': 'ü'}, [base], layer, {'k': 'v'})
    for name in os.listdir(blobs):
        data = (Path(blobs) / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
    assert (Path(blobs) / image_id).read_bytes() == '{"a":"ü"}'.encode()
    index = json.loads((tmp_path / 'layout/index.json').read_text())
    entry = index['manifests'][0]
    manifest = json.loads((Path(blobs) / entry['digest'][7:]).read_text())
    assert [item['digest'] for item in manifest['layers']] == ['b', 'sha256:l']
    assert manifest['annotations'] == {'k': 'v'}
    assert manifest['config']['digest'] == f'sha256:{image_id}'
    assert make_manifest([], None, {}, {})['layers'] == []
    assert encode({'b': 1, 'a': '\udcff'}) == b'{"a":"\xff","b":1}'


def test_architectures() -> None:
    assert oci_architecture('aarch64') == 'arm64'
    assert oci_architecture('s390x') == 's390x'
    assert oci_architecture('vax') == 'vax'


def test_inspected_images() -> None:
    info = info_from_inspect({'Id': 'sha256:' + 'a' * 64, 'RepoTags': None, 'Labels': None})
    assert (info.image_id, info.display_name, info.layers) == ('a' * 64, 'a' * 12, ())
    info = info_from_inspect({
        'Id': 'b' * 64, 'RepoTags': ['x:1'], 'Size': 5, 'RootFS': {'Layers': ['d']}
    })
    assert (info.image_id, info.display_name, info.layers) == ('b' * 64, 'x:1', ('d',))
