# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tutorial as it is written, to the login of the machine it makes.

    test/vm/tutorial.py
    test/vm/tutorial.py --console COMMAND...     start a machine, wait for login
"""
from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY / 'test'), str(REPOSITORY / 'tools')]

from debian_root import kiwi_environment, stop_agent
from documents import page_script
from longrun import work_directory
from machine import MachineFailed, on_console
from storages import make_storage, remove_storage

PAGE = REPOSITORY / 'doc/source/tutorial.rst'


def walk(work: Path) -> int:
    """Run all commands of the page in one shell; return its exit status."""
    for name in ('gnupg', 'reader'):
        (work / name).mkdir(mode=0o700)
    (work / 'reader/kiwi_stackbuild_plugin').symlink_to(REPOSITORY)
    console = shlex.join([sys.executable, str(Path(__file__)), '--console'])
    script = (
        f'qemu-system-x86_64() {{ {console} qemu-system-x86_64 "$@"; }}\n'
        # kiwi's own cache is one for all builds of a machine, one at a time
        f'kiwi-ng() {{ command kiwi-ng --shared-cache-dir={work}/cache "$@"; }}\n'
        + page_script(PAGE, ('run', 'run-slow'))
    )
    environment = {
        **kiwi_environment(str(work)), **make_storage(work / 'storage'),
        'MANPAGER': 'cat'
    }
    try:
        return subprocess.run(
            ['bash'], input=script.encode(), cwd=work / 'reader',
            env=environment, check=False
        ).returncode
    finally:
        stop_agent(f'{work}/gnupg')
        remove_storage(work / 'storage')


def watch(command: List[str]) -> int:
    """Start a machine by a command, wait until it asks for a login."""
    log = Path(tempfile.gettempdir(), f'console-{os.getpid()}.log')
    try:
        with on_console(command, log) as machine:
            machine.wait_for('login: ', 600)
    except MachineFailed as issue:
        print(f'tutorial: {issue}', file=sys.stderr)
        return 1
    finally:
        log.unlink(missing_ok=True)
    print('The machine asks for a login.')
    return 0


def main() -> int:
    """Command line."""
    if sys.argv[1:2] == ['--console']:
        return watch(sys.argv[2:])
    with work_directory('tutorial') as work:
        return walk(work)


if __name__ == '__main__':
    sys.exit(main())
