# SPDX-License-Identifier: GPL-3.0-or-later
"""A root that kiwi can work in without a network: its tools note their calls."""
from __future__ import annotations

from pathlib import Path

from programs import add_noting, add_programs
from trees import make_root

_TOOLS = (
    'apt-get', 'dpkg', 'useradd', 'usermod', 'groupadd', 'ln', 'systemd-firstboot', 'chown'
)
EXTENSION = '''<image stashed="{base}" name="{name}">
  <repository type="apt-deb" alias="{name}"><source path="http://{name}.invalid/"/></repository>
  <packages type="image"><package name="{package}"/></packages>
</image>'''
SCRIPT = '#!/bin/sh\necho "{name}.sh of {role}" >>/log\n'


def make_noting_root(root: Path, name: str = 'small') -> Path:
    """Make a small root with a package manager that kiwi can call."""
    make_root(root, name)
    for directory in ('usr/share/zoneinfo', 'usr/sbin', 'etc/apt/sources.list.d'):
        (root / directory).mkdir(parents=True)
    add_noting(root, *_TOOLS)
    add_programs(root, 'grep', 'true')
    (root / 'etc/passwd').write_text('root:x:0:0::/root:/bin/sh\n')
    (root / 'etc/group').write_text('root:x:0:\n')
    (root / 'usr/sbin/ldconfig').write_text('')
    return root


def write_role(where: Path, role: str = 'web', base: str = 'small') -> str:
    """Write an extension with a package, an overlay file and two scripts."""
    (where / 'root/etc').mkdir(parents=True)
    (where / f'root/etc/{role}').write_text(f'{role}\n')
    (where / 'config.xml').write_text(EXTENSION.format(base=base, name=role, package=role))
    for name in ('config', 'images'):
        (where / f'{name}.sh').write_text(SCRIPT.format(name=name, role=role))
        (where / f'{name}.sh').chmod(0o755)
    return str(where)
