# SPDX-License-Identifier: GPL-3.0-or-later
"""The door for all text: what passes it is escaped, whoever logs."""
from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from typing import Any, Callable, Tuple

import pytest

from kiwi_stackbuild_plugin.host import terminal
from kiwi_stackbuild_plugin.host.terminal import guarded_log
from kiwi_stackbuild_plugin.stash.source import report_findings
from kiwi_stackbuild_plugin.tree import opening

log = logging.getLogger('kiwi')


def test_value_in_a_line_of_ours_stays_on_it(caplog: pytest.LogCaptureFixture) -> None:
    """A name with a line feed must not make up a line of its own."""
    with caplog.at_level(logging.WARNING, 'kiwi'), guarded_log():
        report_findings([(b'a\nERROR: b', 'c\nERROR: d')], False)
        logging.getLogger('kiwi').warning('%s', 'kiwi has\nlines of its own')
    assert [record.getMessage() for record in caplog.records] == [
        r'left out: a\nERROR: b: c\nERROR: d', 'kiwi has\nlines of its own'
    ]


@pytest.mark.parametrize(('words', 'shown'), [
    (('plain ü',), 'plain ü'), (('a\x1b[2J',), r'a\x1b[2J'), (('100%',), '100%'),
    (('%s: %s', 'a', b'\x1b'), r"a: b'\x1b'"), (('%d of %s', 5, 'a\x07'), r'5 of a\x07'),
    (('%(a)s', {'a': 'b\x9b'}), r'b\x9b'), ((ValueError('a\x1b'),), r'a\x1b'),
    (('%s', ['a\x1b']), r"['a\x1b']"), (('%s', 'a\tb'), r'a\tb'), (('%s', '%s'), '%s'),
])
def test_records_are_escaped(
    caplog: pytest.LogCaptureFixture, words: Tuple[Any, ...], shown: str
) -> None:
    with caplog.at_level(logging.INFO, 'kiwi'), guarded_log():
        log.info(*words)
    record, = caplog.records
    assert record.getMessage() == shown, 'also if it is formatted once more'
    assert record.args == ()


@pytest.mark.parametrize(('path', 'message', 'args', 'shown'), [
    (opening.__file__, '%s', ('a\nb',), r'a\nb'),
    (opening.__file__, 'a\n%s', ('b\nc',), 'a\nb\\nc'), (opening.__file__, '%d', (5,), '5'),
    ('/kiwi/x.py', '%s', ('a\nb',), 'a\nb'),
    # not below ours: a plugin whose name only begins so
    (opening.__file__.replace('_plugin/', '_plugin_other/'), '%s', ('a\nb',), 'a\nb'),
])
def test_only_values_in_lines_of_ours_are_flat(
    caplog: pytest.LogCaptureFixture, path: str, message: str, args: Tuple[Any, ...],
    shown: str
) -> None:
    with guarded_log():
        log.handle(logging.LogRecord('kiwi', logging.ERROR, path, 1, message, args, None))
    assert [record.getMessage() for record in caplog.records] == [shown]


def test_block_leaves_the_log_as_it_was() -> None:
    before = list(log.filters)
    with guarded_log():
        assert len(log.filters) == len(before) + 1
        with guarded_log():
            assert len(log.filters) == len(before) + 1
        assert len(log.filters) == len(before) + 1, 'the inner one does not end the outer'
    with pytest.raises(ZeroDivisionError), guarded_log():
        raise ZeroDivisionError
    assert log.filters == before


def test_guard_of_a_command_outlives_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, 'filters', [])
    terminal.guard_terminal()
    terminal.guard_terminal()
    kept = list(log.filters)
    with guarded_log():
        pass
    assert log.filters == kept and len(kept) == 1


@pytest.mark.parametrize('make', [io.StringIO, lambda: None])
def test_other_kinds_of_stdout(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]
) -> None:
    """A library user may have put anything there, or closed it."""
    monkeypatch.setattr(log, 'filters', [])
    monkeypatch.setattr(sys, 'stdout', make())
    terminal.guard_terminal()
    assert len(log.filters) == 1


@pytest.mark.parametrize(('codec', 'shown'), [
    ('ascii', b'\\xe4\\u20ac\\udcff\n'), ('iso-8859-1', b'\xe4\\u20ac\\udcff\n'),
    ('utf-8', 'ä€'.encode() + b'\\udcff\n'),
])
def test_what_stdout_has_no_code_for(codec: str, shown: bytes) -> None:
    program = (
        'from kiwi_stackbuild_plugin.host.terminal import guard_terminal\n'
        'guard_terminal()\nprint("\\xe4\\u20ac\\udcff")\n'
    )
    told = subprocess.run(
        [sys.executable, '-c', program], check=True, stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONIOENCODING': codec}
    )
    assert told.stdout == shown
