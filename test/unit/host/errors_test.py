# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of one line, and what is escaped in texts of strangers."""
from __future__ import annotations

import ast
from typing import Any

import pytest
from kiwi.exceptions import KiwiError

from kiwi_stackbuild_plugin.host import errors
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, on_one_line, printable, printable_path
)

CLASSES = [
    value for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, KiwiStackBuildError)
]


@pytest.mark.parametrize('kind', CLASSES)
def test_errors_are_those_of_kiwi(kind: Any) -> None:
    """kiwi prints its own kind of error as a line, any other as a traceback."""
    with pytest.raises(KiwiError) as raised:
        raise kind('what', 'do')
    assert (raised.value.summary, raised.value.hint) == ('what', 'do')
    assert str(raised.value) == 'what\n  hint: do'
    assert kind.__doc__


def test_classes_are_told_apart() -> None:
    """Whoever catches one of them catches no other."""
    assert len(CLASSES) == 13
    for kind in CLASSES:
        assert kind is KiwiStackBuildError or kind.__bases__ == (KiwiStackBuildError,)


def test_error_without_a_hint_says_none() -> None:
    assert str(KiwiStackBuildError('what')) == 'what'
    assert KiwiStackBuildError('what').hint == ''


def test_error_is_one_line() -> None:
    issue = KiwiStackBuildError('a\nERROR: b\x1b', 'c\nd')
    assert str(issue) == 'a\\nERROR: b\\x1b\n  hint: c\\nd'


def test_nothing_that_a_terminal_acts_on_is_printed() -> None:
    assert printable('plain ü') == 'plain ü'
    assert printable('a\x1b[2Jb\udcff\nc\x9b') == 'a\\x1b[2Jb\\xff\nc\\x9b'
    assert printable_path(b'a\nb\xff') == 'a\\nb\\xff'


@pytest.mark.parametrize(('text', 'shown'), [
    ('', ''), ('ü日😀', 'ü日😀'), ('a\tb', r'a\tb'), ('a\rb', r'a\rb'), ('\0', r'\x00'),
    ('\x7f', r'\x7f'), ('\u202e', r'\u202e'), ('\u200b', r'\u200b'), ('\u2028', r'\u2028'),
    ('\ud800', r'\ud800'), ('\udfff', r'\udfff'), ('\udc7f', r'\udc7f'),
    ('\udc80\udcff', r'\x80\xff'), ('\U000e0001', r'\U000e0001'), ('\xa0', r'\xa0')
])
def test_escapes(text: str, shown: str) -> None:
    assert printable(text) == on_one_line(text) == shown
    assert printable(shown) == shown, 'twice is once'
    if '\udc80' not in text:
        assert ast.literal_eval(f"'{shown}'") == text


@pytest.mark.parametrize(('text', 'lines', 'line'), [
    ('a\nb', 'a\nb', r'a\nb'), ('\n', '\n', r'\n'), ('a\r\nb', 'a\\r\nb', r'a\r\nb'),
    ('\n\x1b', '\n\\x1b', r'\n\x1b')
])
def test_line_feeds_stay_where_lines_are_meant(text: str, lines: str, line: str) -> None:
    assert (printable(text), on_one_line(text)) == (lines, line)


@pytest.mark.parametrize('path', [b'a\n\xff', b'\xc3\xbc', b'\xed\xa0\x80', bytes(range(1, 256))])
def test_path_is_one_line(path: bytes) -> None:
    shown = printable_path(path)
    assert shown.isprintable() and shown
    assert shown.count('\\n') == path.count(b'\n')
