# SPDX-License-Identifier: GPL-3.0-or-later
"""Image values, the record in the tree."""
from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image.image import (
    encode, info_from_inspect, make_config, make_manifest, oci_architecture, oci_descriptor,
    source_date, timestamp
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


@pytest.mark.parametrize(('epoch', 'moment'), [
    ('0', '1970-01-01T00:00:00Z'), ('-1', '1969-12-31T23:59:59Z'),
    ('1700000000', '2023-11-14T22:13:20Z'), ('4294967296', '2106-02-07T06:28:16Z'),
    ('-62135596800', '0001-01-01T00:00:00Z'), ('253402300799', '9999-12-31T23:59:59Z')
])
def test_source_date(monkeypatch: pytest.MonkeyPatch, epoch: str, moment: str) -> None:
    monkeypatch.setenv('SOURCE_DATE_EPOCH', epoch)
    assert (source_date(), timestamp()) == (int(epoch), moment)


@pytest.mark.parametrize('epoch', [
    'x', '1.5', '1e3', '0x10', ' 1', '1\n', '+5', '--1', '-', '1_0', '\u0661', '\u00b2',
    '253402300800', '-62135596801', '9' * 20, '9' * 5000
])
def test_source_date_that_is_none(monkeypatch: pytest.MonkeyPatch, epoch: str) -> None:
    monkeypatch.setenv('SOURCE_DATE_EPOCH', epoch)
    with pytest.raises(KiwiStashArgumentInvalid, match='SOURCE_DATE_EPOCH'):
        source_date()
