# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages a root has, read from the data bases of all managers."""
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Callable, Optional, Set

import pytest
from in_time import within

from kiwi_stackbuild_plugin.packages.installed import installed_packages, missed_by_apt
from kiwi_stackbuild_plugin.tree.opening import open_tree

DPKG = '''Package: there
Status: install ok installed
Architecture: all
Depends: gone (>= 1), other | provided:any, lost | lost-too
Provides: provided (= 1)
Description: a line
 Package: not-one

Package: removed
Status: deinstall ok config-files
Architecture: all
Depends: nothing

Package: half
Status: install ok half-configured
Architecture: amd64
Pre-Depends: there
'''


@pytest.mark.parametrize(('kind', 'path', 'text', 'found'), [
    ('deb', 'var/lib/dpkg/status', DPKG, {'there', 'there:all', 'half', 'half:amd64'}),
    ('deb', 'var/lib/dpkg/status', '', set()),
    ('deb', 'var/lib/dpkg/other', '', None),
    ('apk', 'lib/apk/db/installed', 'C:x\nP:musl\nV:1\n\nC:y\nP:busybox\n', {'musl', 'busybox'}),
    ('apk', 'usr/lib/apk/db/installed', 'P:musl\n', {'musl'}),
    ('pacman', 'var/lib/pacman/local/a-b-1.0-1/desc', '', {'a-b'}),
    ('rpm', 'var/lib/rpm/nothing', '', None),
    ('', 'etc/hosts', '', None),
])
def test_data_bases(
    tmp_path: Path, kind: str, path: str, text: str, found: Optional[Set[str]]
) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    fd = open_tree(str(tmp_path))
    assert installed_packages(str(tmp_path), fd, kind) == found
    os.close(fd)


def test_no_data_base_behind_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / 'root/var/lib').mkdir(parents=True)
    (tmp_path / 'dpkg').mkdir()
    (tmp_path / 'dpkg/status').write_text(DPKG)
    (tmp_path / 'root/var/lib/dpkg').symlink_to('../../../dpkg')
    fd = open_tree(str(tmp_path / 'root'))
    assert installed_packages(str(tmp_path / 'root'), fd, 'deb') is None
    assert missed_by_apt(fd) == set()
    os.close(fd)


@pytest.mark.parametrize('make', [
    lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    os.mkfifo, Path.mkdir, lambda path: (path.touch(), os.truncate(path, 1 << 40))
], ids=['device', 'fifo', 'directory', 'huge'])
@pytest.mark.skipif(os.geteuid() != 0, reason='makes a device')
def test_what_is_no_data_base_is_not_read(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    (tmp_path / 'var/lib/dpkg').mkdir(parents=True)
    make(tmp_path / 'var/lib/dpkg/status')
    fd = open_tree(str(tmp_path))
    with within(2):
        assert installed_packages(str(tmp_path), fd, 'deb') is None
        assert missed_by_apt(fd) == set()
    os.close(fd)


def test_what_apt_misses(tmp_path: Path) -> None:
    (tmp_path / 'var/lib/dpkg').mkdir(parents=True)
    (tmp_path / 'var/lib/dpkg/status').write_text(DPKG)
    fd = open_tree(str(tmp_path))
    assert missed_by_apt(fd) == {'gone', 'lost', 'lost-too'}
    os.close(fd)


@pytest.mark.parametrize('tools', [
    '', '#!/bin/sh\nexit 1\n', '#!/bin/sh\nprintf "a\\na-1\\nb\\n"\n'
])
def test_rpm_of_the_host_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: str
) -> None:
    """Where it is missing or cannot read the data base, kiwi decides."""
    (tmp_path / 'root/usr/lib/sysimage/rpm').mkdir(parents=True)
    (tmp_path / 'root/usr/lib/sysimage/rpm/rpmdb.sqlite').touch()
    (tmp_path / 'bin').mkdir()
    if tools:
        (tmp_path / 'bin/rpm').write_text(tools)
        (tmp_path / 'bin/rpm').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}/bin' + (':/usr/bin:/bin' if tools else ''))
    fd = open_tree(str(tmp_path / 'root'))
    found = installed_packages(str(tmp_path / 'root'), fd, 'rpm')
    os.close(fd)
    assert found == ({'a', 'a-1', 'b'} if 'printf' in tools else None)
