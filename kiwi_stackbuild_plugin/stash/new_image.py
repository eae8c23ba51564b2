# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an image of a base and a layer, in the storage and without a name."""
from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, Mapping, Optional, Tuple

from kiwi.defaults import Defaults
from kiwi.version import __version__ as kiwi_version

from kiwi_stackbuild_plugin.description.description import RootDescription
from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import (
    Document, ImageInfo, extras_of, is_own_stash, make_config, stored_layers, timestamp
)
from kiwi_stackbuild_plugin.image.labels import HISTORY_TITLE
from kiwi_stackbuild_plugin.image.layout import make_layout
from kiwi_stackbuild_plugin.layer.blob import Layer
from kiwi_stackbuild_plugin.layer.extras import ROOT, Extras, find_root_extra, holes_left
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.storage.documents import ImageDocuments
from kiwi_stackbuild_plugin.storage.lower_layers import store_on_layers
from kiwi_stackbuild_plugin.tree.delta import Delta
from kiwi_stackbuild_plugin.version import __version__

log = logging.getLogger('kiwi')

#: what a base says of the root directory and its making; if one of these has
#: changed, an image of its own says so even where no entry has
_TELLING = (labels.ROOT_MODE, labels.ROOT_OWNER, labels.PROFILES, labels.TYPE)


@dataclass(frozen=True)
class NewImage:
    """A stash to be: name:tag, how the tree was built, base, layer, labels.

    documents: those of the base
    """

    name: str
    description: RootDescription
    root_status: os.stat_result
    base: Optional[Base]
    layer: Optional[Layer]
    extra_labels: Dict[str, str]
    documents: Optional[ImageDocuments] = None


def store_image(
    new: NewImage, space: Workspace, layout: str
) -> Tuple[str, str]:
    """Bring an image into the storage; return its ID and its manifest's digest.

    Where nothing changed since the base, and the base says all that the stash
    would say, the base is the image.

    :param layout: directory with the layer's blob, made here if there is none
    """
    created = timestamp()
    base, layer = new.base, new.layer
    info = base.info if base else None
    values = make_labels(
        new.name, new.description, new.root_status, created, info,
        not (base and base.rounded)
    )
    if layer is None and base and _says_the_same(base, {
        **{key: values[key] for key in _TELLING}, **new.extra_labels
    }):
        return base.info.image_id, base.info.digest
    if layer is None:
        make_layout(layout)
    values.update(layer_labels(layer, info))
    values.update(new.extra_labels)
    base_manifest, base_config = new.documents.read() if new.documents else ({}, None)
    config = _make_config(new, values, created, base_config)
    base_layers = stored_layers(base_manifest.get('layers') or [], base_config or {})
    log.info('Importing into the storage of podman')
    return store_on_layers(
        space, layout, config, base_layers, layer, annotations_of(values)
    )


def _make_config(
    new: NewImage, values: Dict[str, str], created: str,
    base_config: Optional[Document]
) -> Document:
    author = new.description.author
    return make_config(
        base_config, {
            'maintainer': author, 'labels': values,
            'entry_subcommand': ['/bin/sh'],
            'history': make_history(author, new.layer)
        }, new.layer.diff_id if new.layer else None, created,
        Defaults.get_platform_name()
    )


def _says_the_same(base: Base, values: Dict[str, str]) -> bool:
    return is_own_stash(base.info) and all(
        base.info.labels.get(key) == value for key, value in values.items()
    )


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
        # what a base was built of is not what a change of it is built of
        labels.INPUTS: '',
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


def files_with_holes(
    base: Optional[Base], delta: Optional[Delta], layer: Optional[Layer]
) -> Iterator[bytes]:
    """Give the files that have holes: in the layer, or in the base and left there."""
    if base and delta:
        yield from holes_left(extras_of(base.info), delta.removed, delta.changes)
    yield from layer.sparse if layer else ()


def root_extra(
    root_fd: int, base: Optional[Base], last_time: Optional[int]
) -> Extras:
    """Return what is kept of a root directory itself.

    :param base: its root directory's time is kept if that alone differs
    :param last_time: a later mtime (nanoseconds) becomes this one
    """
    found = find_root_extra(root_fd)
    mtime = found[ROOT].mtime or 0
    if last_time is not None:
        found = {ROOT: found[ROOT]._replace(mtime=min(mtime, last_time))}
    if base is None:
        return found
    old, told, now = extras_of(base.info).get(ROOT), base.info.stash_labels, os.fstat(root_fd)
    same = old is not None and old.xattrs == found[ROOT].xattrs and (
        told.root_mode, told.root_owner
    ) == (stat.S_IMODE(now.st_mode), (now.st_uid, now.st_gid))
    return {ROOT: old} if same and old else found
