# SPDX-License-Identifier: GPL-3.0-or-later
"""The help of the three commands: the page where there is one, else the usage text."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest

from kiwi_stackbuild_plugin.tasks import manual_page

Kiwi = Callable[..., int]


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


def test_help_without_man(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    manual_page.show_manual('kiwi::system::stash', '\nusage: text\n')
    assert capsys.readouterr().out == 'usage: text\n'
