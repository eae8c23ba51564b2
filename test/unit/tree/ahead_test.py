# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that scans ahead: same entries, errors, an early end, no trace."""
from __future__ import annotations

import os
import re
import select
import stat
import time
from pathlib import Path

import pytest
from kiwi_stackbuild_plugin.host.errors import KiwiStashSystemFailed
from kiwi_stackbuild_plugin.tree import ahead as ahead_module
from kiwi_stackbuild_plugin.tree.ahead import (
    LinksAhead, ScanAhead, read_ahead, scan_ahead
)
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import Exclusion, scan, sort_key
from trees import make_root


@pytest.fixture
def big_root(tmp_path: Path) -> int:
    """Give a tree of more entries than go into one batch."""
    root = make_root(tmp_path / 'root')
    for number in range(1200):
        (root / f'etc/{number}').touch()
    os.utime(root / 'etc/7', ns=(1, -1_500_000_001))
    os.mkfifo(root / 'etc/fifo')
    os.setxattr(root / 'etc/8', 'user.binary', b'\0\xff')
    return open_tree(str(root))


def seen(entry: object) -> object:
    """All of an entry that anybody looks at."""
    status = entry.stat  # type: ignore[attr-defined]
    return (
        entry.path, entry.xattrs, entry.target, entry.inode,  # type: ignore[attr-defined]
        status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_rdev
    )


def test_entries_are_those_of_a_scan(big_root: int) -> None:
    exclusion = Exclusion(frozenset({b'usr'}), frozenset({b'var'}))
    ahead = [seen(entry) for entry in scan_ahead(big_root, exclusion)]
    assert ahead == [seen(entry) for entry in scan(big_root, exclusion)]
    assert len(ahead) > 1200


def test_patterns_go_along(big_root: int) -> None:
    exclusion = Exclusion(pattern=re.compile(rb'etc/1.*|usr', re.DOTALL))
    ahead = [entry.path for entry in scan_ahead(big_root, exclusion)]
    assert ahead == [entry.path for entry in scan(big_root, exclusion)]
    assert b'etc/2' in ahead and b'etc/11' not in ahead


def test_failure_of_the_scan_reaches_us(big_root: int) -> None:
    closed = os.open('/dev/null', os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        list(scan_ahead(closed))
    os.close(closed)


def test_child_that_cannot_start_costs_only_the_lead(
    big_root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, '_PROGRAM', 'import os; os._exit(3) # %s')
    ahead = [entry.path for entry in scan_ahead(big_root)]
    assert ahead == [entry.path for entry in scan(big_root)]


@pytest.mark.parametrize(('end', 'told'), [
    ('os.kill(os.getpid(), 9)', 'by signal 9'), ('os._exit(3)', 'with exit status 3')
])
@pytest.mark.parametrize('sent', [b'\1', b'\0\1\0\0', b'\0\1\0\0half of it'])
def test_how_a_child_died_is_told(
    big_root: int, monkeypatch: pytest.MonkeyPatch, end: str, told: str, sent: bytes
) -> None:
    monkeypatch.setattr(ahead_module, '_PROGRAM', (
        f'import os; os.read(0, 1 << 16); os.write(1, {sent!r}); {end} # %s'
    ))
    with pytest.raises(KiwiStashSystemFailed, match=f'scans was ended {told}'):
        list(scan_ahead(big_root))


@pytest.mark.parametrize('executable', ['', None, '/no/such/python', '/'])
def test_python_that_cannot_be_started_again_costs_only_the_lead(
    big_root: int, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(ahead_module.sys, 'executable', executable)
    with read_ahead([big_root]):
        ahead = [entry.path for entry in scan_ahead(big_root)]
    assert ahead == [entry.path for entry in scan(big_root)]
    ScanAhead(big_root).close()


@pytest.mark.parametrize('name', [
    'typing', 'os', 're', 'stat', 'enum', 'contextlib', 'dataclasses', 'errno', 'types'
])
@pytest.mark.parametrize('folder', ['site', 'a b:c%sd'])
def test_modules_of_old_beside_us_do_no_harm(
    big_root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    """Such as typing, once a package of its own, which Python 3.9 cannot use."""
    site = tmp_path / folder
    site.mkdir()
    (site / f'{name}.py').write_text('raise SystemExit(1)')
    (site / 'kiwi_stackbuild_plugin').symlink_to(Path(ahead_module.__file__).parents[1])
    monkeypatch.setattr(
        ahead_module, '__file__', str(site / 'kiwi_stackbuild_plugin/tree/ahead.py')
    )

    def not_here(*_: object) -> object:
        raise AssertionError('no child')
    expected = [entry.path for entry in scan(big_root)]
    monkeypatch.setattr(ahead_module, 'scan', not_here)
    assert [entry.path for entry in scan_ahead(big_root)] == expected


def test_early_end_leaves_no_process(big_root: int) -> None:
    entries = scan_ahead(big_root)
    next(entries)
    entries.close()  # type: ignore[attr-defined]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_scan_begins_before_it_is_asked_for(big_root: int) -> None:
    ahead = ScanAhead(big_root)
    assert ahead._child and ahead._child.stdout
    assert select.select([ahead._child.stdout], [], [], 60)[0]
    os.mkdir('new', dir_fd=big_root)
    paths = [entry.path for entry in ahead.entries()]
    again = [entry.path for entry in ahead.entries()]
    assert b'new' not in paths and sorted([*paths, b'new'], key=sort_key) == again


def test_scan_that_nobody_wants_leaves_no_process(big_root: int) -> None:
    ahead = ScanAhead(big_root)
    ahead.close()
    ahead.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_reading_ahead_brings_files_into_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    path.write_bytes(os.urandom(1 << 20))
    fd = open_tree(str(tmp_path))
    with open(path, 'rb') as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with read_ahead([fd]):
            deadline = time.monotonic() + 60
            while not in_page_cache(stream.fileno()) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert in_page_cache(stream.fileno())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    os.close(fd)


def in_page_cache(fd: int) -> bool:
    """Tell, by a read that does not wait for the disk."""
    try:
        return os.preadv(fd, [bytearray(4096)], 0, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False


def test_links_are_found_in_each_directory_by_itself(tmp_path: Path) -> None:
    for name in ('one/a/b', 'two'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'one/alone').touch()
    for kind, make in (('file', Path.touch), ('link', lambda path: path.symlink_to('x'))):
        make(tmp_path / f'one/{kind}')
        os.link(tmp_path / f'one/{kind}', tmp_path / f'one/a/b/{kind}', follow_symlinks=False)
    os.mknod(tmp_path / 'one/whiteout', stat.S_IFCHR, 0)
    os.link(tmp_path / 'one/whiteout', tmp_path / 'one/gone')
    # other names of it are elsewhere
    os.link(tmp_path / 'one/file', tmp_path / 'two/file')
    fds = [open_tree(str(tmp_path / name)) for name in ('one', 'two')]
    one, two = LinksAhead(fds).names() or []
    assert sorted(map(sorted, one)) == [[b'a/b/file', b'file'], [b'a/b/link', b'link']]
    assert two == []


def test_links_that_cannot_be_looked_for_are_not_told(tmp_path: Path) -> None:
    closed = os.open('/dev/null', os.O_RDONLY)
    assert LinksAhead([closed]).names() is None
    os.close(closed)


def test_a_search_that_nobody_asks_for_ends(tmp_path: Path) -> None:
    search = LinksAhead([open_tree(str(tmp_path))])
    search.close()
    assert search.names() is None
