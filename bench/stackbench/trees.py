# SPDX-License-Identifier: GPL-3.0-or-later
"""The trees to measure on: Debian and rpm roots from kiwi, and generated ones."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Dict, Tuple

from stackbench.parties import REPOSITORY

_DEFAULT_CACHE = '/var/cache/kiwi-stackbuild-bench'
DEBIAN: Dict[str, Tuple[str, ...]] = {
    'T1': (),
    'T2': ('linux-image-amd64', 'build-essential', 'golang', 'python3-scipy'),
}
#: made by tools/rpm_root.py, of the repository that tools/rpm_repository.py makes
RPM: Tuple[str, ...] = ('zypper', 'dnf4')
_FILES_PER_DIRECTORY = 200


def cache_directory() -> str:
    """Where trees, environments and sandboxes are.

    Not below /tmp or /var/tmp: each sandbox has its own of these.
    """
    place = os.path.realpath(
        os.environ.get('KIWI_STACKBUILD_BENCH') or _DEFAULT_CACHE
    )
    for hidden in ('/tmp', '/var/tmp', '/dev/shm'):
        if f'{place}/'.startswith(f'{hidden}/'):
            sys.exit(f'bench: {place}: must not be below {hidden}')
    os.makedirs(place, exist_ok=True)
    return place


def prepare_tree(name: str, kiwi: str, cache: str) -> str:
    """Return the root tree of that name, built with kiwi at first use.

    :param name: one of DEBIAN or RPM; with "-" and a word it is prepared once more
    """
    root = f'{cache}/trees/{name}/image-root'
    if os.path.isdir(root):
        return root
    sys.path.insert(0, str(REPOSITORY / 'tools'))
    import debian_root
    import rpm_root
    os.makedirs(os.path.dirname(root), exist_ok=True)
    description = name.partition('-')[0]
    called = f'bench-{description.lower()}'
    staged = f'{cache}/trees/{name}/image-root.part'
    shutil.rmtree(staged, ignore_errors=True)
    if description in RPM:
        rpm_root.prepare_root(staged, rpm_root.RpmPlan(description, name=called), kiwi)
    else:
        debian_root.prepare_root(
            staged, debian_root.RootPlan(DEBIAN[description], called), kiwi
        )
    os.rename(staged, root)
    return root


def prepare_debian(name: str, kiwi: str, cache: str) -> str:
    """Return one of the Debian roots, see prepare_tree."""
    return prepare_tree(name, kiwi, cache)


def generate_tree(root: str, entries: int) -> None:
    """Make a root tree of many small files: its work is in the entries."""
    os.makedirs(f'{root}/image')
    with open(f'{root}/image/config.xml', 'w', encoding='utf-8') as config:
        config.write(_DESCRIPTION)
    made = 2
    number = 0
    while made < entries:
        directory = f'{root}/usr/{number // 100:04d}/{number % 100:02d}'
        made += 1 + (number % 100 == 0)
        os.makedirs(directory)
        for index in range(min(_FILES_PER_DIRECTORY, entries - made)):
            handle = os.open(
                f'{directory}/file-{index:03d}.txt', os.O_WRONLY | os.O_CREAT, 0o644
            )
            os.write(handle, b'%d %d\n' % (number, index))
            os.close(handle)
            made += 1
        number += 1


def copy_tree(source: str, target: str) -> None:
    """Copy a tree with all its metadata, in place of what was there."""
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    subprocess.run(['cp', '-a', '--reflink=auto', source, target], check=True)


def count_tree(root: str) -> Tuple[int, int]:
    """Return number of entries and bytes on disk, hard links once."""
    seen = set()
    entries = size = 0
    for directory, names, files in os.walk(root):
        for name in names + files:
            stat = os.lstat(os.path.join(directory, name))
            entries += 1
            if (stat.st_dev, stat.st_ino) not in seen:
                size += stat.st_blocks * 512
            if stat.st_nlink > 1 and name in files:
                seen.add((stat.st_dev, stat.st_ino))
    return entries, size


def describe_tree(root: str) -> str:
    """Return size and number of entries, for people."""
    entries, size = count_tree(root)
    return f'{size / 1e6:,.0f} MB, {entries:,} entries'


_DESCRIPTION = '''<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="7.4" name="bench-generated">
    <description type="system">
        <author>bench</author>
        <contact>bench@example.com</contact>
        <specification>Many small files</specification>
    </description>
    <preferences>
        <version>1.0.0</version>
        <packagemanager>apt</packagemanager>
        <type image="tbz"/>
    </preferences>
    <repository type="apt-deb"><source path="obs://none/none"/></repository>
    <packages type="image"/>
    <packages type="bootstrap"/>
</image>
'''
