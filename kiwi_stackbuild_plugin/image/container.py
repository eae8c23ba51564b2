# SPDX-License-Identifier: GPL-3.0-or-later
"""The config of a container that kiwi builds, as kiwi's umoci class makes it.

Source: OCI image spec v1.0, config.md; kiwi.oci_tools.umoci; umoci 0.4 "config".
"""
from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, Optional

from kiwi_stackbuild_plugin.image.image import Document, fit_history

#: what a config has and a container inherits; umoci drops what is not OCI's
_KEPT = ('author', 'architecture', 'os', 'variant', 'os.version', 'os.features')
_KEPT_SETTINGS = (
    'User', 'ExposedPorts', 'Env', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir',
    'Labels', 'StopSignal'
)
#: keys of kiwi's OciConfig, and those of a config: values
_VALUES = {'user': 'User', 'workingdir': 'WorkingDir', 'stopsignal': 'StopSignal'}
#: lists that replace what is inherited, an empty one removes it
_COMMANDS = {'entry_command': 'Entrypoint', 'entry_subcommand': 'Cmd'}
#: sets that are added to what is inherited
_SETS = {'volumes': 'Volumes', 'expose_ports': 'ExposedPorts'}


def first_config(stash: Mapping[str, Any]) -> Document:
    """Return the config of a container that is derived from none.

    :param stash: config of the image with the layers below
    """
    return {key: stash[key] for key in _KEPT[1:] if key in stash}


def inherited_config(container: Mapping[str, Any]) -> Document:
    """Return the config of a container that is derived from another one."""
    config = {key: container[key] for key in _KEPT if container.get(key)}
    settings = container.get('config') or {}
    config['config'] = {
        key: copy.deepcopy(settings[key]) for key in _KEPT_SETTINGS if settings.get(key)
    }
    return config


def add_layers(
    config: Mapping[str, Any], stash: Mapping[str, Any], diff_id: Optional[str],
    oci_config: Mapping[str, Any], created: str
) -> Document:
    """Return a config with the layers of a stash and one more, and their history.

    :param diff_id: digest of the new layer's tar, None for no new layer
    :param oci_config: keys as in kiwi's OciConfig
    :param created: RFC 3339
    """
    diff_ids: List[str] = list(stash['rootfs']['diff_ids'])
    told = oci_config.get('history') or {}
    entry: Document = {'created': created, 'author': config.get('author', ''), **{
        key: told[key] for key in ('created_by', 'author', 'comment') if key in told
    }}
    entry = {key: value for key, value in entry.items() if value}
    if diff_id is None:
        entry['empty_layer'] = True
    return {
        **config,
        'history': [*fit_history(stash.get('history') or [], len(diff_ids)), entry],
        'rootfs': {
            'type': 'layers', 'diff_ids': diff_ids + ([diff_id] if diff_id else [])
        }
    }


def apply_settings(
    config: Mapping[str, Any], oci_config: Mapping[str, Any], created: str
) -> Document:
    """Return a config with what a description says of its container.

    :param oci_config: keys as in kiwi's OciConfig
    :param created: RFC 3339
    """
    found: Document = {**config, 'created': created}
    if 'maintainer' in oci_config:
        found['author'] = oci_config['maintainer']
    settings: Document = copy.deepcopy(config.get('config') or {})
    for key, name in {**_VALUES, **_COMMANDS}.items():
        if key in oci_config:
            settings[name] = oci_config[key]
    for key, name in _SETS.items():
        for value in oci_config.get(key) or ():
            settings.setdefault(name, {})[value] = {}
    environment = _environment(settings.get('Env') or [])
    environment.update(sorted((oci_config.get('environment') or {}).items()))
    settings['Env'] = [f'{name}={value}' for name, value in environment.items()]
    settings['Labels'] = {
        **(settings.get('Labels') or {}), **(oci_config.get('labels') or {})
    }
    found['config'] = {key: value for key, value in settings.items() if value}
    return {key: value for key, value in found.items() if value or key == 'config'}


def _environment(lines: List[str]) -> Dict[str, str]:
    return {name: value for name, _, value in (line.partition('=') for line in lines)}
