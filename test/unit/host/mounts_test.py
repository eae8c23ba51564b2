# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted below a directory, who holds it, and what is not removed."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, List

import pytest
from kiwi_stackbuild_plugin.host.command import remove_tree
from kiwi_stackbuild_plugin.host.mounts import (
    find_mounts, is_mounted_on_itself, mount_points, processes_in
)


def pretend(
    monkeypatch: pytest.MonkeyPatch, info: Path, points: List[str]
) -> None:
    """Have a file for /proc/self/mountinfo."""
    info.write_text(''.join(
        f'1 2 0:3 / {point} rw - tmpfs tmpfs rw\n' for point in points
    ))
    real = open

    def opened(path: Any, *rest: Any) -> Any:
        return real(info if path == '/proc/self/mountinfo' else path, *rest)
    monkeypatch.setattr('builtins.open', opened)


def test_mounts_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the directory itself, below it, twice at the same point."""
    (tmp_path / 'root').mkdir()
    (tmp_path / 'link').symlink_to('root')
    top = str(tmp_path / 'root')
    pretend(monkeypatch, tmp_path / 'info', [
        '/', f'{top}2', top, f'{top}/proc', f'{top}/a\\040b\\134', f'{top}/proc'
    ])
    assert find_mounts(str(tmp_path / 'link')) == {b'proc', b'a b\\'}
    assert mount_points(str(tmp_path / 'link')) == [
        os.fsencode(point) for point in (
            top, f'{top}/proc', f'{top}/a b\\', f'{top}/proc'
        )
    ]


#: mountinfo up to the point, a directory, and whether it is mounted on itself
ON_ITSELF = [
    ('1 0 8:1 / /\n2 1 8:1 /a/b /a/b', '/a/b', True),
    ('1 0 8:1 / /\n2 1 8:1 /a/c /a/b', '/a/b', False),
    ('1 0 8:1 / /\n2 1 0:9 / /a/b', '/a/b', False),
    ('1 0 8:1 / /\n2 1 0:9 / /run\n3 2 0:9 /dbus /run/dbus', '/run/dbus', True),
    ('1 0 8:1 / /\n2 1 0:9 /sub /run\n3 2 0:9 /sub/dbus /run/dbus', '/run/dbus', True),
    ('1 0 8:1 / /\n2 1 0:9 /sub /run\n3 2 0:9 /dbus /run/dbus', '/run/dbus', False),
    ('1 0 8:1 / /\n2 1 8:1 /x /x\n3 2 8:1 /x /x', '/x', True),
    # the last one is another
    ('1 0 8:1 / /\n2 1 8:1 /x /x\n3 2 0:9 / /x', '/x', False),
    ('1 0 8:1 / /\n2 1 8:1 /a\\040b /a\\040b', '/a b', True),
    ('1 0 8:1 / /', '/x', False), ('1 0 8:1 / /', '/', False),
]


@pytest.mark.parametrize(('text', 'directory', 'expected'), ON_ITSELF)
def test_mounted_on_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, directory: str, expected: bool
) -> None:
    pretend(monkeypatch, tmp_path / 'info', [])
    (tmp_path / 'info').write_text(text.replace('\n', ' rw - x\n') + ' rw - x\n')
    monkeypatch.setattr(os.path, 'realpath', str)
    assert is_mounted_on_itself(directory) is expected


def test_nothing_is_removed_through_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'root/home').mkdir(parents=True)
    (tmp_path / 'root/home/precious').write_text('')
    pretend(monkeypatch, tmp_path / 'info', [f'{tmp_path}/root/home'])
    with pytest.raises(OSError, match='is mounted there'):
        remove_tree(str(tmp_path / 'root'))
    assert (tmp_path / 'root/home/precious').exists()


@pytest.mark.parametrize('how', ['cwd', 'file', 'exe'])
def test_who_holds_a_directory_is_found(tmp_path: Path, how: str) -> None:
    place = tmp_path / 'a b'
    place.mkdir()
    program = place / 'program'
    program.write_bytes(Path('/bin/sleep').read_bytes())
    program.chmod(0o755)
    with open(program, encoding='utf-8') as stream, subprocess.Popen(
        [str(program) if how == 'exe' else '/bin/sleep', '60'],
        cwd=place if how == 'cwd' else '/', stdin=stream if how == 'file' else None
    ) as child:
        found = [text for text in processes_in(str(place)) if text.startswith(f'{child.pid} ')]
        assert found == [f'{child.pid} ({"program" if how == "exe" else "sleep"})']
        assert processes_in(str(place), chrooted_only=True) == []
        assert not any(
            text.startswith(f'{child.pid} ') for text in processes_in(str(tmp_path / 'a'))
        )
        child.kill()
