# SPDX-License-Identifier: GPL-3.0-or-later
"""Package URLs: one name for a package that all tools understand.

Source: package-url/purl-spec, PURL-SPECIFICATION.rst and PURL-TYPES.rst.
"""
from __future__ import annotations

import re
from typing import NamedTuple, Tuple
from urllib.parse import quote

from kiwi_stackbuild_plugin.packages.database import Package, read_limited
from kiwi_stackbuild_plugin.tree.layered import LayeredTree

#: by format: purl's name of it, and the namespace where the tree does not tell
_TYPES = {
    'deb': ('deb', 'debian'), 'rpm': ('rpm', ''), 'apk': ('apk', 'alpine'),
    'pacman': ('alpm', 'arch')
}
#: what vendors call themselves there, where that is not ID of os-release
_NAMESPACES = (('opensuse', 'opensuse'), ('sle', 'suse'), ('rhel', 'redhat'))
_OS_RELEASE = (b'usr/lib/os-release', b'etc/os-release')
_LIMIT = 1 << 16
#: os-release(5)
_FIELD = re.compile(r'^(ID|VERSION_ID)=["\']?([a-z0-9._-]{1,64})["\']?[ \t]*$', re.MULTILINE)


class Distribution(NamedTuple):
    """ID and VERSION_ID of os-release, empty where not known."""

    name: str = ''
    version: str = ''


def read_distribution(tree: LayeredTree) -> Distribution:
    """Return what a tree calls itself."""
    for path in _OS_RELEASE:
        try:
            data = read_limited(tree, path, _LIMIT)
        except OSError:
            continue
        if data is not None:
            found = dict(_FIELD.findall(data.decode('utf-8', 'replace')))
            return Distribution(found.get('ID', ''), found.get('VERSION_ID', ''))
    return Distribution()


def package_url(one: Package, distribution: Distribution) -> str:
    """Return the package URL of an installed package."""
    kind, namespace = _TYPES[one.format]
    if distribution.name:
        namespace = next((
            name for prefix, name in _NAMESPACES if distribution.name.startswith(prefix)
        ), distribution.name)
    name = one.name if one.format == 'rpm' else one.name.lower()
    epoch, version = _split_epoch(one)
    parts = [part for part in (namespace, name) if part]
    qualifiers = {
        'arch': one.architecture, 'epoch': epoch,
        'distro': '-'.join(filter(None, distribution)) if distribution.name else ''
    }
    told = '&'.join(
        f'{key}={_quoted(value)}' for key, value in sorted(qualifiers.items()) if value
    )
    return (
        f'pkg:{kind}/{"/".join(map(_quoted, parts))}'
        f'{version and f"@{_quoted(version)}"}{told and f"?{told}"}'
    )


def _split_epoch(one: Package) -> Tuple[str, str]:
    """Take the epoch off where purl has it apart."""
    if one.format != 'rpm' or ':' not in one.version:
        return '', one.version
    epoch, _, version = one.version.partition(':')
    return epoch, version


def _quoted(text: str) -> str:
    return quote(text, safe=':', errors='replace')
