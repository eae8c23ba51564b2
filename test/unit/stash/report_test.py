# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user reads: the summary of a dry run."""
from __future__ import annotations

import os
from pathlib import Path
from typing import List

from kiwi_stackbuild_plugin.stash.report import describe_delta
from kiwi_stackbuild_plugin.tree.delta import ADDED, CHANGED, Change
from kiwi_stackbuild_plugin.tree.entry import Entry, Status


def files(folder: Path, count: int) -> List[Change]:
    """Changes of files 0, 1, 2 ... of as many bytes, each in its directory."""
    changes = []
    for number in range(count):
        path = folder / f'usr/lib{number:02}/deep/file'
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(number))
        changes.append(Change(
            ADDED if number % 2 else CHANGED,
            Entry(
                os.fsencode(path.relative_to(folder)), Status.of(os.lstat(path))
            )
        ))
    return changes


def test_dry_run_sums_up_the_ten_largest(tmp_path: Path) -> None:
    told = describe_delta(
        'small:latest', None, [b'usr/lib12/gone'], files(tmp_path, 13)
    ).splitlines()
    blank = told.index('')
    assert len(told[:blank]) == 15, 'a line for each path'
    summary = told[blank + 1:]
    end = summary.index('')
    assert [line.split()[-1] for line in summary[1:end - 1]] == [
        f'usr/lib{number:02}' for number in range(12, 2, -1)
    ]
    assert summary[1].split() == ['0', '1', '1', '12', 'B', 'usr/lib12']
    assert summary[end - 1] == 'and 3 more directories'
    largest = summary[end + 2:-2]
    assert [line.split()[-1] for line in largest] == [
        f'usr/lib{number:02}/deep/file' for number in range(12, 2, -1)
    ]
    assert told[-1] == '6 added, 7 changed, 1 removed, 78 B of content'


def test_dry_run_of_nothing(tmp_path: Path) -> None:
    assert describe_delta('small:latest', None, [], []).splitlines() == [
        'small:latest: the whole tree, nothing is stored',
        '0 added, 0 changed, 0 removed, 0 B of content'
    ]


def test_dry_run_shows_no_terminal_escapes(tmp_path: Path) -> None:
    told = describe_delta('small:latest', None, [b'a\x1b[2J/b'], [])
    assert '\x1b' not in told
