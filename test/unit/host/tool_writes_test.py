# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands write, of those that kiwi runs outside of the root."""
from __future__ import annotations

import subprocess
from pathlib import Path
from typing import List, Set

import pytest

from kiwi_stackbuild_plugin.host.tool_writes import find_writes


def written(words: List[str], where: Path, root: str = '') -> Set[str]:
    """What a command writes; '@' stands for the directory, '!' for "no link followed"."""
    found = find_writes([word.replace('@', str(where)) for word in words], str(where), root)
    return {
        each.path.replace(str(where), '@') + ('' if each.follow else '!') for each in found
    }


@pytest.mark.parametrize(('words', 'expected'), [
    (['cp', '/etc/hosts', '@/r/etc/hosts.kiwi'], '@/r/etc/hosts.kiwi'),
    (['cp', '/etc/hosts', '@/r/dir'], '@/r/dir @/r/dir/hosts'),
    (['ln', '-s', '-f', 'x', '@/r/etc/hosts'], '@/r/etc/hosts!'),
    (['ln', '-s', '-f', 'x', '@/r/dir'], '@/r/dir @/r/dir/x!'),
    (['ln', '-s', '--no-target-directory', 'x', '@/r/dir'], '@/r/dir!'),
    (['mv', '@/a/x', '@/r/boot/x'], '@/a/x! @/r/boot/x!'),
    (['rm', '-r', '-f', '@/r/etc/x'], '@/r/etc/x!'),
    (['rm', '-f', '@/r/etc/x/'], '@/r/etc/x/'),
    (['rmdir', '--ignore-fail-on-non-empty', '@/r/var'], '@/r/var!'),
    (['mkdir', '-p', '@/r/new'], '@/r/new!'), (['mkdir', '-p', '@/r/var'], ''),
    (['chmod', '644', '@/r/x'], '@/r/x'), (['touch', '@/r/x'], '@/r/x'),
    (['patch', '@/r/etc/fstab', '@/r/etc/fstab.patch'], '@/r/etc/fstab @/r/etc/fstab.patch'),
    (['/usr/bin/dd', 'if=@/r/a', 'of=@/r/b'], '@/r/b'),
    (['rsync', '-a', '@/r/image/f', '@/r/srv/f'], '@/r/srv/f!'),
    (['rsync', '-a', '@/r/image/f', '@/r/dir'], '@/r/dir @/r/dir/f!'),
    (['rsync', '-a', '@/over/', '@/r'], '@/r'),
    (['rsync', '-aK', '@/over/', '@/r'], '@/r @/r/etc @/r/etc/x'),
    (['cp', '-r', '@/over', '@/r'], '@/r @/r/over @/r/over/etc @/r/over/etc/x'),
    (['chroot', '@/r', 'rm', '-rf', '/etc'], ''), (['grep', 'x', '@/r/etc/passwd'], ''),
    (['screen', '-t', '-X', 'chroot', '@/r', 'bash', '/image/config.sh'], ''),
    (['bash', '-c', 'cd @/r && find . | cpio -o > ../out; rm -f etc/x'],
     '@/r/../out @/r/etc/x!'),
    (['bash', '-c', 'source functions; baseUpdateSysConfig @/r/etc/sysconfig/keyboard K "x"'],
     '@/r/etc/sysconfig/keyboard'),
    (['bash', '-c', 'rm -f @/r/recovery.*'], '@/r/recovery.*!'),
    (['bash', '-c', 'cat < @/r/a >> @/r/b'], '@/r/b'),
    (['bash', '-c', "echo 'open quote > @/r/b"], '@/r/b'),
    (['env', 'A=b', 'touch', '@/r/x'], '@/r/x'),
    (['mount', '-n', '--bind', '/proc', '@/r/proc'], '@/r/proc'),
    (['mount', '-t', 'overlay', 'overlay', '@/r', '-o', 'lowerdir=@/a,upperdir=@/b'], '@/r'),
    (['umount', '-l', '@/r/proc'], '@/r/proc'),
    (['tool', '--config=@/r/etc/x', '-o', 'a=b,dir=@/r/y:@/r/z'],
     '@/r/etc/x @/r/y:@/r/z @/r/y @/r/z'),
    (['tar', '-C', '@/r', '-x', '-v', '-f', '@/a.tar'], '@/r @/r/ @/r/srv'),
    (['tar', '-C', '@/r', '-xf', '@/none.tar'], '@/r @/r/out'),
    (['tar', '-C', '@/r', '--xattrs', '-c', '-f', '@/r/recovery.tar', '.'], '@/r/recovery.tar'),
    (['bash', '-c', 'cat @/a.tar | tar -C @/r -x'], '@/r @/r/ @/r/srv'),
    (['debootstrap', '--no-check-gpg', 'bookworm', '@/r', 'http://mirror'], '@/r/out'),
    (['apk', '--root', '@/r', 'add', 'x'],
     '@/r @/r/etc/apk @/r/lib/apk @/r/var/cache/apk'),
    (['pacman', '--root=@/r', '-S'],
     '@/r @/r/etc/pacman.d @/r/var/cache/pacman @/r/var/lib/pacman @/r/var/log'),
    ([], ''),
])
def test_what_a_command_writes(tmp_path: Path, words: List[str], expected: str) -> None:
    (tmp_path / 'r/dir').mkdir(parents=True)
    (tmp_path / 'r/out').symlink_to('/')
    (tmp_path / 'r/var').mkdir()
    (tmp_path / 'r/var/run').symlink_to('/run')
    (tmp_path / 'over/etc').mkdir(parents=True)
    (tmp_path / 'over/etc/x').touch()
    (tmp_path / 'srv').mkdir()
    (tmp_path / 'srv/f').touch()
    subprocess.run(['tar', '-C', tmp_path, '-cf', tmp_path / 'a.tar', 'srv/f', 'over'], check=True)
    # members of the archive in a directory that the archive makes are not in question
    found = written(words, tmp_path) - {'@/r/over', '@/r/over/etc'} if 'tar' in str(words) \
        else written(words, tmp_path)
    assert found == set(expected.split())


def test_names_in_an_archive_are_read_as_they_are(tmp_path: Path) -> None:
    place = tmp_path / 'in' / 'a\nb\\ \u00e9\x1c'
    place.mkdir(parents=True)
    (place / 'f').touch()
    name = f'{place.name}/f'
    subprocess.run(
        ['tar', '-C', tmp_path / 'in', '-cf', tmp_path / 'a.tar', name], check=True
    )
    found = written(['tar', '-C', '@/r', '-xf', '@/a.tar'], tmp_path)
    assert f'@/r/{place.name}' in found


def test_package_manager_that_reads_its_root_in_a_file(tmp_path: Path) -> None:
    found = written(['apt-get', '-c', '/x', 'update'], tmp_path, '/r')
    assert {'/r/etc/apt', '/r/var/lib/apt'} <= found
