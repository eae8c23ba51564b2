# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of a description: each change in it shows, and nothing else does."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest
from zoo import acl

from kiwi_stackbuild_plugin.inputs.files import digest_description


@pytest.fixture
def description(tmp_path: Path) -> Path:
    where = tmp_path / 'd'
    (where / 'root/etc').mkdir(parents=True)
    (where / 'config.xml').write_text('<image/>')
    (where / 'root/etc/a').write_text('a')
    (tmp_path / 'common.sh').write_text('true')
    (where / 'config.sh').symlink_to('../common.sh')
    (tmp_path / 'common/etc').mkdir(parents=True)
    (tmp_path / 'common/etc/b').write_text('b')
    (tmp_path / 'common/loop').symlink_to('.')
    (where / 'web').symlink_to('../common')
    (where / 'root/etc/aside').symlink_to('../../../common/etc')
    (where / 'root/etc/dangling').symlink_to('/nowhere')
    os.mkfifo(where / 'root/etc/fifo')
    return where


def _move(where: Path) -> None:
    (where / 'root/etc/a').rename(where / 'root/a')


def _relink(where: Path) -> None:
    (where / 'root/etc/dangling').unlink()
    (where / 'root/etc/dangling').symlink_to('/elsewhere')


CHANGES = {
    'content': lambda d: (d / 'config.xml').write_text('<image />'),
    'new file': lambda d: (d / 'root/b').write_text(''),
    'new directory': lambda d: (d / 'root/b').mkdir(),
    'gone': lambda d: (d / 'root/etc/a').unlink(),
    'mode': lambda d: (d / 'root/etc/a').chmod(0o755),
    'mode of a directory': lambda d: (d / 'root/etc').chmod(0o700),
    'other place': _move,
    'other target': _relink,
    'content behind a link': lambda d: (d.parent / 'common.sh').write_text('false'),
    'content of a directory behind a link': lambda d: (d.parent / 'common/etc/b').write_text('c'),
    'name in a directory behind a link': lambda d: (d.parent / 'common/etc/c').write_text(''),
    'extended attribute': lambda d: os.setxattr(d / 'root/etc/a', 'user.x', b'1'),
    'access list': lambda d: os.setxattr(
        d / 'root/etc', 'system.posix_acl_default', acl((4321, 7), mode=0o755)
    ),
}


@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_change_shows(description: Path, change: Callable[[Path], object]) -> None:
    before = digest_description(str(description))
    change(description)
    assert digest_description(str(description)) != before


def test_times_and_the_target_do_not_count(description: Path) -> None:
    target = description / 'out'
    before = digest_description(str(description), [str(target)])
    target.mkdir()
    (target / 'image').write_text('x')
    for path in description.rglob('*'):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert digest_description(str(description), [str(target)]) == before
    assert digest_description(f'{description}/', [str(target)]) == before
