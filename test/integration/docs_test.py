# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command in the documentation is run from the documentation's text.

Each page has a directory with a small root tree "root", a storage of its own,
and the repository as "kiwi_stackbuild_plugin", as a reader has it.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / 'test'), str(REPOSITORY / 'demo')]

from builtin_root import make_root
from documents import CONSOLE_TAGS, Block, page_script, pages, read_blocks
from runtime_config import write_fast_config
from storages import KIWI, Storage

CONSOLES = [
    block for page in pages() for block in read_blocks(page)
    if block.language == 'console'
]
RUNNABLE = [
    page for page in pages() if any(block.tag == 'run' for block in read_blocks(page))
]


def block_id(block: Block) -> str:
    return f'{block.page.name}-{block.line}'


@pytest.mark.parametrize('block', CONSOLES, ids=block_id)
def test_block_says_whether_it_is_run(block: Block) -> None:
    assert block.tag in CONSOLE_TAGS
    assert block.commands(), 'a command begins with "# " or "$ "'


@pytest.mark.parametrize('page', RUNNABLE, ids=lambda page: page.stem)
def test_commands_of_the_page_work(
    storage: Storage, tmp_path: Path, page: Path
) -> None:
    work = tmp_path / 'work'
    work.mkdir()
    make_root(str(work / 'root'))
    (work / 'kiwi_stackbuild_plugin').symlink_to(REPOSITORY)
    done = subprocess.run(
        ['bash'], cwd=work, env=reader_environment(tmp_path, storage), text=True,
        input=page_script(page, ('run',)), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout


def reader_environment(tmp_path: Path, storage: Storage) -> Dict[str, str]:
    """Have kiwi-ng in PATH, fast and with its temporary files where we look."""
    tools = tmp_path / 'bin'
    tools.mkdir()
    front = tools / 'kiwi-ng'
    config = write_fast_config(tmp_path / 'kiwi.yml')
    front.write_text(
        '#!/bin/sh\n'
        f'exec {KIWI} --temp-dir={storage.temp_dir} '
        f'--config={config} "$@"\n'
    )
    front.chmod(0o755)
    home = tmp_path / 'home'
    home.mkdir()
    return {
        **os.environ, **storage.environment, 'HOME': str(home),
        'PATH': f'{tools}:{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'MANPAGER': 'cat', 'LC_ALL': 'C.UTF-8'
    }
