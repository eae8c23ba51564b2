# SPDX-License-Identifier: GPL-3.0-or-later
"""The data base of dpkg and what apt keeps beside it, merged by their structure.

Each package has files of its own in info/, which come together by themselves
when trees are stacked. All others hold records of many packages.

Sources: dpkg, deb-control(5), dpkg-divert(1), dpkg-statoverride(1),
doc/triggers.txt; apt, apt_preferences(5) and /var/lib/apt/extended_states.
"""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Callable, Dict, Hashable, Iterator, List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.host.errors import printable
from kiwi_stackbuild_plugin.packages.alternatives import Group, merge_groups
from kiwi_stackbuild_plugin.packages.database import TEXT_LIMIT, Package, read_limited
from kiwi_stackbuild_plugin.packages.merging import Files, Place, merge_records
from kiwi_stackbuild_plugin.tree.layered import TreeFiles

ADMIN = b'var/lib/dpkg/'
_TRIGGERS = ADMIN + b'triggers'
_DIVERSIONS = ADMIN + b'diversions'
ALTERNATIVES = ADMIN + b'alternatives'
_UPDATES = ADMIN + b'updates'
_INFO = ADMIN + b'info/'

#: key of a record to the whole of it
Records = Dict[Hashable, bytes]


@dataclass(frozen=True)
class Form:
    """How the records of a file are read and written."""

    read: Callable[[bytes], Records]
    end: bytes

    def write(self, records: Mapping[Hashable, bytes]) -> bytes:
        """Return the content of a file."""
        return b''.join(record + self.end for record in records.values())


@dataclass(frozen=True)
class Change:
    """The files of a stash, and of what it is a change of (None for a union)."""

    before: Optional[TreeFiles]
    after: TreeFiles


def _stanzas(*fields: bytes) -> Form:
    """Blocks of fields, one of which names the record."""
    patterns = [
        re.compile(rb'^%b:(.*)$' % name, re.IGNORECASE | re.MULTILINE)
        for name in fields
    ]

    def read(data: bytes) -> Records:
        found: Records = {}
        for stanza in re.split(rb'\n(?:[ \t\r]*\n)+', data.strip(b'\n')):
            keys = [pattern.search(stanza) for pattern in patterns]
            if keys[0] is not None:
                found[tuple(key[1].strip() if key else b'' for key in keys)] = stanza
        return found

    return Form(read, b'\n\n')


def _lines(key: Callable[[bytes], Hashable] = lambda line: line) -> Form:
    """One record a line."""
    return Form(
        lambda data: {key(line): line for line in data.split(b'\n') if line.strip()}, b'\n'
    )


def _read_triples(data: bytes) -> Records:
    lines = data.split(b'\n')
    return {
        lines[at]: b'\n'.join(lines[at:at + 3]) for at in range(0, len(lines) - 2, 3)
    }


_FORMS: Dict[bytes, Form] = {
    ADMIN + b'status': _stanzas(b'Package', b'Architecture'),
    ADMIN + b'available': _stanzas(b'Package', b'Architecture'),
    ADMIN + b'arch': _lines(),
    _DIVERSIONS: Form(_read_triples, b'\n'),
    # user, group, mode, path
    ADMIN + b'statoverride': _lines(lambda line: line.split(b' ', 3)[-1]),
    # name of a trigger, the packages that wait
    _TRIGGERS + b'/Unincorp': _lines(lambda line: line.split(b' ', 1)[0]),
    b'var/lib/apt/extended_states': _stanzas(b'Package', b'Architecture'),
    b'var/cache/debconf/config.dat': _stanzas(b'Name'),
    b'var/cache/debconf/passwords.dat': _stanzas(b'Name'),
    b'var/cache/debconf/templates.dat': _stanzas(b'Name')
}
#: triggers/File and a file for each trigger with the packages that want it
_TRIGGER = _lines()


@dataclass(frozen=True)
class Merged:
    """What is to be written: contents by path, groups of alternatives by name."""

    contents: Mapping[bytes, bytes]
    groups: Mapping[bytes, Group]


def merge_dpkg(changes: Sequence[Change]) -> Merged:
    """Merge the files that hold records of many packages.

    :raises OSError: where one cannot be read
    :raises ValueError: where one is not what it should be, with its name
    """
    contents: Dict[bytes, bytes] = {}
    for path, form in _forms(changes):
        records = _merge(changes, path, form)
        if records is not None:
            contents[path] = form.write(records)
    groups: Dict[bytes, Group] = {}
    for name in _names(changes, ALTERNATIVES):
        path = ALTERNATIVES + b'/' + name
        group = merge_groups([
            (_data(change.before, path), _data(change.after, path)) for change in changes
        ], path)
        if group is not None:
            contents[path], groups[name] = group.content(), group
    return Merged(contents, groups)


def _merge(changes: Sequence[Change], path: bytes, form: Form) -> Optional[Records]:
    merged: Optional[Records] = None
    for change in changes:
        theirs = _read(change.after, path, form)
        if theirs is not None:
            merged = theirs if merged is None else merge_records(
                _read(change.before, path, form) or {}, merged, theirs
            )
    return merged


def is_unfinished(tree: TreeFiles) -> bool:
    """Tell whether dpkg was interrupted: its status is not all there is."""
    return any(name.isdigit() for name in tree.names(_UPDATES))


def owned_files(tree: TreeFiles, package: Package, place: Place) -> Files:
    """Return the files of a package, but for those that are diverted.

    :raises ValueError: if its name is none
    """
    if '/' in package.name:
        raise ValueError(f'{printable(package.name)!r}: no name of a package')
    diverted = set((_data(tree, _DIVERSIONS) or b'').split(b'\n'))
    for mark in (f':{package.architecture}', ''):
        listed = _data(tree, _INFO + os.fsencode(f'{package.name}{mark}.list'))
        if listed is not None:
            where = (
                place(path.strip(b'/')) for path in listed.split(b'\n')
                if path not in diverted and path.strip(b'/.')
            )
            return {path: package for path in where if path is not None}
    return {}


def _forms(changes: Sequence[Change]) -> Iterator[Tuple[bytes, Form]]:
    yield from _FORMS.items()
    for name in _names(changes, _TRIGGERS):
        if name not in (b'Lock', b'Unincorp'):
            yield _TRIGGERS + b'/' + name, _TRIGGER


def _names(changes: Sequence[Change], place: bytes) -> List[bytes]:
    return sorted({
        name for change in changes for name in change.after.names(place)
        # left by dpkg and update-alternatives when they were killed
        if not name.endswith((b'.dpkg-tmp', b'.dpkg-new', b'.new'))
    })


def _data(tree: Optional[TreeFiles], path: bytes) -> Optional[bytes]:
    return read_limited(tree, path, TEXT_LIMIT) if tree is not None else None


def _read(tree: Optional[TreeFiles], path: bytes, form: Form) -> Optional[Records]:
    data = _data(tree, path)
    return None if data is None else form.read(data)
