# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers made by kiwi's own class, with umoci and with ours, to be compared."""
from __future__ import annotations

import json
import subprocess
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ContextManager, Dict, List, Optional, Tuple

from kiwi.container.oci import ContainerImageOCI
from trees import describe

from kiwi_stackbuild_plugin.stackbuild.container import ContainerPlan, container_tool

#: what a config may have besides the layers and their history
_HISTORY, _LAYERS = 'history', 'rootfs'
DESCRIPTION = '''<image schemaversion="7.4" name="small">
  <description type="system">
    <author>A</author><contact>a@b</contact><specification>s</specification>
  </description>
  <preferences>
    <version>1.0.0</version><packagemanager>apt</packagemanager>
    <type image="{image}"><containerconfig name="made" additionaltags="more"/></type>
  </preferences>
  <repository type="apt-deb"><source path="file:///nonexistent"/></repository>
  <packages type="image"/>
</image>'''


@dataclass(frozen=True)
class Wanted:
    """What kiwi is asked for.

    :param base_image: archive that the container is derived from
    """

    root: Path
    oci_config: Dict[str, Any] = field(default_factory=dict)
    transport: str = 'oci-archive'
    base_image: str = ''
    empty_tmpdirs: bool = True


@dataclass(frozen=True)
class Made:
    """A container: what is in its archive."""

    archive: Path
    names: List[str]
    config: Dict[str, Any]
    tree: Dict[bytes, Tuple[Any, ...]]

    @property
    def settings(self) -> Dict[str, Any]:
        """The config but for layers and history, which the oracle has one of."""
        return {
            key: value for key, value in self.config.items()
            if key not in (_HISTORY, _LAYERS)
        }

    @property
    def last(self) -> Dict[str, Any]:
        """The newest entry of the history."""
        entry: Dict[str, Any] = dict(self.config[_HISTORY][-1])
        entry.pop('empty_layer', None)
        return entry


def make_container(wanted: Wanted, where: Path, plan: Optional[ContainerPlan] = None) -> Made:
    """Have kiwi make a container, with umoci or as planned; read it back with umoci."""
    where.mkdir()
    tool: ContextManager[None] = container_tool(plan) if plan else nullcontext()
    with tool:
        archive = ContainerImageOCI(
            str(wanted.root), wanted.transport, deepcopy(wanted.oci_config) or None
        ).create(str(where / 'made.tar'), wanted.base_image, wanted.empty_tmpdirs, False)
    return read_container(Path(archive), wanted.transport, where)


def read_container(archive: Path, transport: str, where: Path) -> Made:
    """Unpack an archive, layer by layer, with umoci."""
    layout = f'{where}/layout:x'
    _run('skopeo', 'copy', '--quiet', f'{transport}:{archive}', f'oci:{layout}')
    config = json.loads(_run('skopeo', 'inspect', '--config', '--raw', f'oci:{layout}'))
    _run('umoci', 'raw', 'unpack', '--image', layout, f'{where}/tree')
    return Made(archive, _names(archive, transport), config, describe(where / 'tree'))


def _names(archive: Path, transport: str) -> List[str]:
    """Return the names in an archive."""
    member = 'manifest.json' if transport == 'docker-archive' else 'index.json'
    data = json.loads(_run('tar', '--extract', '--to-stdout', '--file', str(archive), member))
    if transport == 'docker-archive':
        return [
            name.replace('docker.io/library/', '')
            for image in data for name in image['RepoTags']
        ]
    return [
        image['annotations']['org.opencontainers.image.ref.name'] for image in data['manifests']
    ]


def _run(*argv: str) -> str:
    result = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert result.returncode == 0, (argv, result.stdout, result.stderr)
    return result.stdout


def drop_created(document: Dict[str, Any]) -> Dict[str, Any]:
    assert document.pop('created')
    return document


def describe_container(root: Path, image: str) -> None:
    """Write the description of a container without packages into a tree."""
    (root / 'image/config.xml').write_text(DESCRIPTION.format(image=image))
    (root / '.profile').write_text(f"kiwi_profiles=''\nkiwi_type='{image}'\n")
