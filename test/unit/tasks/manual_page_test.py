# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual page of a command by man, or its usage text: fake man, kiwi's Help."""
from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest

from kiwi_stackbuild_plugin.tasks import manual_page

Kiwi = Callable[..., int]
USAGE = '\nusage: text \x1b[2J\n\noptions:\n    --a\n\n'
SHOWN = 'usage: text \\x1b[2J\n\noptions:\n    --a\n'


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What man was asked; nothing else is in PATH but the shell."""
    (tmp_path / 'sh').symlink_to('/bin/sh')
    monkeypatch.setenv('PATH', f'{tmp_path}')
    monkeypatch.setenv('MANPATH', '')
    # kiwi's handlers write to stdout as well
    monkeypatch.setattr(logging.getLogger('kiwi'), 'disabled', True)
    return tmp_path / 'log'


def make_man(log: Path, says: str) -> None:
    """Put a man in PATH.

    :param says: what it does for 'man -w'
    """
    tool = log.parent / 'man'
    tool.write_text(
        f'#!/bin/sh\necho "$MANPATH $*" >> {log}\n'
        f'case "$1" in -w) {says};; *) echo "the page";; esac\n'
    )
    tool.chmod(0o755)


def calls(log: Path) -> List[str]:
    return [line.partition(' ')[2] for line in log.read_text().splitlines()]


def test_help_without_man(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    manual_page.show_manual('kiwi::system::stash', '\nusage: text\n')
    assert capsys.readouterr().out == 'usage: text\n'


def test_page_is_shown_by_man(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_man(log, 'echo /usr/share/man/man8/x.8')
    manual_page.show_manual('kiwi::system::stash', USAGE)
    assert calls(log) == ['-w 8 kiwi::system::stash', '8 kiwi::system::stash']
    assert capfd.readouterr().out == 'the page\n'


@pytest.mark.parametrize('says', [
    'echo "No manual entry" >&2; exit 16', 'exit 0', 'echo " "', 'echo /x; exit 1', 'kill -9 $$'
])
def test_usage_is_shown_where_man_has_no_page(
    log: Path, capfd: pytest.CaptureFixture[str], says: str
) -> None:
    """mandoc's man, and the stub in small images, exit with 0 and say nothing."""
    make_man(log, says)
    manual_page.show_manual('kiwi::system::stash', USAGE)
    said = capfd.readouterr()
    assert (said.out, said.err) == (SHOWN, '')
    assert calls(log) == ['-w 8 kiwi::system::stash']


@pytest.mark.parametrize('usage', [None, '', '\n'])
def test_command_without_a_usage_text(
    log: Path, capsys: pytest.CaptureFixture[str], usage: str
) -> None:
    manual_page.show_manual('kiwi::system::stash', usage)
    assert capsys.readouterr().out == '\n'


@pytest.mark.parametrize('own', [None, '', '/my/man', '/a:/b'])
def test_pages_of_a_virtual_environment_are_found(
    log: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    """An end with a colon: man adds the places it knows itself."""
    if own is None:
        monkeypatch.delenv('MANPATH')
    else:
        monkeypatch.setenv('MANPATH', own)
    monkeypatch.setattr(sys, 'prefix', '/venv')
    make_man(log, 'exit 1')
    manual_page.show_manual('x', USAGE)
    assert log.read_text() == f'/venv/share/man:{own or ""} -w 8 x\n'
    assert os.environ['MANPATH'] == f'/venv/share/man:{own or ""}'


@pytest.mark.parametrize('command', ['stash', 'stackbuild', 'stash_list'])
def test_help_is_the_usage_text_without_a_page(
    kiwi_ng: Kiwi, requests: List[Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv('MANPATH', str(tmp_path))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert kiwi_ng('system', command, 'help') == 0
    assert capsys.readouterr().out.startswith(f'usage: kiwi-ng system {command} ')
    assert requests == []


@pytest.mark.parametrize('command', ['stash', 'stackbuild', 'stash_list'])
def test_help_is_the_page_where_installed(
    kiwi_ng: Kiwi, requests: List[Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    tool = tmp_path / 'man'
    tool.write_text('#!/bin/sh\necho "man $*"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    assert kiwi_ng('system', command, 'help') == 0
    assert capfd.readouterr().out == f'man 8 kiwi::system::{command}\n'
    assert requests == []
