# SPDX-License-Identifier: GPL-3.0-or-later
"""What the distribution is made of, and its packages that are not Debian's."""
from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Set

WANTED = (
    'bash', 'coreutils', 'sed', 'grep', 'gawk', 'gzip', 'xz-utils', 'tar',
    'findutils', 'diffutils', 'file', 'hostname', 'util-linux', 'libc-bin',
    'ca-certificates', 'passwd', 'mount', 'rpm', 'dnf', 'zypper', 'gpgv', 'gpg',
    'gpg-agent', 'htop', 'tree', 'less', 'vim-tiny', 'nano'
)
#: not in the distribution, and nothing asks for them: Debian's own machinery,
#: what only builds packages, what is replaced by packages of ours
DROPPED = (
    'adduser', 'apt', 'base-files', 'base-passwd', 'debconf', 'debconf-2.0',
    'debianutils', 'debugedit', 'dirmngr', 'dpkg', 'gnupg', 'gpg-wks-client',
    'gpg-wks-server', 'gpgsm', 'init-system-helpers', 'libpam-runtime',
    'lsb-base', 'media-types', 'perl', 'perl-base', 'python3-dbus',
    'sysvinit-utils', 'usrmerge'
)
LEFT_OUT = re.compile(
    r'usr/share/(doc|man|info|locale|lintian|bug|doc-base|gnome|icons|'
    r'applications|pixmaps|menu|bash-completion|zsh)/'
)
#: links that Debian's alternatives make, and a shell
LINKS: Dict[str, Dict[str, str]] = {
    'gawk': {'usr/bin/awk': 'gawk'},
    'bash': {'usr/bin/sh': 'bash'},
    'vim-tiny': {'usr/bin/vi': 'vim.tiny'},
}
PROVIDED = {
    'bash': ('/bin/sh', '/bin/bash', '/usr/bin/sh'),
    'libc-bin': ('/sbin/ldconfig', '/usr/sbin/ldconfig'),
    'patterns-stackos-tools': ('pattern() = tools', 'pattern-visible()'),
}
SCRIPTS = {'libc-bin': '%post -p /sbin/ldconfig'}
#: directories that only "filesystem" has
BASE_DIRS = (
    'boot', 'dev', 'etc', 'etc/opt', 'etc/profile.d', 'etc/skel', 'etc/sysconfig',
    'home', 'media', 'mnt', 'opt', 'proc', 'root:700', 'run', 'srv', 'sys',
    'tmp:1777', 'usr', 'usr/bin', 'usr/games', 'usr/include', 'usr/lib',
    'usr/lib64', 'usr/local', 'usr/local/bin', 'usr/sbin', 'usr/share',
    'usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/src', 'var',
    'var/cache', 'var/lib', 'var/log', 'var/opt', 'var/spool', 'var/tmp:1777'
)
_BASE_LINKS = {
    'bin': 'usr/bin', 'sbin': 'usr/sbin', 'lib': 'usr/lib', 'lib64': 'usr/lib64',
    'var/run': '../run', 'var/lock': '../run/lock'
}
_BASE_FILES = {
    'passwd': 'root:x:0:0:root:/root:/bin/bash\n'
              'daemon:x:1:1:daemon:/:/usr/sbin/nologin\n'
              'nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n',
    'group': 'root:x:0:\ndaemon:x:1:\nadm:x:4:\ntty:x:5:\nmail:x:8:\n'
             'shadow:x:42:\nutmp:x:43:\nusers:x:100:\nnogroup:x:65534:\n',
    'shadow': 'root:*:19000:0:99999:7:::\n',
    'shells': '/bin/sh\n/bin/bash\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n',
    'profile': 'PATH=/usr/local/bin:/usr/sbin:/usr/bin\n'
}
_OS_RELEASE = '''NAME="StackOS"
ID=stackos
ID_LIKE="{like}"
VERSION_ID="1"
VERSION_CODENAME=pebble
PRETTY_NAME="StackOS 1"
'''
#: groups of packages, for dnf
COMPS = '''<?xml version="1.0" encoding="utf-8"?>
<comps>
  <group>
    <id>tools</id>
    <name>Tools</name>
    <uservisible>true</uservisible>
    <packagelist>
      <packagereq type="mandatory">tree</packagereq>
      <packagereq type="default">less</packagereq>
      <packagereq type="default">nano</packagereq>
    </packagelist>
  </group>
</comps>
'''


