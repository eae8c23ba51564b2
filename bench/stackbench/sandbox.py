# SPDX-License-Identifier: GPL-3.0-or-later
"""A place of its own for each party: storage, temporary and state directories.

Commands run in a mount namespace where /var/tmp, /tmp, /run/libpod and
/dev/shm are the sandbox's own. The peers keep their archives below /var/tmp:
so nothing is shared, and nothing of the user's is touched.
"""
from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from stackbench.meter import Reading, measure

_ENTER = '''set -e
base=$1; shift
for pair in tmp:/tmp run/libpod:/run/libpod shm:/dev/shm vartmp:/var/tmp; do
    mkdir -p "${pair#*:}"
    mount --bind "$base/${pair%%:*}" "${pair#*:}"
done
exec "$@"
'''
_STORAGE = '''[storage]
driver = "overlay"
graphroot = "{0}/storage"
runroot = "{0}/run/containers"
'''


@dataclass(frozen=True)
class Sandbox:
    """Directories of one party; path must not be below /tmp or /var/tmp."""

    path: str

    @property
    def temporary(self) -> Tuple[str, ...]:
        """What a command may use as temporary space."""
        return (f'{self.path}/tmp', f'{self.path}/vartmp')

    @property
    def environment(self) -> Dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if k != 'TMPDIR'},
            'CONTAINERS_STORAGE_CONF': f'{self.path}/storage.conf',
            'KIWI_STASH_CACHE': f'{self.path}/indexes',
            'LC_ALL': 'C.UTF-8'
        }

    def command(self, argv: Sequence[str]) -> List[str]:
        """Return the command line that runs argv inside."""
        return [
            'unshare', '--mount', '--propagation', 'private',
            'sh', '-c', _ENTER, 'sandbox', self.path, *argv
        ]

    def run(self, argv: Sequence[str]) -> Reading:
        """Run and measure a command inside."""
        return measure(self.command(argv), self.temporary, self.environment)


def make_sandbox(path: str) -> Sandbox:
    """Return a sandbox with nothing in it."""
    remove_sandbox(Sandbox(path))
    for name in ('tmp', 'vartmp', 'run/libpod', 'run/containers', 'shm', 'storage'):
        os.makedirs(f'{path}/{name}')
    for name in ('tmp', 'vartmp', 'shm'):
        os.chmod(f'{path}/{name}', 0o1777)
    with open(f'{path}/storage.conf', 'w', encoding='utf-8') as conf:
        conf.write(_STORAGE.format(path))
    return Sandbox(path)


def remove_sandbox(sandbox: Sandbox) -> None:
    """Remove a sandbox; its mounts ended with the commands that ran in it."""
    shutil.rmtree(sandbox.path, ignore_errors=True)
