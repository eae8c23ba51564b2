# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's own phases over a root, with tools that do nothing: what does it write?

    python kiwi_traps.py <root> <description> <record>

runs "kiwi-ng system build" over the root, in a process of its own, and writes
each path below the root that it opens for writing, makes, renames, removes or
hands to a tool that does, one a line: what the guard is told, which is not at
work here.
"""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, List, Set

TOOLS: Dict[str, str] = {
    **dict.fromkeys((
        'apk', 'apt-get', 'chkstat', 'debootstrap', 'dnf', 'dnf-3', 'dnf4', 'dnf5',
        'gpg', 'microdnf', 'mount', 'pacman', 'skopeo', 'umoci', 'umount'
    ), ''),
    'mountpoint': 'exit 1',
    'rpm': 'case "$*" in *_dbpath*) echo /var/lib/rpm;; esac',
    'rpmdb': '',
    'chroot': 'case "$*" in *_dbpath*) echo /usr/lib/sysimage/rpm;; '
              '*--showrc*) echo "-14: _dbpath\t%{_usr}/lib/sysimage/rpm";; esac',
    'zypper': 'd=; p=; for w; do [ "$p" = --reposd-dir ] && d=$w; p=$w; done; '
              'case "$*" in *addrepo*) printf "[r]\\nname=r\\n" > "$d/r.repo";; esac',
}
MANAGERS = ('apt', 'dnf', 'dnf4', 'dnf5', 'microdnf', 'pacman', 'zypper')
DESCRIPTION = '''<image schemaversion="7.4" name="traps" id="1234567890">
<description type="system"><author>a</author><contact>c</contact>
<specification>s</specification></description>
<preferences><version>1.0.0</version><packagemanager>{manager}</packagemanager>
<locale>en_US</locale><keytable>us</keytable><timezone>UTC</timezone>
<rpm-excludedocs>true</rpm-excludedocs><type image="{image}"/></preferences>
<repository type="{kind}" imageinclude="true" username="u" password="p" alias="r"
 priority="1"><source path="https://example.invalid/x"/></repository>
<packages type="image"><package name="p"/><archive name="a.tar" target_dir="/srv"/>
</packages></image>'''
FILES = (
    'etc/machine-id', 'etc/sysconfig/keyboard', 'etc/sysconfig/bootloader',
    'etc/sysconfig/boot', 'etc/securetty', 'etc/vconsole.conf',
    'usr/lib/systemd/system/x.service', 'etc/zypp/credentials.d/x',
    'etc/pacman.d/x', 'usr/bin/rpmdb', 'usr/bin/rpm', 'srv/x'
)


def make_tools(place: Path) -> None:
    """Put tools that only say what kiwi has to hear into a directory."""
    place.mkdir()
    for name, script in TOOLS.items():
        (place / name).write_text(f'#!/bin/sh\n{script}\n')
        (place / name).chmod(0o755)


def make_inputs(root: Path, manager: str, image: str, description: Path) -> None:
    """Add to a root what kiwi looks for, and write a description."""
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('x')
        (root / name).chmod(0o755)
    description.mkdir()
    (description / 'config.xml').write_text(DESCRIPTION.format(
        manager=manager, image=image, kind='apt-deb' if manager == 'apt' else 'rpm-md'
    ))
    (description / 'config.sh').write_text('true\n')
    os.system(f'tar -C {description} -cf {description}/a.tar config.sh')


def record(root: str, events: Dict[str, object]) -> Set[str]:
    """Collect the paths below a root that events of this process write."""
    seen: Set[str] = set()
    busy: List[bool] = []

    def hook(event: str, args: object) -> None:
        find = events.get(event)
        if find is None or busy:
            return
        busy.append(True)
        for write in find(args, root):  # type: ignore[operator]
            path = '/' + '/'.join(w for w in write.path.split('/') if w not in ('', '.'))
            if path.startswith(root + '/'):
                seen.add(path[len(root) + 1:])
        busy.clear()

    sys.addaudithook(hook)
    return seen


def main() -> None:
    """Run kiwi and write down what it did."""
    root, description, result = sys.argv[1:4]
    from kiwi_stackbuild_plugin.stackbuild import kiwi_call
    from kiwi_stackbuild_plugin.host.guard import _EVENTS
    target = str(Path(root).parents[1])
    call = kiwi_call.prepare_build(description, target, {
        '--profile': [], '--type': None, '--kiwi-file': None, '--logfile': None
    }, [])
    seen = record(root, dict(_EVENTS))
    try:
        kiwi_call.run(call)
    finally:
        Path(result).write_text('\n'.join(sorted(seen)) + '\n')


if __name__ == '__main__':
    main()
