# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine needs over and above the distribution: kernel, init, boot loader.

What Debian's maintainer scripts do in a new root is done by scripts of RPM.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import List

from stackos.contents import Package, write

#: as demo/vm/config.xml has them
WANTED = (
    'linux-image-cloud-amd64', 'systemd-sysv', 'udev', 'dracut', 'grub-pc',
    'e2fsprogs', 'kmod', 'login'
)
#: Debian has these on every machine, and no package says that it needs them
REQUIRED = {
    'systemd-sysv': (
        'coreutils', 'diffutils', 'findutils', 'gawk', 'grep', 'gzip', 'hostname',
        'libc-bin', 'login', 'mount', 'passwd', 'sed', 'tar', 'util-linux'
    ),
    'udev': ('passwd',),
}
#: Perl for links to kernels, a question about a disk, another maker of initrds
DROPPED = ('initramfs-tools', 'linux-base', 'ucf')
_KERNEL = re.compile(r'linux-image-(\d.*)')
_SCRIPTS = {
    'systemd': '%post\nsystemd-sysusers\n: > /etc/machine-id\n',
    # groups of its rules
    'udev': '%post\nfor group in input kvm render sgx; do\n'
            '    groupadd --system --force "$group"\ndone\n',
}
_PAM = {
    'auth': 'auth required pam_unix.so nullok\n',
    'account': 'account required pam_unix.so\n',
    'password': 'password required pam_unix.so sha512\n',
    'session': 'session required pam_unix.so\n',
    'session-noninteractive': 'session required pam_unix.so\n'
}


def script_of(name: str) -> str:
    """Return sections of the spec of a package of Debian's."""
    kernel = _KERNEL.fullmatch(name)
    if kernel:
        return f'%post\ndepmod {kernel[1]}\n'
    return _SCRIPTS.get(name, '')


def own_packages(work: Path) -> List[Package]:
    """Make the packages that are not Debian's: what libpam-runtime has by scripts.

    Who logs in needs it; it takes that name, so that "login" requires it.
    """
    pam = Package('libpam-runtime', work / 'pam', '99-1', 'noarch')
    for kind, text in _PAM.items():
        write(pam.tree / f'etc/pam.d/common-{kind}', text)
        pam.config.add(f'etc/pam.d/common-{kind}')
    write(pam.tree / 'etc/pam.d/other', ''.join(
        f'{kind} required pam_deny.so\n' for kind in _PAM if '-' not in kind
    ))
    return [pam]
