# SPDX-License-Identifier: GPL-3.0-or-later
"""What Python code and its commands would write through a link is stopped."""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest
from canaries import make_canary
from trees import describe

from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.host.guard import guarded
from kiwi_stackbuild_plugin.host.mounts import is_mounted_on_itself


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Give a root whose links lead to things that must not change."""
    canary = make_canary(tmp_path / 'canary')
    root = tmp_path / 'build/root'
    (root / 'etc').mkdir(parents=True)
    (root / 'f').write_text('f')
    (root / 'dir').symlink_to(canary)
    (root / 'up').symlink_to('../../canary')
    (root / 'file').symlink_to(canary / 'secret')
    (root / 'new').symlink_to(canary / 'new')
    (root / 'in').symlink_to('etc')
    (root / 'same').symlink_to(root / 'etc')
    before = describe(canary)
    yield root
    assert describe(canary) == before


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=False, capture_output=True)


def opened(path: Any, mode: str) -> None:
    with open(path, mode):
        pass


WRITES: Dict[str, Callable[[Path], object]] = {
    'open': lambda r: opened(r / 'file', 'w'),
    'open, new': lambda r: opened(r / 'new', 'a'),
    'open in a directory': lambda r: opened(f'{r}//dir/./x', 'wb'),
    'open by a relative link': lambda r: opened(r / 'up/x', 'r+'),
    'os.open': lambda r: os.open(r / 'file', os.O_WRONLY),
    'bytes': lambda r: opened(os.fsencode(r / 'file'), 'w'),
    'mkdir': lambda r: pathlib.Path(r / 'dir/a/b').mkdir(parents=True, exist_ok=True),
    'remove': lambda r: os.remove(r / 'dir/secret'),
    'rmdir': lambda r: os.rmdir(r / 'dir/apt'),
    'rename': lambda r: os.rename(r / 'dir/secret', r / 'x'),
    'rename into': lambda r: os.rename(r / 'f', r / 'dir/x'),
    'move': lambda r: shutil.move(r / 'f', r / 'dir'),
    'copy': lambda r: shutil.copy(r / 'f', r / 'dir'),
    'link': lambda r: os.link(r / 'f', r / 'dir/x'),
    'symlink': lambda r: os.symlink('x', r / 'dir/x'),
    'chmod': lambda r: os.chmod(r / 'file', 0o777),
    'chown': lambda r: os.chown(r / 'file', 1, 1),
    'utime': lambda r: os.utime(r / 'file'),
    'touch': lambda r: (r / 'new').touch(),
    'truncate': lambda r: os.truncate(r / 'file', 0),
    'xattr': lambda r: os.setxattr(r / 'file', 'user.x', b'x'),
    'rmtree': lambda r: shutil.rmtree(r / 'dir/sub'),
    'dots': lambda r: opened(r / '../../canary/secret', 'w'),
    'cp': lambda r: run('cp', r / 'f', r / 'file'),
    'cp into': lambda r: run('cp', r / 'f', r / 'dir'),
    'ln into': lambda r: run('ln', '-s', '-f', 'hosts', r / 'dir'),
    'rm': lambda r: run('rm', '-rf', r / 'dir/sub'),
    'rsync': lambda r: run('rsync', '-a', r / 'f', r / 'dir/x'),
    'shell': lambda r: run('bash', '-c', f'echo x > {r}/file'),
    'shell cd': lambda r: run('bash', '-c', f'cd {r} && echo x > dir/x'),
    'system': lambda r: os.system(f'touch {r}/new'),
    'cwd': lambda r: subprocess.run(['touch', 'file'], cwd=r, check=False),
    'unknown tool': lambda r: run('sed', '-i', 's/o/x/', r / 'dir/secret'),
    'mount': lambda r: run('mount', '--bind', r / 'etc', r / 'dir/sub'),
    'archive': lambda r: run('tar', '-C', r, '-xf', r.parent / 'a.tar'),
    'package manager': lambda r: run('pacman', '--root', r / 'up', '-S', 'x'),
}


@pytest.mark.parametrize('what', WRITES)
def test_write_out_of_the_root_is_stopped(root: Path, what: str) -> None:
    place = root.parent.parent / 'archived/dir'
    place.mkdir(parents=True)
    (place / 'secret').touch()
    run('tar', '-C', place.parent, '-cf', root.parent / 'a.tar', 'dir/secret')
    with pytest.raises(KiwiStashRootInvalid, match='through a link') as caught, guarded(
        [(str(root.parent), ('',))]
    ):
        WRITES[what](root)
    assert '\n' not in caught.value.summary


INSIDE: Dict[str, Callable[[Path], object]] = {
    'file': lambda r: (r / 'x').write_text('x'),
    'by a link inside': lambda r: (r / 'in/x').write_text('x'),
    'by an absolute one': lambda r: (r / 'same/x').write_text('x'),
    'the link itself': lambda r: os.remove(r / 'file'),
    'rename the link': lambda r: os.rename(r / 'dir', r / 'other'),
    'make': lambda r: (r / 'a/b/c').mkdir(parents=True),
    # kiwi 11 makes each mount point: /var/run/dbus is there
    'make what is there': lambda r: (r / 'dir/apt').mkdir(exist_ok=True),
    'make what is there by a tool': lambda r: run('mkdir', '-p', r / 'dir/apt'),
    'reading': lambda r: (r / 'file').read_text(),
    'reading by tools': lambda r: run('cat', r / 'file'),
    'copy out of it': lambda r: run('cp', r / 'file', r / 'etc'),
    'link over a link': lambda r: run('ln', '-s', '-f', 'x', r / 'file'),
    'rsync over a link': lambda r: run('rsync', '-a', r / 'f', r / 'file'),
    'rm of a link': lambda r: run('rm', '-rf', r / 'dir'),
    'rmtree': lambda r: shutil.rmtree(r / 'etc'),
    'chroot': lambda r: run('chroot', r, 'touch', '/dir/x'),
    'elsewhere': lambda r: (r.parent.parent / 'x').write_text('x'),
    'bound to itself': lambda r: run(
        'mount', '--bind', r.parent.parent / 'canary/apt', r / 'dir/apt'
    ) or run('umount', r / 'dir/apt'),
}


@pytest.mark.parametrize('what', INSIDE)
def test_what_stays_inside_is_not_stopped(root: Path, what: str) -> None:
    with guarded([(str(root.parent), ('',))]):
        INSIDE[what](root)


@pytest.fixture
def left_mounted(root: Path) -> Iterator[Path]:
    """Give a directory that a killed kiwi mounted on itself."""
    place = root.parent.parent / 'canary/apt'
    run('mount', '--bind', place, place)
    assert is_mounted_on_itself(str(place))
    yield place
    while is_mounted_on_itself(str(place)):
        run('umount', place)


def test_what_another_kiwi_mounted_on_itself_is_taken_back(
    root: Path, left_mounted: Path
) -> None:
    """That one was killed, or works beside this one: kiwi does not mount it again."""
    with guarded([(str(root.parent), ('',))]):
        run('umount', root / 'dir/apt')
    assert not is_mounted_on_itself(str(left_mounted))


def test_another_mount_is_not_taken_back(root: Path) -> None:
    place = root.parent.parent / 'canary/apt'
    run('mount', '-t', 'tmpfs', 'none', place)
    try:
        with pytest.raises(KiwiStashRootInvalid), guarded([(str(root.parent), ('',))]):
            run('umount', root / 'dir/apt')
        assert os.path.ismount(place)
    finally:
        run('umount', place)


def test_a_refusal_is_told_whatever_became_of_it(root: Path) -> None:
    """Kiwi makes another error of it, or goes on with a warning."""
    with pytest.raises(KiwiStashRootInvalid), guarded([(str(root.parent), ('',))]):
        try:
            opened(root / 'file', 'w')
        except KiwiStashRootInvalid:
            pass


def test_only_names_that_are_guarded(root: Path) -> None:
    with guarded([(str(root.parent), ('kiwi_', 'efi_'))]):
        os.utime(root / 'dir', ns=(os.stat(root / 'dir').st_atime_ns,
                                   os.stat(root / 'dir').st_mtime_ns))
    (root.parent / 'kiwi_x').symlink_to(root)
    with pytest.raises(KiwiStashRootInvalid), guarded([(str(root.parent), ('kiwi_', 'efi_'))]):
        (root.parent / 'kiwi_x/dir/x').touch()


def test_nothing_is_looked_at_afterwards(root: Path, tmp_path: Path) -> None:
    with guarded([(str(root.parent), ('',))]):
        pass
    (root / 'out').symlink_to(tmp_path / 'out')
    (root / 'out').write_text('x')
    assert (tmp_path / 'out').read_text() == 'x'


def test_a_guard_costs_little(root: Path) -> None:
    """Well below 1 ms a file; kiwi opens some hundred."""
    started = time.process_time()
    with guarded([(str(root.parent), ('',))]):
        for _ in range(100):
            (root / 'etc/x').write_text('x')
    assert time.process_time() - started < 0.2
