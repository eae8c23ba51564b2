# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of several trees in one: who brings what, and what contradicts. Pure."""
from __future__ import annotations

from dataclasses import dataclass
from typing import (
    Callable, Dict, FrozenSet, Hashable, Iterable, Iterator, List, Mapping, Optional,
    Sequence, Set, Tuple, TypeVar
)

from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.packages.database import Package

_Key = TypeVar('_Key', bound=Hashable)
_Value = TypeVar('_Value')
#: format, name, architecture
_Kind = Tuple[str, str, str]
#: architectures of packages for any machine
_ANY = frozenset(('all', 'noarch', 'any'))
#: the files of a package, each with what tells it from another at its path
Files = Mapping[bytes, Hashable]
#: gives the path behind the links of the tree, None for a directory
Place = Callable[[bytes], Optional[bytes]]


@dataclass(frozen=True)
class Brought:
    """The packages of one stash of a stack.

    :param name: of the stash, for messages
    :param before: what it is a change of, empty for a union
    """

    name: str
    before: FrozenSet[Package]
    after: FrozenSet[Package]


@dataclass(frozen=True)
class Together:
    """What several stashes make, by the changes that they bring.

    :param found: packages, each with the number of the stash that it is from
    :param clashes: what contradicts, in lines
    """

    found: Mapping[Package, int]
    clashes: Tuple[str, ...] = ()


def merge_records(
    before: Mapping[_Key, _Value], ours: Mapping[_Key, _Value],
    theirs: Mapping[_Key, _Value]
) -> Dict[_Key, _Value]:
    """Merge three ways: where both sides changed one, theirs is taken.

    What one side removed and the other changed stays. The order is that of
    ours, what is new behind it.
    """
    merged: Dict[_Key, _Value] = {}
    for key, value in ours.items():
        if key in theirs:
            changed = key not in before or theirs[key] != before[key]
            merged[key] = theirs[key] if changed else value
        elif key not in before or value != before[key]:
            merged[key] = value
    merged.update({
        key: value for key, value in theirs.items()
        if key not in ours and (key not in before or value != before[key])
    })
    return merged


def bring_together(stashes: Sequence[Brought]) -> Together:
    """Apply the change of each stash to the packages of those below it."""
    found: Dict[Package, int] = {}
    clashes: List[str] = []
    for number, stash in enumerate(stashes):
        clashes += _half_updated(_kinds(found), stash)
        for package in stash.before - stash.after:
            found.pop(package, None)
        found.update(dict.fromkeys(sorted(stash.after - stash.before), number))
    clashes += [*_formats(stashes), *_versions(found, stashes)]
    return Together(found, tuple(dict.fromkeys(clashes)))


def _half_updated(below: Mapping[_Kind, Set[Package]], stash: Brought) -> Iterator[str]:
    """Name what one stash removes and another updates: half of its files are there."""
    after = _kinds(stash.after)
    for kind, old in sorted(_kinds(stash.before).items()):
        here, there = after.get(kind, set()), below.get(kind, set())
        if here - old and not there:
            yield f'{kind[1]} is updated by {stash.name} and removed by a stash below it'
        if there - old and not here:
            yield f'{kind[1]} is removed by {stash.name} and updated by a stash below it'


def _formats(stashes: Sequence[Brought]) -> Iterator[str]:
    """Name packages of managers that no stash has together."""
    each = [{package.format for package in stash.after} for stash in stashes]
    every: Set[str] = set().union(*each)
    if every in each or len(every) < 2:
        return
    yield 'the packages are of different package managers: ' + ', '.join(
        f'{" and ".join(sorted(formats))} in {stash.name}'
        for formats, stash in zip(each, stashes) if formats
    )


def _versions(found: Mapping[Package, int], stashes: Sequence[Brought]) -> Iterator[str]:
    """Name packages of two versions, unless a stash has several itself (kernels)."""
    several = {
        kind for stash in stashes for kind, versions in _kinds(stash.after).items()
        if len(versions) > 1
    }
    names: Dict[Tuple[str, str], List[Package]] = {}
    for package in sorted(found):
        names.setdefault((package.format, package.name), []).append(package)
    for same in names.values():
        for one, two in zip(same, same[1:]):
            alike = one.architecture == two.architecture
            if (alike and (one.format, one.name, one.architecture) not in several) or (
                not alike and _ANY & {one.architecture, two.architecture}
                and not any({one, two} <= stash.after for stash in stashes)
            ):
                yield f'{one.name} is there in two versions, ' + ' and '.join(
                    f'{each.version} {each.architecture} of {stashes[found[each]].name}'
                    for each in (one, two)
                )


def _kinds(packages: Iterable[Package]) -> Dict[_Kind, Set[Package]]:
    found: Dict[_Kind, Set[Package]] = {}
    for one in packages:
        found.setdefault((one.format, one.name, one.architecture), set()).add(one)
    return found


def file_clashes(
    together: Together, stashes: Sequence[Brought],
    files_of: Callable[[Package, int], Files]
) -> List[str]:
    """Name files of two packages that no stash has both of.

    :param files_of: gives the files of a package of a stash, by its number
    """
    lines: List[str] = []
    owners: Dict[bytes, List[Tuple[Package, Hashable]]] = {}
    for package, number in together.found.items():
        if all(package in stash.after for stash in stashes):
            # together with each other package in the stash of that one
            continue
        for path, what in files_of(package, number).items():
            for other, theirs in owners.setdefault(path, []):
                if theirs != what and other.name != package.name and not any(
                    {package, other} <= stash.after for stash in stashes
                ):
                    lines.append(
                        f'{printable_path(path)} is a file of '
                        f'{other.name} ({stashes[together.found[other]].name}) and of '
                        f'{package.name} ({stashes[number].name})'
                    )
            owners[path].append((package, what))
    return lines
