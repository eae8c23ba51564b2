# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI images as values: what podman tells of one, config and manifest of a new one.

Source: OCI image spec v1.0, config.md, manifest.md, annotations.md.
"""
from __future__ import annotations

import copy
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image.labels import StashLabels, read_labels
from kiwi_stackbuild_plugin.layer.extras import Extras, decode

CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
_LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar'
_DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar'
_ARCHITECTURES = {
    'x86_64': 'amd64', 'aarch64': 'arm64', 'i586': '386', 'i686': '386',
    'armv7l': 'arm', 'armv6l': 'arm', 'ppc64le': 'ppc64le', 's390x': 's390x',
    'riscv64': 'riscv64', 'loongarch64': 'loong64'
}
#: halves of a pair that stand alone, and no byte of surrogateescape either
_LONE = re.compile('[\ud800-\udc7f\udd00-\udfff]')
Document = Dict[str, Any]


@dataclass(frozen=True)
class ImageInfo:
    """What podman tells of a stored image.

    image_id and digests are 64 hexadecimal digits, digests with 'sha256:';
    layers are the diff IDs from the bottom up; created is RFC 3339; size is
    what the unpacked layers take, in bytes; driver is that of the storage;
    directories are those in which the overlay driver has the layers, from the
    bottom up, none with another.
    """

    image_id: str
    names: Tuple[str, ...] = ()
    digest: str = ''
    created: str = ''
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    layers: Tuple[str, ...] = ()
    architecture: str = ''
    author: str = ''
    history: Tuple[Mapping[str, Any], ...] = ()
    driver: str = ''
    directories: Tuple[str, ...] = ()

    @property
    def lossy_storage(self) -> bool:
        """Tell whether it is stored where lower layers lose extended attributes.

        The driver vfs copies a layer's parent without them, but for
        capabilities (containers/storage, drivers/copy).
        """
        return self.driver == 'vfs'

    @cached_property
    def stash_labels(self) -> StashLabels:
        """The labels, typed and checked."""
        return read_labels(self.labels)

    @property
    def display_name(self) -> str:
        """A name to show: the first one, or the short image ID."""
        return self.names[0] if self.names else self.image_id[:12]


def info_from_inspect(data: Mapping[str, Any]) -> ImageInfo:
    """Read one element of what 'podman image inspect' prints."""
    return ImageInfo(
        image_id=str(data['Id']).partition(':')[2] or str(data['Id']),
        names=tuple(data.get('RepoTags') or ()),
        digest=data.get('Digest') or '',
        created=data.get('Created') or '',
        size=int(data.get('Size') or 0),
        labels=data.get('Labels') or {},
        layers=tuple((data.get('RootFS') or {}).get('Layers') or ()),
        architecture=data.get('Architecture') or '',
        author=data.get('Author') or '',
        history=tuple(data.get('History') or ()),
        driver=(data.get('GraphDriver') or {}).get('Name') or '',
        directories=_directories((data.get('GraphDriver') or {}).get('Data') or {})
    )


def _directories(driver: Mapping[str, Any]) -> Tuple[str, ...]:
    upper, lower = driver.get('UpperDir'), driver.get('LowerDir') or ''
    if not isinstance(upper, str) or not isinstance(lower, str):
        return ()
    return (*reversed([path for path in lower.split(':') if path]), upper)


def info_from_config(
    config: Mapping[str, Any], image_id: str, digest: str, size: int
) -> ImageInfo:
    """Tell of an image that is not stored, from its config.

    :param digest: of the manifest
    :param size: bytes of the layers as they are transferred
    """
    return ImageInfo(
        image_id=image_id, digest=digest, size=size,
        created=config.get('created') or '',
        labels=(config.get('config') or {}).get('Labels') or {},
        layers=tuple(config['rootfs']['diff_ids']),
        architecture=config.get('architecture') or '',
        author=config.get('author') or '',
        history=tuple(config.get('history') or ())
    )


def source_date() -> Optional[int]:
    """Return SOURCE_DATE_EPOCH, in seconds since 1970, None if it is not set.

    :raises KiwiStashArgumentInvalid: if it is no number, or beyond year 9999
    """
    epoch = os.environ.get('SOURCE_DATE_EPOCH')
    if not epoch:
        return None
    # int() takes blanks, underscores and digits of any script
    if re.fullmatch('-?[0-9]{1,12}', epoch):
        seconds = int(epoch)
        with suppress(ValueError, OverflowError, OSError):
            datetime.fromtimestamp(seconds, tz=timezone.utc)
            return seconds
    raise KiwiStashArgumentInvalid(
        f'SOURCE_DATE_EPOCH {epoch!r}: not a number of seconds since 1970'
    )


def timestamp() -> str:
    """Return the moment of creation, RFC 3339 in UTC.

    SOURCE_DATE_EPOCH fixes it, as it does in kiwi.

    :raises KiwiStashArgumentInvalid: see source_date
    """
    seconds = source_date()
    moment = datetime.now(tz=timezone.utc) if seconds is None \
        else datetime.fromtimestamp(seconds, tz=timezone.utc)
    # strftime writes no zeros before a year
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + 'Z'


def oci_architecture(machine: str) -> str:
    """Return the name that OCI (and Go) has for what uname(2) calls machine."""
    return _ARCHITECTURES.get(machine, machine)


def make_config(
    base: Optional[Mapping[str, Any]], oci_config: Mapping[str, Any],
    diff_id: Optional[str], created: str, machine: str
) -> Document:
    """Return the config of an image: a base with one more layer, or none.

    :param base: config of the base image
    :param oci_config: keys as in kiwi's OciConfig (kiwi.container.oci)
    :param diff_id: digest of the new layer's tar, None for no new layer
    :param created: RFC 3339
    :param machine: architecture of a first layer, as uname(2) names it
    """
    config: Document = copy.deepcopy(dict(base)) if base else {
        'architecture': oci_architecture(machine), 'os': 'linux',
        'rootfs': {'type': 'layers', 'diff_ids': []}
    }
    config['created'] = created
    settings = config.get('config') or {}
    if not base and 'entry_subcommand' in oci_config:
        settings['Cmd'] = list(oci_config['entry_subcommand'])
    labels = {**(settings.get('Labels') or {}), **oci_config.get('labels', {})}
    settings['Labels'] = dict(sorted(labels.items()))
    config['config'] = settings
    if oci_config.get('maintainer'):
        config['author'] = oci_config['maintainer']
    told = fit_history(config.get('history') or [], len(config['rootfs']['diff_ids']))
    history = {'created': created, **oci_config.get('history', {})}
    if diff_id is None:
        history['empty_layer'] = True
    else:
        config['rootfs']['diff_ids'].append(diff_id)
    config['history'] = [*told, history]
    return config


def fit_history(history: List[Document], count: int) -> List[Document]:
    """Return a history that has an entry for each layer, as podman build wants it.

    What is told of too few layers is of the upper ones: tools add to the end.

    :param count: of layers
    """
    missing = count - sum(1 for entry in history if not entry.get('empty_layer'))
    if missing < 0:
        # nobody knows which of them are of layers
        history, missing = [], count
    return [*({'created_by': 'unknown'} for _ in range(missing)), *history]


def make_manifest(
    base_layers: List[Document], layer: Optional[Document], config: Document,
    annotations: Mapping[str, str]
) -> Document:
    """Return a manifest.

    :param base_layers: descriptors of the base's layers
    :param layer: descriptor of the new layer, if there is one
    :param config: descriptor of the config
    """
    return {
        'schemaVersion': 2, 'mediaType': MANIFEST_TYPE, 'config': config,
        'layers': [oci_descriptor(item) for item in base_layers]
        + ([layer] if layer else []),
        'annotations': dict(sorted(annotations.items()))
    }


def oci_descriptor(descriptor: Mapping[str, Any]) -> Document:
    """Return a layer's descriptor with the media type that OCI has for it.

    Source: OCI image spec, media-types.md, "Compatibility Matrix".
    """
    kind = str(descriptor['mediaType'])
    if kind.startswith(_DOCKER_LAYER):
        kind = kind.replace(_DOCKER_LAYER, _LAYER_TYPE, 1)
        kind = kind.replace('.tar.gzip', '.tar+gzip').replace('.tar.zstd', '.tar+zstd')
    return {
        'mediaType': kind, 'digest': descriptor['digest'],
        'size': descriptor['size']
    }


def stored_layers(
    layers: List[Document], config: Mapping[str, Any]
) -> List[Document]:
    """Return descriptors of stored layers such that any format can list them.

    One that was zstd is named as what the storage has, the plain archive;
    the size stays that of the blob: the storage knows the other itself.

    :param layers: descriptors in a stored manifest
    :param config: of the same image
    """
    diff_ids = (config.get('rootfs') or {}).get('diff_ids') or []
    return [
        {**layer, 'mediaType': _LAYER_TYPE, 'digest': diff_id}
        if str(layer['mediaType']).endswith('zstd') else layer
        for layer, diff_id in zip(layers, diff_ids)
    ]


def encode(document: Document) -> bytes:
    """Return JSON in the one form that we write, so that digests are stable."""
    text = json.dumps(
        document, sort_keys=True, separators=(',', ':'), ensure_ascii=False
    )
    # a base may have them, as escapes; bytes that are no UTF-8 come back as they were
    text = _LONE.sub(lambda found: f'\\u{ord(found[0]):04x}', text)
    return text.encode('utf-8', 'surrogateescape')


def is_own_stash(info: ImageInfo) -> bool:
    """Tell whether this plugin wrote the newest layer, not a descendant's tool.

    Labels are inherited by what others build on a stash.
    """
    top = info.layers[-1] if info.layers else ''
    return bool(top) and info.stash_labels.top_layer == top


def is_rounded(info: ImageInfo) -> bool:
    """Tell whether its mtimes may have lost their nanoseconds."""
    return not (is_own_stash(info) and info.stash_labels.exact_times)


def extras_of(info: ImageInfo) -> Extras:
    """Return what was kept of the tree of a stash aside from its layers."""
    return decode(info.stash_labels.extras or '') if is_own_stash(info) else {}


def container_layers(config: Union[str, bytes]) -> Tuple[str, ...]:
    """Return the diff IDs that a config tells of, none where it is no config."""
    try:
        found = json.loads(config)['rootfs']['diff_ids']
    except (ValueError, KeyError, TypeError):
        return ()
    whole = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return tuple(found) if whole else ()
