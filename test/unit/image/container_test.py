# SPDX-License-Identifier: GPL-3.0-or-later
"""Configs of containers; test/integration/container_test.py holds them against umoci's."""
from __future__ import annotations

from typing import Any, Dict

import pytest

from kiwi_stackbuild_plugin.image.container import (
    add_layers, apply_settings, first_config, inherited_config
)

MOMENT = '2026-01-02T03:04:05Z'
STASH: Dict[str, Any] = {
    'architecture': 'arm64', 'os': 'linux', 'author': 'S', 'created': 'then',
    'config': {'Labels': {'io.osinside.kiwi.meta': 'x'}, 'Cmd': ['/bin/sh']},
    'rootfs': {'type': 'layers', 'diff_ids': ['sha256:1', 'sha256:2']},
    'history': [{'comment': 'second'}]
}


def test_nothing_of_a_stash_but_its_machine_is_in_a_first_config() -> None:
    assert first_config(STASH) == {'architecture': 'arm64', 'os': 'linux'}


def test_what_is_not_of_oci_is_not_inherited() -> None:
    inherited = inherited_config({
        **STASH, 'docker_version': '1', 'container_config': {},
        'config': {'User': 'u', 'Env': [], 'OnBuild': ['x'], 'Healthcheck': {}}
    })
    assert inherited == {
        'architecture': 'arm64', 'os': 'linux', 'author': 'S', 'config': {'User': 'u'}
    }


@pytest.mark.parametrize('diff_id, layers, last', [
    ('sha256:3', ['sha256:1', 'sha256:2', 'sha256:3'], {}),
    (None, ['sha256:1', 'sha256:2'], {'empty_layer': True})
])
def test_each_layer_has_its_history(diff_id: Any, layers: Any, last: Dict[str, Any]) -> None:
    config = add_layers({'author': 'A'}, STASH, diff_id, {'history': {'comment': 'c'}}, MOMENT)
    assert config['rootfs'] == {'type': 'layers', 'diff_ids': layers}
    assert config['history'] == [
        {'created_by': 'unknown'}, {'comment': 'second'},
        {'created': MOMENT, 'author': 'A', 'comment': 'c', **last}
    ]


@pytest.mark.parametrize('given, name, value', [
    ({'user': 'root'}, 'User', 'root'),
    ({'workingdir': '/w'}, 'WorkingDir', '/w'),
    ({'stopsignal': 'SIGINT'}, 'StopSignal', 'SIGINT'),
    ({'entry_command': ['a', 'b']}, 'Entrypoint', ['a', 'b']),
    ({'entry_command': []}, 'Entrypoint', None),
    ({'entry_subcommand': ['a']}, 'Cmd', ['a']),
    ({'entry_subcommand': []}, 'Cmd', None),
    ({'volumes': ['/n']}, 'Volumes', {'/v': {}, '/n': {}}),
    ({'expose_ports': ['81']}, 'ExposedPorts', {'80': {}, '81': {}}),
    ({'environment': {'Z': '1', 'B': 'x=y', 'A': 'new'}}, 'Env', ['A=new', 'B=x=y', 'Z=1']),
    ({'labels': {'l': 'new', 'm': ''}}, 'Labels', {'l': 'new', 'm': ''}),
    ({}, 'Env', ['A=1']), ({}, 'Entrypoint', ['old']), ({}, 'Labels', {'l': 'old'})
])
def test_settings_go_over_what_is_inherited(
    given: Dict[str, Any], name: str, value: Any
) -> None:
    inherited = {'config': {
        'Entrypoint': ['old'], 'Cmd': ['old'], 'Volumes': {'/v': {}}, 'Env': ['A=1'],
        'ExposedPorts': {'80': {}}, 'Labels': {'l': 'old'}, 'User': 'u'
    }}
    config = apply_settings(inherited, given, MOMENT)
    assert config['config'].get(name) == value
    assert config['created'] == MOMENT
    assert inherited['config']['Volumes'] == {'/v': {}}


def test_a_maintainer_is_the_author() -> None:
    assert apply_settings({'author': 'A'}, {'maintainer': 'M'}, MOMENT)['author'] == 'M'
    assert apply_settings({'author': 'A'}, {}, MOMENT)['author'] == 'A'
