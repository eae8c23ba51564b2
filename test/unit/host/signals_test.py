# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end us and those that must not, closed streams, a lost directory."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashSystemFailed
from kiwi_stackbuild_plugin.host.signals import clean_exit

WAITING = '''
import sys
from kiwi_stackbuild_plugin.host.signals import clean_exit
with clean_exit():
    print('ready', flush=True)
    sys.stdin.readline()
print('done')
'''
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('ignored', [False, True])
def test_signal_that_is_ignored_stays_so(number: signal.Signals, ignored: bool) -> None:
    """nohup ignores SIGHUP; a shell SIGINT, for a job in the background."""
    how = signal.SIG_IGN if ignored else signal.SIG_DFL
    with subprocess.Popen(
        [sys.executable, '-c', WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in SIGNALS]
        and signal.signal(number, how)
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b'ready\n'
        process.send_signal(number)
        said, _ = process.communicate(b'go on\n', timeout=60)
    assert process.returncode == (0 if ignored else 128 + number)
    assert said == (b'done\n' if ignored else b'')


def test_tool_does_not_ignore_what_we_ignore() -> None:
    """We end it by SIGTERM, also when we were started to ignore that."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        told = run_command(['grep', '^SigIgn', '/proc/self/status']).stdout
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not int(told.split()[1], 16) & 1 << signal.SIGTERM - 1


CLOSED = '''
import os
from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.host.signals import clean_exit
with clean_exit():
    fd = os.open('.', os.O_RDONLY)
    assert fd > 2
    paths = [entry.path for entry in scan_ahead(fd)]
    assert run_command(['echo', 'heard']).stdout == 'heard\\n'
    with open('found', 'wb') as found:
        found.write(b' '.join(paths))
'''


@pytest.mark.parametrize('closed', ['<&-', '>&-', '2>&-', '<&- >&- 2>&-', '>/dev/full'])
def test_streams_that_are_closed(tmp_path: Path, closed: str) -> None:
    (tmp_path / 'file').touch()
    subprocess.run(
        ['sh', '-c', f'exec "$0" -c "$1" {closed}', sys.executable, CLOSED],
        cwd=tmp_path, check=True
    )
    assert (tmp_path / 'found').read_bytes() == b'file'


@pytest.mark.parametrize('codec', ['ascii', 'iso-8859-1'])
def test_what_the_locale_has_no_character_for_is_escaped(codec: str) -> None:
    told = subprocess.run([
        sys.executable, '-c', 'from kiwi_stackbuild_plugin.host.signals import clean_exit\n'
        'with clean_exit(): print("\\u20ac")'
    ], env={**os.environ, 'PYTHONIOENCODING': codec}, stdout=subprocess.PIPE, check=True)
    assert told.stdout == b'\\u20ac\n'


def test_current_directory_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'gone').mkdir()
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    with pytest.raises(KiwiStashSystemFailed, match='the current directory: No such'), \
            clean_exit():
        os.path.abspath('x')
