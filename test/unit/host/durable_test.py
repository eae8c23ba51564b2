# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of writes; what a disk has after a cut is in integration/power_cut_test.py."""
from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import List

import pytest

import kiwi_stackbuild_plugin
from kiwi_stackbuild_plugin.host import durable

#: names taken in a temporary directory, or for as long as kiwi runs: none of
#: them is looked for after a cut
PASSING = {
    'description/extended.py', 'stackbuild/prepared.py', 'layer/blob.py', 'stash/index.py',
    # the unfinished root that makes room
    'stackbuild/target.py'
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Note what is synced and renamed; all of it is done."""
    made: List[str] = []
    replace, fsync = os.replace, os.fsync

    class Libc:
        """syncfs(2), noted."""

        @staticmethod
        def syncfs(fd: int) -> int:
            """Note the directory."""
            made.append(f'syncfs {os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))}')
            return 0

    def noted_fsync(fd: int) -> None:
        made.append(f'fsync {os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))}')
        fsync(fd)

    def noted_replace(*words: str, **more: int) -> None:
        made.append('rename')
        replace(*words, **more)

    monkeypatch.setattr(os, 'fsync', noted_fsync)
    monkeypatch.setattr(os, 'replace', noted_replace)
    monkeypatch.setattr(durable, '_LIBC', Libc)
    return made


def test_file_is_on_the_disk_before_its_name(tmp_path: Path, calls: List[str]) -> None:
    (tmp_path / 'new').write_text('new')
    (tmp_path / 'old').write_text('old')
    durable.replace(str(tmp_path / 'new'), str(tmp_path / 'old'))
    assert calls == ['fsync new', 'rename', f'fsync {tmp_path.name}']
    assert os.listdir(tmp_path) == ['old']
    assert (tmp_path / 'old').read_text() == 'new'


def test_tree_is_on_the_disk_before_its_name(tmp_path: Path, calls: List[str]) -> None:
    (tmp_path / 'staged/usr').mkdir(parents=True)
    (tmp_path / 'below').mkdir()
    durable.replace(str(tmp_path / 'staged'), str(tmp_path / 'below/root'))
    assert calls == ['syncfs staged', 'rename', 'fsync below']
    assert (tmp_path / 'below/root/usr').is_dir()


def test_names_below_an_open_directory(tmp_path: Path, calls: List[str]) -> None:
    (tmp_path / 'new').write_text('new')
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        durable.replace('new', 'old', source_fd=fd, target_fd=fd)
    finally:
        os.close(fd)
    assert calls == ['fsync new', 'rename', f'fsync {tmp_path.name}']
    assert os.listdir(tmp_path) == ['old']


def test_no_name_for_what_is_not_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(5, 'Input/output error')

    (tmp_path / 'new').write_text('new')
    (tmp_path / 'old').write_text('old')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='Input/output'):
        durable.replace(str(tmp_path / 'new'), str(tmp_path / 'old'))
    assert (tmp_path / 'old').read_text() == 'old'


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / 'new').symlink_to('elsewhere')
    with pytest.raises(OSError, match='symbolic links'):
        durable.replace(str(tmp_path / 'new'), str(tmp_path / 'old'))


def test_what_a_disk_does_not_take_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, '_LIBC', type('Libc', (), {
        'syncfs': staticmethod(lambda fd: -1)
    }))
    with pytest.raises(OSError):
        durable.sync_filesystem(str(tmp_path))


def test_all_that_stays_takes_its_name_through_one_door() -> None:
    package = Path(str(kiwi_stackbuild_plugin.__file__)).parent
    renaming = {
        str(path.relative_to(package)) for path in package.rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Attribute) and node.attr in ('rename', 'replace', 'renames')
        and isinstance(node.value, ast.Name) and node.value.id == 'os'
    }
    assert renaming == PASSING | {'host/durable.py'}
