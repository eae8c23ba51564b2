# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages as man shows them, and what reads them."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

SOURCE = Path(__file__).resolve().parents[2] / 'doc/source'
sys.path.insert(0, str(SOURCE))

# not in every environment of the matrix
pytest.importorskip('docutils')

import manual_pages
from usage_text import read_usage

COMMANDS = sorted(manual_pages.COMMANDS)


@pytest.fixture(scope='module')
def pages(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    """Write the pages where man looks, return them by command."""
    folder = tmp_path_factory.mktemp('share') / 'man/man8'
    written = manual_pages.write_pages(str(folder))
    return dict(zip(manual_pages.COMMANDS, map(Path, written)))


def shown(page: Path) -> str:
    """The text that a user of man gets, without its line breaks."""
    told = subprocess.run(
        ['man', '--warnings', '-E', 'UTF-8', '-l', str(page)], check=True,
        env={'PATH': '/usr/bin:/bin', 'MANWIDTH': '100', 'LC_ALL': 'C.UTF-8'},
        stdin=subprocess.DEVNULL, capture_output=True
    )
    assert told.stderr == b''
    return ' '.join(re.sub(r'.\x08', '', told.stdout.decode()).split())


@pytest.mark.parametrize('command', COMMANDS)
def test_page_says_what_the_usage_text_says(
    pages: Dict[str, Path], command: str
) -> None:
    text = shown(pages[command])
    assert f'kiwi::system::{command} - {manual_pages.COMMANDS[command]}' in text
    for section in ('SYNOPSIS', 'DESCRIPTION', 'OPTIONS', 'EXIT STATUS'):
        assert section in text
    usage = read_usage(f'system_{command}')
    for option in re.findall(r'^ {4}(\S+)', usage['options'], re.MULTILINE):
        assert option in text


@pytest.mark.parametrize('command', COMMANDS)
def test_man_finds_the_page_by_the_name_kiwi_asks_for(
    pages: Dict[str, Path], command: str
) -> None:
    told = subprocess.run(
        ['man', '-w', '8', f'kiwi::system::{command}'], check=True,
        env={'PATH': '/usr/bin:/bin', 'MANPATH': str(pages[command].parents[1])},
        capture_output=True
    )
    assert told.stdout.decode().strip() == str(pages[command])


def test_reference_names_each_label() -> None:
    from kiwi_stackbuild_plugin.image import labels
    text = (SOURCE / 'files.rst').read_text()
    keys = {
        value for name, value in vars(labels).items()
        if name.isupper() and isinstance(value, str) and '.' in value
        and not value.endswith('.')
    }
    missing = {
        key for key in keys
        if f'``{key}``' not in text and f'.{key.rpartition(".image.")[2]}``' not in text
        and f'``{key.rpartition(".stash.")[2]}``' not in text
    }
    assert len(keys) > 15
    assert not missing


def test_reference_names_each_variable() -> None:
    text = (SOURCE / 'files.rst').read_text()
    product = (SOURCE.parents[1] / 'kiwi_stackbuild_plugin').glob('**/*.py')
    names = {
        name for path in product
        for name in re.findall(r"environ\.get\(\s*'([A-Z_]+)'", path.read_text())
    } - {'MANPATH'}
    assert 'SOURCE_DATE_EPOCH' in names
    assert {name for name in names if name not in text} == set()


def test_pages_of_two_builds_are_the_same(
    pages: Dict[str, Path], tmp_path: Path
) -> None:
    again = manual_pages.write_pages(str(tmp_path))
    assert [Path(path).read_bytes() for path in again] == [
        page.read_bytes() for page in pages.values()
    ]