class RepositoryFailed(Exception):
    """The repository cannot be made; the text is what a tool said."""


@dataclass
class Package:
    """One package to be made.

    :param tree: its files
    :param requires: as Debian writes it
    :param provides: as Debian writes it
    :param recommends: names of packages
    :param config: paths of its configuration files
    :param script: sections of the spec
    """

    name: str
    tree: Path
    version: str = '1-1'
    arch: str = platform.machine()
    requires: List[str] = field(default_factory=list)
    provides: List[str] = field(default_factory=list)
    recommends: List[str] = field(default_factory=list)
    config: Set[str] = field(default_factory=set)
    script: str = ''


def run(*words: object, cwd: str = '/') -> str:
    """Run a tool; its output.

    :raises RepositoryFailed: with what it complains of
    """
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        told = '\n'.join(done.stdout.splitlines()[-25:])
        raise RepositoryFailed(f'{" ".join(command)[:500]}: {told}')
    return done.stdout


def own_packages(work: Path, like: str) -> List[Package]:
    """Make the packages that are not Debian's.

    :param like: ID_LIKE in os-release
    """
    base = Package('filesystem', work / 'filesystem', arch='noarch')
    for entry in BASE_DIRS:
        name, _, mode = entry.partition(':')
        (base.tree / name).mkdir(parents=True)
        (base.tree / name).chmod(int(mode or '755', 8))
    for name, target in _BASE_LINKS.items():
        (base.tree / name).symlink_to(target)
    for name, text in _BASE_FILES.items():
        write(base.tree / 'etc' / name, text)
        base.config.add(f'etc/{name}')
    (base.tree / 'etc/shadow').chmod(0o600)
    release = Package('stackos-release', work / 'release', arch='noarch')
    write(release.tree / 'usr/lib/os-release', _OS_RELEASE.format(like=like))
    (release.tree / 'etc').mkdir()
    (release.tree / 'etc/os-release').symlink_to('../usr/lib/os-release')
    release.provides = ['system-release (= 1)', 'distribution-release']
    return [base, release, _demo(work, 1), _demo(work, 2), _pattern(work)]


def _pattern(work: Path) -> Package:
    """The named collection "tools", as zypper has them; dnf reads COMPS."""
    made = Package(
        'patterns-stackos-tools', work / 'pattern', arch='noarch', requires=['tree'],
        recommends=['less', 'nano']
    )
    (made.tree / 'usr').mkdir(parents=True)
    return made


def _demo(work: Path, version: int) -> Package:
    """A leaf with what a package can have: config, setuid, script, empty file."""
    made = Package(
        'stackdemo', work / f'demo-{version}', f'{version}.0-1', 'noarch', ['bash'],
        config={'etc/stackdemo.conf'},
        script='%post\necho "stackdemo $1" >> /var/lib/stackdemo/log\n'
               '%preun\n[ "$1" != 0 ] || rm -f /var/lib/stackdemo/log\n'
    )
    write(made.tree / 'etc/stackdemo.conf', f'version = {version}\n')
    write(made.tree / 'usr/bin/stackdemo', f'#!/bin/sh\necho {version}\n')
    (made.tree / 'usr/bin/stackdemo').chmod(0o4755)
    write(made.tree / f'usr/share/stackdemo/only-in-{version}', '')
    (made.tree / 'var/lib/stackdemo').mkdir(parents=True, mode=0o750)
    return made


def write(path: Path, text: str) -> None:
    """Write a file, with the directories that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
