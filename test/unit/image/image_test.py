# SPDX-License-Identifier: GPL-3.0-or-later
"""Image values, the record in the tree."""
from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from kiwi_stackbuild_plugin.image.image import (
    encode, info_from_inspect, make_config, make_manifest, oci_architecture, oci_descriptor
)


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


def test_documents_are_written_in_one_way() -> None:
    assert make_manifest([], None, {}, {})['layers'] == []
    assert encode({'b': 1, 'a': '\udcff'}) == b'{"a":"\xff","b":1}'
