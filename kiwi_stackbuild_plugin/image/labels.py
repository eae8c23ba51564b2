# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of a stash (OCI image spec, annotations.md, and our own): keys, values.

A label is what a stranger says: read_labels() is the only place that takes
values from them, all others get them typed and checked.
"""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Callable, List, Mapping, Optional, Tuple, TypeVar

from kiwi_stackbuild_plugin.host.text import SHA256

OCI_PREFIX = 'org.opencontainers.image.'
TITLE = OCI_PREFIX + 'title'
VERSION = OCI_PREFIX + 'version'
AUTHORS = OCI_PREFIX + 'authors'
CREATED = OCI_PREFIX + 'created'
BASE_NAME = OCI_PREFIX + 'base.name'
BASE_DIGEST = OCI_PREFIX + 'base.digest'

#: written by every version of the plugin: the mark of a stash
META = 'io.osinside.kiwi.meta'
MAINTAINER = 'io.osinside.kiwi.maintainer'

STASH_PREFIX = 'io.osinside.kiwi.stash.'
SCHEMA = STASH_PREFIX + 'schema'
PROFILES = STASH_PREFIX + 'profiles'
TYPE = STASH_PREFIX + 'type'
PACKAGE_MANAGER = STASH_PREFIX + 'packagemanager'
ROOT_MODE = STASH_PREFIX + 'root-mode'
ROOT_OWNER = STASH_PREFIX + 'root-owner'
#: what neither a layer nor the storage keeps, see extras.py
EXTRAS = STASH_PREFIX + 'extras'
#: 'all': the extras have each extended attribute, since the storage loses them
XATTRS = STASH_PREFIX + 'xattrs'
DESCRIPTION_DIGEST = STASH_PREFIX + 'description-digest'
KIWI_VERSION = STASH_PREFIX + 'kiwi-version'
PLUGIN_VERSION = STASH_PREFIX + 'plugin-version'
#: bytes of the newest layer as stored; podman tells it for no image
LAYER_SIZE = STASH_PREFIX + 'layer-size'
#: diff ID of the newest layer: tells a stash from what was built on it
TOP_LAYER = STASH_PREFIX + 'top-layer'
#: 'ns': every mtime is exact; 'rounded': a lower layer may have lost fractions
MTIME = STASH_PREFIX + 'mtime'
#: config of the container that kiwi derived the root tree from, as JSON text
IMPORTED_ROOT = STASH_PREFIX + 'imported-root'

#: what a build was made of, as JSON text, see inputs.decode_inputs
INPUTS = STASH_PREFIX + 'inputs'

SCHEMA_VERSION = '1'


#: most that a label of ours may have, in characters: configs end at 4 MiB
LENGTH_LIMIT = 1 << 19
#: the last user ID; the one behind it tells chown(2) to change nothing
_LAST_ID = 2**32 - 2
_WORD = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}')
_Value = TypeVar('_Value')

#: begins the comment of each history entry, as the older plugin wrote it
HISTORY_TITLE = 'KIWI Root Tree Stash'


@dataclass(frozen=True)
class StashLabels:
    """What the labels of an image say, for whoever wrote them.

    A field is None where its label is missing, or no value of its kind: then
    the label is named in wrong.

    :param own: written by this plugin, not by the older one
    :param root_owner: user ID and group ID
    :param layer_size: bytes
    :param extras: JSON text, see extras.decode
    :param imported_root: a config with layers, as JSON text
    :param inputs: JSON text
    :param wrong: key and value of labels that are passed over, for people
    """

    is_stash: bool = False
    own: bool = False
    profiles: Optional[Tuple[str, ...]] = None
    build_type: Optional[str] = None
    package_manager: Optional[str] = None
    root_mode: Optional[int] = None
    root_owner: Optional[Tuple[int, int]] = None
    exact_times: bool = False
    layer_size: Optional[int] = None
    top_layer: Optional[str] = None
    description_digest: Optional[str] = None
    base_name: str = ''
    base_digest: Optional[str] = None
    title: str = ''
    version: str = ''
    author: str = ''
    extras: Optional[str] = None
    all_xattrs: bool = False
    imported_root: Optional[str] = None
    inputs: Optional[str] = None
    kiwi_version: str = ''
    plugin_version: str = ''
    wrong: Tuple[str, ...] = ()


def read_labels(found: Mapping[str, str]) -> StashLabels:
    """Read the labels of any image; nothing in them is an error."""
    wrong: List[str] = []

    def take(key: str, parse: Callable[[str], Optional[_Value]]) -> Optional[_Value]:
        text = found.get(key, '')
        if not text:
            return None
        value = parse(text) if len(text) <= LENGTH_LIMIT else None
        if value is None:
            wrong.append(f'{key}={text[:40]}{"..." if len(text) > 40 else ""}')
        return value

    take(SCHEMA, lambda text: text if text == SCHEMA_VERSION else None)
    return StashLabels(
        is_stash=META in found, own=SCHEMA in found,
        profiles=() if found.get(PROFILES) == '' else take(PROFILES, _profiles),
        build_type='' if found.get(TYPE) == '' else take(TYPE, _word),
        package_manager=take(PACKAGE_MANAGER, _word),
        root_mode=take(ROOT_MODE, _mode), root_owner=take(ROOT_OWNER, _owner),
        exact_times=take(MTIME, _exact) or False,
        layer_size=take(LAYER_SIZE, _size), top_layer=take(TOP_LAYER, _digest),
        description_digest=take(DESCRIPTION_DIGEST, str),
        base_name=take(BASE_NAME, str) or '',
        base_digest=take(BASE_DIGEST, _digest),
        title=take(TITLE, str) or '', version=take(VERSION, str) or '',
        author=take(AUTHORS, str) or take(MAINTAINER, str) or '',
        all_xattrs=take(XATTRS, lambda text: text == 'all' or None) or False,
        extras=take(EXTRAS, str), inputs=take(INPUTS, str),
        imported_root=take(IMPORTED_ROOT, _config),
        kiwi_version=take(KIWI_VERSION, _word) or '',
        plugin_version=take(PLUGIN_VERSION, _word) or '',
        wrong=tuple(wrong)
    )


def _word(text: str) -> Optional[str]:
    return text if _WORD.fullmatch(text) else None


def _profiles(text: str) -> Optional[Tuple[str, ...]]:
    """Names of profiles are free in kiwi; an option is none."""
    names = tuple(name for name in text.split(',') if name)
    fits = text.isprintable() and not any(name.startswith('-') for name in names)
    return names if fits else None


def _mode(text: str) -> Optional[int]:
    return int(text, 8) if re.fullmatch('[0-7]{1,4}', text) else None


def _owner(text: str) -> Optional[Tuple[int, int]]:
    # not \d, which takes the digits of every script
    if not re.fullmatch('[0-9]{1,10}:[0-9]{1,10}', text):
        return None
    uid, gid = map(int, text.split(':'))
    return (uid, gid) if max(uid, gid) <= _LAST_ID else None


def _exact(text: str) -> Optional[bool]:
    return {'ns': True, 'rounded': False}.get(text)


def _size(text: str) -> Optional[int]:
    return int(text) if re.fullmatch('[0-9]{1,18}', text) else None


def is_digest(text: str) -> bool:
    """Tell whether a text is a SHA-256 digest as OCI writes it."""
    return bool(SHA256.fullmatch(text))


def _digest(text: str) -> Optional[str]:
    return text if is_digest(text) else None


def _config(text: str) -> Optional[str]:
    try:
        layers = json.loads(text)['rootfs']['diff_ids']
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    fits = isinstance(layers, list) and bool(layers) and all(
        isinstance(layer, str) and SHA256.fullmatch(layer) for layer in layers
    )
    return text if fits and _is_encodable(text) else None


def _is_encodable(text: str) -> bool:
    try:
        text.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError:
        return False
    return True
