# SPDX-License-Identifier: GPL-3.0-or-later
"""Label keys of a stash (OCI image spec, annotations.md, and our own)."""
from __future__ import annotations

from typing import Mapping, Optional

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

SCHEMA_VERSION = '1'


def is_stash(image_labels: Optional[Mapping[str, str]]) -> bool:
    """Tell whether labels are those of a stash of this or an older plugin."""
    return bool(image_labels) and META in (image_labels or {})
