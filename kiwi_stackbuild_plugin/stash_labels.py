# SPDX-License-Identifier: GPL-3.0-or-later
"""The labels that a new stash gets."""
from __future__ import annotations

import logging
import os
import stat
from typing import Dict, Iterable, Mapping, Optional

from kiwi.version import __version__ as kiwi_version

from kiwi_stackbuild_plugin.description.description import RootDescription
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.labels import HISTORY_TITLE
from kiwi_stackbuild_plugin.layer.blob import Layer
from kiwi_stackbuild_plugin.version import __version__

log = logging.getLogger('kiwi')

#: how many layers an image may have for us to put one more on it; podman 4
#: mounts 129, and builds on 128
MOST_LAYERS = 120


def parse_labels(texts: Iterable[str]) -> Dict[str, str]:
    """Take 'key=value' apart.

    :raises KiwiStashArgumentInvalid: naming the one that is wrong
    """
    found: Dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals or not key or not key.isprintable() or ' ' in key:
            raise KiwiStashArgumentInvalid(
                f'--label {text!r} is not of the form key=value'
            )
        if key.startswith(labels.STASH_PREFIX) or key == labels.META:
            raise KiwiStashArgumentInvalid(
                f'--label {text!r}: {key} is written by the plugin itself'
            )
        if '\0' in value:
            raise KiwiStashArgumentInvalid(f'--label {text!r}: a zero byte in it')
        found[key] = value
    return found


def preparer() -> str:
    """Return the words that say what made an image."""
    return f'KIWI - https://github.com/OSInside/kiwi - {kiwi_version}'


def make_labels(
    name: str, description: RootDescription, root_status: os.stat_result,
    created: str, base: Optional[ImageInfo], base_exact: bool
) -> Dict[str, str]:
    """Return the labels of a stash, but for those of its layer.

    :param name: name:tag
    :param root_status: of the root directory
    :param base_exact: the base's mtimes, if there is one, have nanoseconds
    """
    title, _, tag = name.rpartition(':')
    return {
        labels.TITLE: title, labels.VERSION: tag,
        labels.AUTHORS: description.author, labels.CREATED: created,
        labels.BASE_NAME: base.display_name if base else '',
        labels.BASE_DIGEST: base.digest if base else '',
        labels.MAINTAINER: description.author, labels.META: preparer(),
        labels.SCHEMA: labels.SCHEMA_VERSION,
        labels.PROFILES: description.profiles,
        labels.TYPE: description.build_type,
        labels.PACKAGE_MANAGER: description.package_manager,
        labels.ROOT_MODE: f'{stat.S_IMODE(root_status.st_mode):04o}',
        labels.ROOT_OWNER: f'{root_status.st_uid}:{root_status.st_gid}',
        labels.DESCRIPTION_DIGEST: description.digest,
        labels.KIWI_VERSION: kiwi_version,
        labels.PLUGIN_VERSION: __version__,
        labels.MTIME: 'ns' if base is None or base_exact else 'rounded'
    }


def layer_labels(
    layer: Optional[Layer], base: Optional[ImageInfo]
) -> Dict[str, str]:
    """Return the labels that tell of the newest layer."""
    if layer is not None:
        return {
            labels.TOP_LAYER: layer.diff_id, labels.LAYER_SIZE: str(layer.size)
        }
    top = base.layers[-1] if base and base.layers else ''
    return {labels.TOP_LAYER: top, labels.LAYER_SIZE: '0'}


def make_history(author: str, layer: Optional[Layer]) -> Dict[str, str]:
    """Return the history entry of a stash, as kiwi's OciConfig has it."""
    what = 'nothing changed' if layer is None else (
        f'{layer.added} added, {layer.changed} changed, {layer.removed} removed, '
        f'{layer.size} bytes'
    )
    return {
        'created_by': preparer(), 'author': author,
        'comment': f'{HISTORY_TITLE}: {what}'
    }


def annotations_of(values: Mapping[str, str]) -> Dict[str, str]:
    """Return those of the labels that are standard annotations too."""
    return {
        key: value for key, value in values.items()
        if key.startswith(labels.OCI_PREFIX) and value
    }


def chain_limit() -> int:
    """Return how many layers may be stacked.

    Environment variable KIWI_STASH_MAX_LAYERS, 60 by default: overlayfs and
    the storage drivers have limits not far above 100.

    :raises KiwiStashArgumentInvalid: if it is not from 1 to 120
    """
    text = os.environ.get('KIWI_STASH_MAX_LAYERS', '60')
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MOST_LAYERS:
        raise KiwiStashArgumentInvalid(
            f'KIWI_STASH_MAX_LAYERS {text!r}: not a number from 1 to {MOST_LAYERS}'
        )
    return int(text)


def chain_is_full(info: ImageInfo) -> bool:
    """Tell whether one more layer on an image would be too many, and say so."""
    limit = chain_limit()
    if len(info.layers) < limit:
        return False
    log.info(
        '%s has %d layers, at most %d are stacked: starting a new single layer',
        info.display_name, len(info.layers), limit
    )
    return True


def chain_is_beyond_use(info: ImageInfo) -> bool:
    """Tell whether an image has so many layers that it need not be mounted."""
    return len(info.layers) > MOST_LAYERS and chain_is_full(info)
