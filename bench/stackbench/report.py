# SPDX-License-Identifier: GPL-3.0-or-later
"""The results as Markdown tables."""
from __future__ import annotations

import statistics
from typing import Callable, Dict, List, Optional, Sequence

from stackbench.cases import (
    AGAIN, CHANGED, COPY, COPY_MOUNTED, FIRST, IMPORT, Sample
)
from stackbench.extras import SYNC, SYNCED, UNSYNCED
from stackbench.parties import OURS, PARTIES

Value = Callable[[Sample], Optional[float]]


def tree_table(samples: Sequence[Sample], tree: str) -> List[str]:
    """Times of all parties, with ratios of what ran in the same turn."""
    mine = [sample for sample in samples if sample.tree == tree]
    peers = [
        party for party in PARTIES if party is not OURS
        and any(sample.party == party.key for sample in mine)
    ]
    lines = [
        '| work | ours | '
        + ' | '.join(f'{peer.title} | ratio' for peer in peers)
        + ' | CPU: ours | peer | layer: ours | peer | memory: ours | peer '
        '| temporary disk: ours | peer |'
    ]
    lines.append('|---|' + '---|' * (2 * len(peers) + 9))
    peer_keys = [peer.key for peer in peers[:1]]
    for case in dict.fromkeys(sample.case for sample in mine):
        if case in (COPY, COPY_MOUNTED):
            continue
        cells = [case, _seconds(mine, case, OURS.key)]
        for peer in peers:
            cells += [_seconds(mine, case, peer.key), _ratio(mine, case, peer.key)]
        pair = (OURS.key, *(peer_keys or ['']))
        cells += [_seconds(mine, case, key, _cpu) for key in pair]
        for value in (_layer, _memory, _disk):
            cells += [_bytes(_median(mine, case, key, value)) for key in pair]
        lines.append(f'| {" | ".join(cells)} |')
    return lines + _copies(mine)


def _copies(mine: Sequence[Sample]) -> List[str]:
    lines = []
    for case in (COPY, COPY_MOUNTED):
        copied = _by_turn(mine, case, 'cp')
        ours = _by_turn(mine, IMPORT, OURS.key)
        if copied and ours:
            ratio = statistics.median(copied[turn] / ours[turn] for turn in copied)
            lines.append(
                f'`stackbuild` until kiwi starts, from a cold page cache, against a bare {case}: '
                f'{_seconds(mine, IMPORT, OURS.key)} against '
                f'{_seconds(mine, case, "cp")}, ratio {ratio:.2f}'
            )
    return [line for text in lines for line in ('', text)]


def scale_table(samples: Sequence[Sample]) -> List[str]:
    """Times and memory of ours by number of entries."""
    lines = [
        '| entries | first stash | CPU | memory | again, nothing changed | CPU '
        '| memory | one file changed | CPU | memory | layer |',
        '|---|---|---|---|---|---|---|---|---|---|---|'
    ]
    for tree in dict.fromkeys(sample.tree for sample in samples):
        mine = [sample for sample in samples if sample.tree == tree]
        cells = [tree]
        for case in (FIRST, AGAIN, CHANGED):
            cells += [
                _seconds(mine, case, OURS.key),
                _seconds(mine, case, OURS.key, _cpu),
                _bytes(_median(mine, case, OURS.key, _memory))
            ]
        cells.append(_bytes(_median(mine, CHANGED, OURS.key, _layer)))
        lines.append(f'| {" | ".join(cells)} |')
    return lines


def sync_table(samples: Sequence[Sample]) -> List[str]:
    """What syncing costs: medians, and those of the differences in a turn."""
    lines = [
        '| tree | work | synced | not synced | difference |', '|---|---|---|---|---|'
    ]
    for tree in dict.fromkeys(sample.tree for sample in samples):
        mine = [sample for sample in samples if sample.tree == tree]
        for case in dict.fromkeys(sample.case for sample in mine):
            synced, unsynced = (_by_turn(mine, case, key) for key in (SYNCED, UNSYNCED))
            more = [synced[turn] - unsynced[turn] for turn in synced if turn in unsynced]
            lines.append(
                f'| {tree[len(SYNC):]} | {case} | {_seconds(mine, case, SYNCED)} '
                f'| {_seconds(mine, case, UNSYNCED)} '
                + (f'| {statistics.median(more):+.2f} s |' if more else '| |')
            )
    return lines


def line(sample: Sample) -> str:
    """One measurement, as it comes."""
    layer = '' if sample.layer is None else f', layer {_bytes(sample.layer)}'
    return (
        f'{sample.tree} #{sample.turn} {sample.party:5} {sample.case}: '
        f'{sample.seconds:.2f} s (CPU {sample.cpu:.2f} s), memory {_bytes(sample.memory)}, '
        f'disk {_bytes(sample.disk)}{layer}'
    )


def _layer(sample: Sample) -> Optional[float]:
    return sample.layer


def _cpu(sample: Sample) -> float:
    return sample.cpu


def _memory(sample: Sample) -> float:
    return sample.memory


def _disk(sample: Sample) -> float:
    return sample.disk


def _median(
    samples: Sequence[Sample], case: str, party: str, value: Value
) -> Optional[float]:
    found = [
        number for number in (
            value(sample) for sample in samples
            if sample.case == case and sample.party == party
        ) if number is not None
    ]
    return statistics.median(found) if found else None


def _seconds(
    samples: Sequence[Sample], case: str, party: str,
    value: Value = lambda sample: sample.seconds
) -> str:
    median = _median(samples, case, party, value)
    return '' if median is None else f'{median:.2f} s'


def _by_turn(samples: Sequence[Sample], case: str, party: str) -> Dict[int, float]:
    return {
        sample.turn: sample.seconds for sample in samples
        if sample.case == case and sample.party == party
    }


def _ratio(samples: Sequence[Sample], case: str, peer: str) -> str:
    """Median of the ratios of the turns: both did it one after the other."""
    ours, theirs = (_by_turn(samples, case, key) for key in (OURS.key, peer))
    ratios = [theirs[turn] / ours[turn] for turn in ours if turn in theirs]
    return f'**{statistics.median(ratios):.1f}**' if ratios else ''


def _bytes(number: Optional[float]) -> str:
    if number is None:
        return ''
    for unit, size in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
        if number >= size:
            return f'{number / size:.1f} {unit}'
    return f'{number:.0f} B'
