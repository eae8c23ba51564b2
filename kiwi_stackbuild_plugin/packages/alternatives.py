# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of alternatives, merged by the structure of their files. Pure.

Source: dpkg, update-alternatives(1), "TERMINOLOGY", and its alternative_save():
the status and the link; name and link of each slave; an empty line; then path,
priority and the files of the slaves of each choice.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.packages.merging import merge_records

#: where the links of all groups lead first
DIRECTORY = b'etc/alternatives'
_AUTO = b'auto'


@dataclass(frozen=True)
class Choice:
    """One of a group; files are those of its slaves, by their names."""

    priority: int
    files: Tuple[Tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Group:
    """What programs share a name; slaves: link by name, choices by path."""

    status: bytes
    link: bytes
    slaves: Mapping[bytes, bytes]
    choices: Mapping[bytes, Choice]

    def content(self) -> bytes:
        """Return its file, as update-alternatives writes it."""
        lines = [self.status, self.link]
        for name, link in sorted(self.slaves.items()):
            lines += [name, link]
        lines.append(b'')
        for path, choice in sorted(self.choices.items()):
            files = dict(choice.files)
            lines += [path, b'%d' % choice.priority]
            lines += [files.get(name, b'') for name in sorted(self.slaves)]
        return b'\n'.join([*lines, b'', b''])

    def links(self, name: bytes) -> Dict[bytes, Tuple[bytes, bytes]]:
        """Return the link in DIRECTORY and what it leads to, by the link of its user.

        Of a group in the mode auto, for the choice of the highest priority;
        what the choice has no file for leads nowhere (b'').
        """
        if self.status != _AUTO or not self.choices:
            return {}
        path, best = max(
            sorted(self.choices.items()), key=lambda choice: choice[1].priority
        )
        files = dict(best.files)
        return {
            self.link: (DIRECTORY + b'/' + name, path),
            **{
                link: (DIRECTORY + b'/' + slave, files.get(slave, b''))
                for slave, link in self.slaves.items()
            }
        }


def read_group(data: bytes) -> Group:
    """Read the file of a group.

    :raises ValueError: if it is none
    """
    lines = data.split(b'\n')
    if lines[-1:] != [b''] or len(lines) < 4:
        raise ValueError('cut off')
    end = lines.index(b'', 2)
    pairs = lines[2:end]
    slaves = dict(zip(pairs[::2], pairs[1::2]))
    names = pairs[::2]
    if len(pairs) % 2 or len(slaves) != len(names) or any(
        not name or b'/' in name for name in names
    ) or not all(link.startswith(b'/') for link in [lines[1], *slaves.values()]):
        raise ValueError('no links of a group')
    choices: Dict[bytes, Choice] = {}
    at = end + 1
    while at < len(lines) and lines[at]:
        rest = lines[at + 1:at + 2 + len(names)]
        if len(rest) <= len(names) or not lines[at].startswith(b'/'):
            raise ValueError('cut off')
        files = tuple((name, file) for name, file in zip(names, rest[1:]) if file)
        choices[lines[at]] = Choice(int(rest[0]), files)
        at += 2 + len(names)
    return Group(lines[0], lines[1], slaves, choices)


def merge_groups(
    changes: Sequence[Tuple[Optional[bytes], Optional[bytes]]], path: bytes
) -> Optional[Group]:
    """Merge the file of a group of several trees.

    :param changes: content in what each is a change of, and in itself
    :returns: None where nothing is left of it
    :raises ValueError: naming the file, if one is none
    """
    merged: Optional[Group] = None
    try:
        for before, after in changes:
            theirs = read_group(after) if after else None
            old = read_group(before) if before else None
            merged = _merge(old, merged, theirs)
    except ValueError as issue:
        raise ValueError(f'{printable_path(path)}: {issue}') from issue
    return merged if merged and merged.choices else None


def _merge(
    before: Optional[Group], ours: Optional[Group], theirs: Optional[Group]
) -> Optional[Group]:
    first = ours or theirs
    if first is None:
        return None
    sides: List[Group] = [
        group or Group(first.status, first.link, {}, {}) for group in (before, ours, theirs)
    ]
    words = merge_records(*(
        {'status': group.status, 'link': group.link} for group in sides
    ))
    return Group(
        words['status'], words['link'], merge_records(*(group.slaves for group in sides)),
        merge_records(*(group.choices for group in sides))
    )
