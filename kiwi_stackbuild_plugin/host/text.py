# SPDX-License-Identifier: GPL-3.0-or-later
"""Words and columns for people: sizes, ages, times, tables; and what an ID looks like."""
from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Optional, Sequence

from kiwi_stackbuild_plugin.host.errors import printable

#: the ID of an image or a layer in podman's storage, and a digest
FULL_ID = re.compile('[0-9a-f]{64}')
SHA256 = re.compile('sha256:[0-9a-f]{64}')
#: RFC 3339, and what lacks the zone, which is UTC then
_MOMENT = re.compile(
    r'([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?'
    r'(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))?'
)
#: what Go says of a moment that nobody has set
_GO_ZERO = datetime(1, 1, 1, tzinfo=timezone.utc)
_AGES = (
    ('year', 365 * 86400), ('month', 30 * 86400), ('week', 7 * 86400),
    ('day', 86400), ('hour', 3600), ('minute', 60), ('second', 1)
)
#: how Go writes a moment that nobody has set
_NEVER = '0001-01-01T00:00:00'
_UNITS = ('B', 'kB', 'MB', 'GB', 'TB')


def without_login(text: str) -> str:
    """Leave out the logins of addresses, also one with a slash in its password.

    Each character is looked at a few times, whatever a stranger wrote.
    """
    return re.sub(r'\S+', lambda word: _plain_word(word[0]), text)


def _plain_word(word: str) -> str:
    last = word.rfind('@')
    kept, done, at = [], 0, word.find('//')
    while 0 <= at < last:
        begin = end = at + 2
        slash = word.find('/', begin)
        host = word[begin:] if slash < 0 else word[begin:slash]
        # behind a colon is a password, which may have slashes, and more than one @
        end = last + 1 if ':' in host else begin + host.rfind('@') + 1
        if end > begin:
            kept.append(word[done:begin])
            done = end
        at = word.find('//', end if end > begin else at + 1)
    return ''.join([*kept, word[done:]])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of equal width; control characters are escaped."""
    shown = [[printable(cell).replace('\n', ' ') for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in shown
    )


def parse_moment(text: str) -> Optional[datetime]:
    """Read a time of podman or of a stranger (RFC 3339), in seconds of UTC.

    :returns: None for what is no time, is beyond the years 1 to 9999, or is
        Go's zero time
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(f'{found[1]} {found[2]}+00:00')
        offset = timedelta(hours=int(found[4] or 0), minutes=int(found[5] or 0))
        moment += offset if found[3] == '-' else -offset
    except (ValueError, OverflowError):
        return None
    return None if moment == _GO_ZERO else moment


def age_of(text: str) -> Optional[int]:
    """Return the seconds since a time (RFC 3339), None where it is none."""
    moment = parse_moment(text)
    if moment is None:
        return None
    return int((datetime.now(timezone.utc) - moment).total_seconds())


def utc(text: str) -> str:
    """Return a time, which has fractions and a zone, in seconds of UTC.

    What is no time is returned as it is.
    """
    moment = parse_moment(text)
    return text if moment is None \
        else moment.replace(tzinfo=None).isoformat(timespec='seconds') + 'Z'


def age_in_words(seconds: int) -> str:
    for letter, length in (('d', 86400), ('h', 3600), ('m', 60)):
        if seconds >= 2 * length or (seconds >= length and seconds % length == 0):
            return f'{seconds // length}{letter}'
    return f'{seconds}s'


def human_size(size: float) -> str:
    """Return bytes as people read them: '2.5 kB', '216 MB' (powers of 1000)."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f'{size:.0f} {unit}' if unit == 'B' or size >= 100 else f'{size:.1f} {unit}'


def human_age(created: str) -> str:
    """Return how long ago a time (RFC 3339 UTC) was: '3 days'."""
    seconds = age_of(created)
    if seconds is None:
        return '-' if created.startswith(_NEVER) else created
    for name, length in _AGES:
        if seconds >= length:
            count = seconds // length
            return f'{count} {name}{"s" if count > 1 else ""}'
    return 'now'
