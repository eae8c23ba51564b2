# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read: sizes, ages, times and columns; times of strangers."""
from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_time import within

from kiwi_stackbuild_plugin.host.text import (
    age_in_words, age_of, align, human_age, human_size, parse_moment, utc, without_login
)


@pytest.mark.parametrize(('text', 'shown'), [
    ('http://u:p@h/x', 'http://h/x'), ('http://u@h/x', 'http://h/x'),
    ('http://u:p@w@h/x', 'http://h/x'), ('http://u:a/b@h/x', 'http://h/x'),
    ('http://u:1/b/@h/x', 'http://h/x'), ('http://u:/@h', 'http://h'),
    ('at http://u:a/b@h/x: gone, ftp://u:c/d@i', 'at http://h/x: gone, ftp://i'),
    ('http://h/a@b', 'http://h/a@b'), ('http://h:80/x', 'http://h:80/x'),
    ('docker:///u:p@h/x', 'docker:///h/x'), ('////u:p@h', '////h'), ('//a//u:p@h', '//a//h'),
    ('me@h.example said http://h/', 'me@h.example said http://h/'), ('', ''),
])
def test_logins_in_addresses(text: str, shown: str) -> None:
    assert without_login(text) == shown


@given(st.text(alphabet='/:@ab \n', max_size=24))
def test_logins_are_those_of_one_expression(text: str) -> None:
    """The expression takes quadratic time, and is short."""
    assert without_login(text) == re.sub(r'//(?:[^/\s]*:\S*|[^/\s]*)@', '//', text)


@pytest.mark.parametrize('text', ['//a:' * 300000, '//' * 600000, '@' + '//' * 600000 + '@'])
def test_logins_of_a_long_text(text: str) -> None:
    with within(10):
        assert without_login(text).rstrip('@') != ''


@pytest.mark.parametrize(('text', 'told'), [
    ('2026-01-02T03:04:05Z', '2026-01-02T03:04:05Z'),
    ('2026-01-02T03:04:05.123456789+01:30', '2026-01-02T01:34:05Z'),
    ('2026-01-02t03:04:05z', '2026-01-02T03:04:05Z'),
    ('2026-01-02 03:04:05', '2026-01-02T03:04:05Z'),
    ('1066-10-14T09:00:00Z', '1066-10-14T09:00:00Z'),
    ('0001-01-01T00:00:01Z', '0001-01-01T00:00:01Z'),
    ('9999-12-31T23:59:59Z', '9999-12-31T23:59:59Z')
])
def test_times(text: str, told: str) -> None:
    assert utc(text) == told
    assert age_of(text) is not None and human_age(text)


@pytest.mark.parametrize('text', [
    '', '0001-01-01T00:00:00Z', '0001-01-01T00:00:00+01:00', '9999-12-31T23:59:59-01:00',
    '0000-01-01T00:00:00Z', '2026-13-01T00:00:00Z', '2026-02-30T00:00:00Z', '2026-01-01',
    '2026-01-01T00:00:00+99:99:99', '-2026-01-01T00:00:00Z', '12026-01-01T00:00:00Z', 'long ago',
    '٢٠٢٦-01-01T00:00:00Z', '2026-01-01T00:00:00Z\n', '2026-01-01T24:00:00Z', 'x' * 10**6
])
def test_times_that_are_none(text: str) -> None:
    assert parse_moment(text) is None and age_of(text) is None
    assert utc(text) == text
    assert human_age(text) in (text, '-')


def test_moment_that_nobody_has_set() -> None:
    assert human_age('0001-01-01T00:00:00Z') == '-'


@pytest.mark.parametrize('size, told', [
    (0, '0 B'), (999, '999 B'), (1000, '1.0 kB'), (2549, '2.5 kB'),
    (216_000_000, '216 MB'), (2_200_000_000, '2.2 GB'), (5e16, '50000 TB')
])
def test_sizes(size: float, told: str) -> None:
    assert human_size(size) == told


@pytest.mark.parametrize('seconds, told', [
    (90, '1 minute'), (3620, '1 hour'), (3 * 86400 + 5, '3 days'),
    (15 * 86400, '2 weeks'), (401 * 86400, '1 year'), (-50, 'now')
])
def test_ages(seconds: int, told: str) -> None:
    created = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - seconds))
    assert human_age(created) == told


def test_age_of_a_stranger_is_shown_as_it_is() -> None:
    assert human_age('long ago') == 'long ago'


@pytest.mark.parametrize(('text', 'second'), [
    ('2026-01-02T03:04:05.999999999Z', 5), ('2026-01-02T03:04:05.5Z', 5),
    ('2026-01-02T03:34:05+00:30', 5), ('2026-01-01T22:04:06-05:00', 6)
])
def test_moments_are_of_utc_and_whole_seconds(text: str, second: int) -> None:
    assert parse_moment(text) == datetime(2026, 1, 2, 3, 4, second, tzinfo=timezone.utc)


@pytest.mark.parametrize(('seconds', 'told'), [(-3600, 3600), (0, 0), (7200, -7200)])
def test_age_is_since_then(seconds: int, told: int) -> None:
    """Another machine's clock may be ahead: its images come from the future."""
    text = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + seconds))
    found = age_of(text)
    assert found is not None and told - 1 <= found <= told + 60


@pytest.mark.parametrize(('seconds', 'told'), [
    (0, '0s'), (59, '59s'), (60, '1m'), (61, '61s'), (119, '119s'), (120, '2m'), (3600, '1h'),
    (3660, '61m'), (7200, '2h'), (86400, '1d'), (90000, '25h'), (86399, '23h'),
    (604800, '7d'), (2**40, '12725829d')
])
def test_ages_of_options(seconds: int, told: str) -> None:
    """As --max-age takes them: 1d was said, 1d is shown, and no day is made of 25 hours."""
    assert age_in_words(seconds) == told


@pytest.mark.parametrize(('rows', 'lines'), [
    ([], []), ([['a']], ['a']), ([['a', 'b'], ['ccc', 'd']], ['a    b', 'ccc  d']),
    ([['a', ''], ['', 'b']], ['a', '   b']), ([['a\nb', 'c']], ['a b  c']),
    ([['a\x1b', 'b'], ['c', 'd']], ['a\\x1b  b', 'c      d']), ([['\udcff', '.']], ['\\xff  .'])
])
def test_columns(rows: List[List[str]], lines: List[str]) -> None:
    assert align(rows).splitlines() == lines
