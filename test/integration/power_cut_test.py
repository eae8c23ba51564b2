# SPDX-License-Identifier: GPL-3.0-or-later
"""The power is cut: what was reported is there and whole, the rest is gone or whole."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest
from power import Disk, PowerCuts, cut_exports, cut_imports, cut_stashes

#: moments are seeded; "make soak" takes 500
CUTS = int(os.environ.get('KIWI_STASH_TEST_CUTS', '1'))
#: "make test" has the time for one each
KINDS = ['ext4', 'xfs'] if CUTS > 1 else ['ext4']
SEED = int(os.environ.get('KIWI_STASH_TEST_SEED', '1'))



@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Give a disk of its own."""
    made = Disk(tmp_path / 'power', getattr(request, 'param', 'ext4'))
    yield made
    made.close()


@pytest.mark.parametrize('disk', KINDS, indirect=True)
def test_cut_while_and_after_stashing(disk: Disk) -> None:
    cut_stashes(PowerCuts(disk, SEED), CUTS)


@pytest.mark.parametrize('disk', ['xfs'], indirect=True)
def test_cut_right_behind_a_stash(disk: Disk) -> None:
    assert cut_stashes(PowerCuts(disk, SEED), 1, after=0) == 1


def test_cut_while_and_after_importing(disk: Disk) -> None:
    cut_imports(PowerCuts(disk, SEED + 1), max(CUTS // 4, 1))


@pytest.mark.parametrize('disk', ['xfs'], indirect=True)
def test_cut_while_and_after_exporting(disk: Disk) -> None:
    cut_exports(PowerCuts(disk, SEED + 2), max(CUTS // 4, 1))


@pytest.mark.parametrize('disk', KINDS, indirect=True)
def test_canary_without_the_syncing(disk: Disk) -> None:
    """What these tests find where nothing is synced."""
    cuts = PowerCuts(disk, SEED, unsynced=True)
    with pytest.raises(AssertionError):
        cut_stashes(cuts, 1, after=0)
