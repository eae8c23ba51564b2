# SPDX-License-Identifier: GPL-3.0-or-later
"""A small root tree of our own, for machines without a package mirror."""
from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tools'))

from apt_sources import AptRepository
from debian_root import RootPlan, write_description

_FOLDERS = (
    'dev', 'etc', 'home', 'image', 'proc', 'root', 'run', 'srv', 'sys', 'tmp',
    'usr/bin', 'usr/lib', 'usr/sbin', 'usr/share/doc', 'var/cache', 'var/lib',
    'var/log', 'var/tmp'
)
_LINKS = {'bin': 'usr/bin', 'lib': 'usr/lib', 'sbin': 'usr/sbin'}
_TEXTS = {
    'etc/hostname': 'stash-demo\n',
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
    'etc/group': 'root:x:0:\n',
    'etc/os-release': 'ID=stash-demo\nNAME="Stash demo"\nVERSION_ID=1\n',
    '.profile': "kiwi_iname='stash-demo'\nkiwi_type='oci'\nkiwi_profiles=''\n",
}
_DOCUMENTS = 400


def make_root(target: str) -> str:
    """Write a tree of some hundred files with a description, return its path.

    :param target: the new root, must not exist
    """
    root = Path(target)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    (root / 'tmp').chmod(0o1777)
    (root / 'root').chmod(0o700)
    for name, place in _LINKS.items():
        (root / name).symlink_to(place)
    for name, text in _TEXTS.items():
        (root / name).write_text(text, encoding='utf-8')
    for number in range(_DOCUMENTS):
        page = root / f'usr/share/doc/page-{number:03}'
        page.write_text(f'{number}\n' * 2000, encoding='utf-8')
    for name in ('sh', 'tar'):
        shutil.copy2(shutil.which(name) or '/bin/sh', root / 'usr/bin' / name)
    os.link(root / 'usr/bin/sh', root / 'usr/bin/shell')
    _add_package_database(root)
    return target


def _add_package_database(root: Path) -> None:
    """kiwi asks the database of the description's package manager."""
    here = AptRepository('file:///placeholder', 'none', ('main',), ())
    write_description(str(root / 'image'), RootPlan(), here)
    if shutil.which('dpkg-query'):
        (root / 'var/lib/dpkg').mkdir()
        (root / 'var/lib/dpkg/status').touch()
        return
    config = root / 'image/config.xml'
    text = config.read_text(encoding='utf-8')
    manager = 'zypper' if shutil.which('zypper') else 'dnf5'
    config.write_text(text.replace(
        '<packagemanager>apt<', f'<packagemanager>{manager}<'
    ).replace('apt-deb', 'rpm-md'), encoding='utf-8')
