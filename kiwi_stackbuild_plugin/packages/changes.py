# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between two lists of packages: pure, and the words for it."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Set, Tuple

from kiwi_stackbuild_plugin.packages.database import Package, Packages
from kiwi_stackbuild_plugin.host.text import align

_COLUMNS = ('', 'PACKAGE', 'ARCHITECTURE', 'BEFORE', 'AFTER')
_Key = Tuple[str, str, str]


@dataclass(frozen=True)
class PackageChanges:
    """Packages that came, went, and that are of another version, by name.

    updated has the package before and after; unread says of which formats
    nothing is known, and why.
    """

    added: Tuple[Package, ...] = ()
    removed: Tuple[Package, ...] = ()
    updated: Tuple[Tuple[Package, Package], ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Tell whether all is known, and nothing changed."""
        return not (self.added or self.removed or self.updated or self.unread)


def compare_packages(before: Packages, after: Packages) -> PackageChanges:
    """Return what turns one list into the other.

    A package is its format, name and architecture. Where several versions of
    one are installed (kernels), one that came is added, not an update.
    """
    unread = {**before.unread, **after.unread}
    old, new = _grouped(before.found, unread), _grouped(after.found, unread)
    added: List[Package] = []
    removed: List[Package] = []
    updated: List[Tuple[Package, Package]] = []
    for key in sorted(old.keys() | new.keys(), key=lambda key: (key[1], key)):
        one, two = old.get(key, set()), new.get(key, set())
        if len(one) == len(two) == 1 and one != two:
            updated.append((one.pop(), two.pop()))
        else:
            added += sorted(two - one)
            removed += sorted(one - two)
    return PackageChanges(tuple(added), tuple(removed), tuple(updated), unread)


def _grouped(
    packages: Iterable[Package], unread: Mapping[str, str]
) -> Dict[_Key, Set[Package]]:
    found: Dict[_Key, Set[Package]] = {}
    for one in packages:
        if one.format not in unread:
            found.setdefault((one.format, one.name, one.architecture), set()).add(one)
    return found


def count_packages(changes: PackageChanges) -> str:
    """Return the numbers in words: '2 added, 1 removed, 3 updated'."""
    return (
        f'{len(changes.added)} added, {len(changes.removed)} removed, '
        f'{len(changes.updated)} updated'
    )


def describe_packages(changes: PackageChanges, most: int = 0) -> List[str]:
    """Return lines for people: a table, and the numbers.

    :param most: rows of the table, 0 for all
    """
    rows: List[Tuple[str, ...]] = [
        *(('+', one.name, one.architecture, '-', one.version) for one in changes.added),
        *(('-', one.name, one.architecture, one.version, '-') for one in changes.removed),
        *(('~', one.name, one.architecture, one.version, two.version)
          for one, two in changes.updated)
    ]
    rows.sort(key=lambda row: row[1])
    shown = rows[:most] if most else rows
    lines = align([_COLUMNS, *shown]).splitlines() if shown else []
    if len(shown) < len(rows):
        lines.append(f'and {len(rows) - len(shown)} more packages')
    lines += [f'the {kind} packages are not known' for kind in sorted(changes.unread)]
    return [*lines, f'packages: {count_packages(changes)}']


def packages_document(changes: PackageChanges) -> Dict[str, Any]:
    """Return the same for JSON."""
    return {
        'added': [_told(one, version=one.version) for one in changes.added],
        'removed': [_told(one, version=one.version) for one in changes.removed],
        'updated': [
            _told(one, **{'from': one.version, 'to': two.version})
            for one, two in changes.updated
        ],
        'unread': dict(changes.unread)
    }


def _told(one: Package, **versions: str) -> Dict[str, str]:
    return {
        'name': one.name, 'architecture': one.architecture, 'format': one.format,
        **versions
    }
