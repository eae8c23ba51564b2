# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays of a target where its source is excluded, as rsync --delete has it.

Source: rsync(1), "--delete": files that are excluded are not deleted either.
"""
from __future__ import annotations

from typing import Iterable, Iterator, List

from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.scan import Exclusion, is_excluded, sort_key


def excluded_part(entries: Iterable[Entry], exclusion: Exclusion) -> Iterator[Entry]:
    """Yield what is excluded of a whole tree, with all below and the way to it.

    :param entries: in order of path
    """
    way: List[Entry] = []
    below = None
    for entry in entries:
        while way and not entry.path.startswith(way[-1].path + b'/'):
            way.pop()
        if below and entry.path.startswith(below):
            yield entry
        elif is_excluded(entry, exclusion):
            yield from way
            way = []
            yield entry
            below = entry.path + b'/'
        elif entry.is_dir:
            way.append(entry)


def overlaid(entries: Iterable[Entry], others: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries of two trees in order; where both have one, the first's.

    What the second has below what is no directory in the first is left out.
    """
    ours, rest = iter(entries), iter(others)
    one, two = next(ours, None), next(rest, None)
    covered = None
    while one is not None or two is not None:
        if two is not None and covered and two.path.startswith(covered):
            two = next(rest, None)
        elif two is None or (one is not None and sort_key(one.path) <= sort_key(two.path)):
            assert one is not None
            if two is not None and one.path == two.path:
                covered = None if one.is_dir else one.path + b'/'
                two = next(rest, None)
            yield one
            one = next(ours, None)
        else:
            yield two
            two = next(rest, None)
