# SPDX-License-Identifier: GPL-3.0-or-later
"""The bar of long work: when it is shown, and what it says."""
from __future__ import annotations

import logging
from typing import List, Tuple

import pytest

from kiwi_stackbuild_plugin.host import progress
from kiwi_stackbuild_plugin.host.progress import ProgressMeter

TITLE = '[ INFO    ]: Reading'


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, 'time', clock)
    return clock


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[int, int, str]]:
    """What kiwi's bar was given."""
    calls: List[Tuple[int, int, str]] = []
    monkeypatch.setattr(
        progress.log, 'progress', lambda *words: calls.append(words), raising=False
    )
    return calls


def work(clock: Clock, meter: ProgressMeter, *steps: Tuple[float, int]) -> None:
    """Say how much is done at moments, in seconds since the beginning."""
    for seconds, done in steps:
        clock.now = 1000.0 + seconds
        meter(done)


def test_short_work_shows_nothing(clock: Clock, shown: List[Tuple[int, int, str]]) -> None:
    meter = ProgressMeter(100, 'Reading')
    work(clock, meter, (0, 1), (0.5, 50), (0.99, 100))
    meter.finish()
    assert shown == []


def test_long_work_is_shown_now_and_then(
    clock: Clock, shown: List[Tuple[int, int, str]]
) -> None:
    """A quarter of a second between two: a layer has ten thousands of files."""
    meter = ProgressMeter(200, 'Reading')
    work(clock, meter, (0.5, 1), (1, 20), (1.1, 30), (1.24, 40), (1.25, 50), (9, 60), (9.2, 199))
    assert shown == [(10, 100, TITLE), (25, 100, TITLE), (30, 100, TITLE)]
    meter.finish()
    assert shown[3:] == [(100, 100, TITLE)]


@pytest.mark.parametrize(('total', 'done', 'percent'), [
    (200, 0, 0), (200, 199, 99), (200, 200, 99), (200, 10**9, 99), (3, 1, 33), (10**18, 10**17, 10)
])
def test_bar_is_whole_only_at_the_end(
    clock: Clock, shown: List[Tuple[int, int, str]], total: int, done: int, percent: int
) -> None:
    """A tree that grows must not end the bar, which kiwi does at 100."""
    meter = ProgressMeter(total, 'Reading')
    work(clock, meter, (2, done))
    assert shown == [(percent, 100, TITLE)]


def test_nothing_to_do_has_no_bar(clock: Clock, shown: List[Tuple[int, int, str]]) -> None:
    meter = ProgressMeter(0, 'Reading')
    work(clock, meter, (5, 0), (6, 7))
    meter.finish()
    assert shown == []


def test_logger_without_a_bar(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who uses us as a library has not set up kiwi's."""
    monkeypatch.setattr(progress, 'log', logging.getLogger('plain'))
    meter = ProgressMeter(10, 'Reading')
    work(clock, meter, (5, 5))
    meter.finish()
    assert caplog.records == []
