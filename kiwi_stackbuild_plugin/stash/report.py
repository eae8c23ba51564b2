# SPDX-License-Identifier: GPL-3.0-or-later
"""Wording of what a user reads: sizes, summary lines, the list of a dry run."""
from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Sequence

from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.host.text import human_size
from kiwi_stackbuild_plugin.layer.blob import Layer
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.tree.delta import ADDED, CHANGED, PARENT, Change

#: directories and files in the summary of a dry run
_SHOWN = 10


def stash_summary(
    name: str, image_id: str, layer: Optional[Layer], base: Optional[Base],
    seconds: float
) -> str:
    """Return the one line that says what was stored."""
    origin = f'base {base.info.display_name}' if base else 'no base'
    if layer is None:
        return (
            f'{name} is {image_id[:12]}: nothing changed, no new layer, '
            f'{origin}, {seconds:.1f} s'
        )
    return (
        f'{name} is {image_id[:12]}: layer {human_size(layer.size)}, '
        f'{layer.added} added, {layer.changed} changed, {layer.removed} removed, '
        f'{origin}, {seconds:.1f} s'
    )


def times_summary(count: int) -> str:
    """Return the line that says what --ignore-times did."""
    return (
        f'{count} entries differ from the base by their time alone: the image has '
        'the times of the base for them'
    )


def describe_delta(
    name: str, base: Optional[Base], removed: Sequence[bytes],
    changes: Sequence[Change], packages: Sequence[str] = (), kept_times: int = 0
) -> str:
    """Return what a stash would store.

    A line for each path (A, C or D, bytes, path), the ten directories and the
    ten files that take most, and one line with the sums.

    :param packages: lines that tell of packages
    :param kept_times: entries that keep the base's time
    """
    origin = f'a change of {base.info.display_name}' if base else 'the whole tree'
    lines = [f'{name}: {origin}, nothing is stored', *packages]
    lines += [f'D {"-":>12} {printable_path(path)}' for path in removed]
    lines += [
        f'{change.kind} {_content_size(change):>12} {printable_path(change.entry.path)}'
        for change in changes if change.kind != PARENT
    ]
    lines += describe_sizes(removed, changes)
    return '\n'.join(lines + ([times_summary(kept_times)] if kept_times else []))


def describe_sizes(
    removed: Sequence[bytes], changes: Sequence[Change]
) -> List[str]:
    """Return the directories and files that take most, and a line with the sums."""
    lines = _largest_directories(removed, changes) + _largest_files(changes)
    counts = [
        sum(1 for change in changes if change.kind == kind)
        for kind in (ADDED, CHANGED)
    ]
    lines.append(
        f'{counts[0]} added, {counts[1]} changed, {len(removed)} removed, '
        f'{human_size(sum(map(_content_size, changes)))} of content'
    )
    return lines


def files_document(
    removed: Sequence[bytes], changes: Sequence[Change]
) -> Dict[str, Any]:
    """Return numbers, bytes of content and the largest files, for JSON."""
    return {
        'added': sum(1 for change in changes if change.kind == ADDED),
        'changed': sum(1 for change in changes if change.kind == CHANGED),
        'removed': len(removed), 'bytes': sum(map(_content_size, changes)),
        'largest': [
            {'path': os.fsdecode(change.entry.path), 'size': _content_size(change)}
            for change in _by_size(changes)[:_SHOWN]
        ]
    }


def _largest_directories(
    removed: Sequence[bytes], changes: Sequence[Change]
) -> List[str]:
    """Sum up below directories of two levels, as in usr/lib."""
    groups: Dict[bytes, List[int]] = {}
    for path, column, size in [
        *((path, 2, 0) for path in removed),
        *((change.entry.path, int(change.kind == CHANGED), _content_size(change))
          for change in changes if change.kind != PARENT)
    ]:
        directory = b'/'.join(path.split(b'/')[:-1][:2]) or b'/'
        sums = groups.setdefault(directory, [0, 0, 0, 0])
        sums[column] += 1
        sums[3] += size
    ranked = sorted(
        groups.items(), key=lambda group: (-group[1][3], -sum(group[1][:3]), group[0])
    )
    if not ranked:
        return []
    shown = [
        f'{sums[0]:>7}  {sums[1]:>7}  {sums[2]:>7}  {human_size(sums[3]):>8}  '
        f'{printable_path(directory)}' for directory, sums in ranked[:_SHOWN]
    ]
    if len(ranked) > _SHOWN:
        shown.append(f'and {len(ranked) - _SHOWN} more directories')
    return ['', '  ADDED  CHANGED  REMOVED      SIZE  DIRECTORY', *shown, '']


def _largest_files(changes: Sequence[Change]) -> List[str]:
    """Name the files with the most content, the largest first."""
    shown = [
        f'{human_size(_content_size(change)):>34}  {printable_path(change.entry.path)}'
        for change in _by_size(changes)[:_SHOWN]
    ]
    return [f'{"SIZE":>34}  LARGEST FILES', *shown, ''] if shown else []


def _by_size(changes: Sequence[Change]) -> List[Change]:
    return sorted(
        (change for change in changes if _content_size(change)),
        key=lambda change: (-_content_size(change), change.entry.path)
    )


def _content_size(change: Change) -> int:
    carries = change.entry.is_file and not change.link
    return change.entry.stat.st_size if carries else 0
