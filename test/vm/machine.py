# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine in QEMU, talked to over its serial console."""
from __future__ import annotations

import os
import re
import select
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

_UEFI_CODE = (
    '/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_CODE_4M.fd',
    '/usr/share/edk2/ovmf/OVMF_CODE.fd', '/usr/share/qemu/ovmf-x86_64-code.bin'
)
_ESCAPES = re.compile(r'\x1b(\[[0-9;?]*[ -/]*[@-~]|[()].|[=>78cM])')


class MachineFailed(Exception):
    """The machine did not say what was waited for; the text has its last words."""


class Machine:
    """A running machine; what it says on the console is kept and logged."""

    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, accelerator: str
    ) -> None:
        self.accelerator = accelerator
        self._process = process
        self._log = log
        self._seen = ''

    def wait_for(self, pattern: str, seconds: float) -> str:
        """Read the console until a pattern comes, return what came before it.

        :param pattern: regular expression, looked for in what was not read yet
        :raises MachineFailed: it does not come in time, or the machine ends
        """
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self._seen)
            if found:
                before = self._seen[:found.start()]
                self._seen = self._seen[found.end():]
                return before
            if not self._read(end - time.monotonic()):
                last = '\n'.join(self._seen.splitlines()[-15:])
                raise MachineFailed(
                    f'{pattern!r} did not come in {seconds:.0f} s; the last lines:\n{last}'
                )

    def send(self, line: str) -> None:
        """Type a line."""
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b'\n')
        self._process.stdin.flush()

    def run(self, command: str, seconds: float = 60) -> str:
        """Run a command in the shell that is logged in, return what it printed.

        :raises MachineFailed: exit status not 0, or too slow
        """
        # the words that mark the output are not those that are typed
        self.send(f'echo "BE"GIN; {command}; echo "E"ND=$?')
        self.wait_for(r'(?m)^BEGIN\n', seconds)
        printed = self.wait_for(r'(?m)^END=', seconds)
        status = self.wait_for(r'\n', seconds)
        if status != '0':
            raise MachineFailed(f'{command}: exit status {status}: {printed}')
        return printed.strip()

    def _read(self, seconds: float) -> bool:
        assert self._process.stdout
        out = self._process.stdout.fileno()
        if seconds <= 0 or not select.select([out], [], [], seconds)[0]:
            return False
        data = os.read(out, 65536)
        with self._log.open('ab') as log:
            log.write(data)
        # an escape may come in two parts: all that is unread is cleaned again
        text = self._seen + data.decode(errors='replace').replace('\r', '')
        self._seen = _ESCAPES.sub('', text)
        return bool(data)


@contextmanager
def booted(disk: Path, log: Path, uefi: bool = False) -> Iterator[Machine]:
    """Start a machine from a raw disk, which is not written to; end it after.

    The first accelerator with which the machine says anything is used: KVM
    can be there and not work, as on machines that are virtual themselves.

    :param log: file that gets all that comes on the console
    :raises MachineFailed: the machine stays silent
    """
    firmware = _uefi_code() if uefi else None
    for accelerator in ('kvm', 'tcg'):
        if accelerator == 'kvm' and not os.access('/dev/kvm', os.R_OK | os.W_OK):
            continue
        command = [
            *_command(accelerator, firmware), '-snapshot',
            '-drive', f'file={disk},format=raw,if=virtio', '-serial', 'stdio',
            '-monitor', 'none'
        ]
        with on_console(command, log, accelerator) as machine:
            try:
                machine.wait_for(r'(?=\S)', 20 if accelerator == 'kvm' else 300)
            except MachineFailed:
                if accelerator == 'tcg':
                    raise
                continue
            yield machine
            return


@contextmanager
def on_console(
    command: List[str], log: Path, accelerator: str = 'tcg'
) -> Iterator[Machine]:
    """Start a machine whose console is the command's stdin and stdout."""
    with log.open('ab') as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        yield Machine(process, log, accelerator)
    finally:
        process.kill()
        process.communicate()


def _command(accelerator: str, firmware: Optional[str]) -> List[str]:
    command = [
        'qemu-system-x86_64', '-machine', f'pc,accel={accelerator}', '-m', '1024',
        '-display', 'none', '-no-reboot', '-nic', 'none'
    ]
    if firmware:
        command += ['-drive', f'if=pflash,format=raw,readonly=on,file={firmware}']
    return command


def _uefi_code() -> str:
    for name in _UEFI_CODE:
        if os.path.exists(name):
            return name
    raise MachineFailed('no UEFI firmware for QEMU is installed (ovmf)')
