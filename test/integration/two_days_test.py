# SPDX-License-Identifier: GPL-3.0-or-later
"""Two prepares of one description on two days are the same image; soak runs it.

libfaketime moves the calendar for kiwi and all that it runs, in the root as well: the
library is put there before. Times of files stay the kernel's.
"""
from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Set

import pytest
from kiwi_root import kiwi_environment, stop_agent
from roots import MANAGERS, package_cache, write_description
from storages import KIWI, Storage
from witnesses import stash

#: how many days are between them
DAYS = int(os.environ.get('KIWI_STASH_TEST_DAYS', '0'))
EPOCH = '1700000000'
#: the log that has a date in each line, and what it begins with
LOGS = {'apt': 'var/log/dpkg.log', 'zypper': 'var/log/zypper.log', 'dnf4': 'var/log/dnf.log'}


def library() -> str:
    """Find libfaketime, which must be at the same place in a root."""
    found = glob.glob('/usr/lib/*/faketime/libfaketime.so.1')
    if not found or not shutil.which('faketime'):
        pytest.skip('no faketime')
    return found[0]


#: the calendar alone: no times of files, no timeouts, in two versions of libfaketime
CALENDAR = {
    'NO_FAKE_STAT': '1', 'FAKE_UTIME': '0', 'FAKETIME_DONT_FAKE_MONOTONIC': '1',
    'DONT_FAKE_MONOTONIC': '1'
}


def prepare(manager: str, root: Path, work: Path, days: int) -> None:
    """Prepare a root that many days later."""
    shutil.rmtree(work, ignore_errors=True)
    (work / 'gnupg').mkdir(mode=0o700, parents=True)
    (work / 'temp').mkdir()
    write_description(manager, work / 'description', name='day')
    there = root / library()[1:]
    there.parent.mkdir(parents=True)
    shutil.copy2(library(), there)
    try:
        # that program holds what all libraries share till the end
        subprocess.run([
            'faketime', '-f', f'+{days}d', KIWI, f'--temp-dir={work}/temp', package_cache(),
            'system', 'prepare', f'--description={work}/description',
            f'--root={root}', '--allow-existing-root'
        ], env={
            **kiwi_environment(str(work)), 'SOURCE_DATE_EPOCH': EPOCH, **CALENDAR
        }, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    finally:
        stop_agent(f'{work}/gnupg')


def dates(log: Path) -> Set[str]:
    return set(re.findall(r'^\d{4}-\d\d-\d\d', log.read_text(errors='replace'), re.MULTILINE))


@pytest.mark.skipif(not DAYS, reason='KIWI_STASH_TEST_DAYS: soak sets it')
@pytest.mark.parametrize('manager', MANAGERS)
def test_two_days_one_image(storage: Storage, tmp_path: Path, manager: str) -> None:
    ids, seen = [], []
    for days in (0, DAYS):
        root = tmp_path / f'root{days}'
        prepare(manager, root, tmp_path / 'work', days)
        seen.append(dates(root / LOGS[manager]))
        stash(
            storage, root, '--no-base', '--clamp-mtime', '--reproducible',
            env={'SOURCE_DATE_EPOCH': EPOCH}
        )
        ids.append(storage.stash('day')['id'])
    assert seen[0] and seen[1] and not seen[0] & seen[1], 'the calendar did not move'
    assert ids[0] == ids[1]
