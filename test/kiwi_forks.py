# SPDX-License-Identifier: GPL-3.0-or-later
"""kiwi-ng without its start: a server that has imported kiwi forks for each call.

Importing kiwi 11 takes four fifths of the time of a small stash, and the tests call it some
thousand times. A call is a process of its own with its arguments, environment, directory
and streams; nothing that one does is seen by the next.
"""
from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, Dict, List, NoReturn, Optional, Sequence

#: what an interpreter reads as it starts: a call that changes these needs one of its own
AT_START = ('PYTHON', 'LC_', 'LANG', 'TZ')
#: what a call imports besides kiwi's tasks; not all of it is there in each kiwi
_IMPORTED = (
    'cerberus', 'lxml.isoschematron', 'progressbar', 'unittest.mock', 'xml.etree.ElementTree',
    'pydantic.type_adapter', 'rich.console', 'typer._adapters', 'typer.rich_utils',
    'kiwi.kiwi', 'kiwi.markup.any', 'kiwi.markup.xml', 'kiwi.system.setup',
    'kiwi.system.prepare', 'kiwi.xml_description', 'kiwi.xml_parse',
    'kiwi_stackbuild_plugin.stash.stash', 'kiwi_stackbuild_plugin.stash.stash_list',
    'kiwi_stackbuild_plugin.stash.export', 'kiwi_stackbuild_plugin.stackbuild.stackbuild',
    'kiwi_stackbuild_typer_plugin.cli'
)


class KiwiForks:
    """The server of one kiwi-ng, and its calls."""

    def __init__(self, kiwi: str) -> None:
        self._kiwi = kiwi
        self._environment = dict(os.environ)
        self._socket: Optional[socket.socket] = None

    def can_run(self, environment: Dict[str, str]) -> bool:
        """Tell if a call with this environment needs no interpreter of its own."""
        return _at_start(environment) == _at_start(self._environment)

    def run(
        self, argv: Sequence[str], environment: Dict[str, str], cwd: Optional[str] = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kiwi-ng with these arguments, no input; the result as of subprocess.run."""
        if self._socket is None:
            self._socket = self._start()
        request = {'argv': list(argv), 'env': environment, 'cwd': cwd or os.getcwd()}
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, \
                tempfile.TemporaryFile() as err, open(os.devnull, 'rb') as nothing:
            asked.write(json.dumps(request).encode('utf-8', 'surrogateescape'))
            asked.flush()
            ours, theirs = os.pipe()
            with open(ours, 'rb') as reply:
                socket.send_fds(self._socket, [b'.'], [
                    stream if isinstance(stream, int) else stream.fileno()
                    for stream in (asked, nothing, out, err, theirs)
                ])
                os.close(theirs)
                status = int(reply.read())
            return subprocess.CompletedProcess(
                argv, status, _text(out), _text(err)
            )

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = subprocess.Popen(
                [Path(self._kiwi).parent / 'python', __file__, self._kiwi, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        atexit.register(_stop, ours, server)
        return ours


def _stop(calls: socket.socket, server: subprocess.Popen[bytes]) -> None:
    calls.close()
    server.wait()


def _text(stream: BinaryIO) -> str:
    stream.seek(0)
    with io.TextIOWrapper(stream, encoding='utf-8') as text:
        return text.read()


def _at_start(environment: Dict[str, str]) -> Dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(AT_START)
    }


def _serve(calls: socket.socket) -> None:
    """Fork for each call until the socket is closed; return in the process of a call."""
    while True:
        said, streams, _, _ = socket.recv_fds(calls, 1, 5)
        if not said:
            os._exit(0)
        handler = os.fork()
        if handler == 0:
            calls.close()
            _handle(streams)
            return
        for stream in streams:
            os.close(stream)
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _handle(streams: List[int]) -> None:
    """Return in the process of the call; its parent waits and tells the exit status."""
    asked, stdin, stdout, stderr, reply = streams
    call = os.fork()
    if call:
        for stream in (stdin, stdout, stderr):
            os.close(stream)
        status = os.waitpid(call, 0)[1]
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        os.write(reply, str(code).encode())
        os._exit(0)
    for number, stream in enumerate((stdin, stdout, stderr)):
        os.dup2(stream, number)
        os.close(stream)
    os.close(reply)
    with open(asked, 'rb') as stream:
        stream.seek(0)
        request = json.loads(stream.read().decode('utf-8', 'surrogateescape'))
    os.environ.clear()
    os.environ.update(request['env'])
    os.chdir(request['cwd'])
    tempfile.tempdir = None
    sys.argv = request['argv']


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        # the call imports it by itself, or does without
        pass


def _main(kiwi: str, number: str) -> NoReturn:
    sys.path.pop(0)
    for task in metadata.distributions():
        for entry in task.entry_points:
            if entry.group == 'kiwi.tasks':
                _import(entry.value)
    for name in _IMPORTED:
        _import(name)
    sys.argv = [kiwi]
    _serve(socket.socket(fileno=int(number)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # what our tasks do with the arguments as they are imported
    sys.modules['kiwi_stackbuild_plugin.tasks.output'].keep_stdout_clean()
    sys.exit(sys.modules['kiwi.kiwi'].main())


if __name__ == '__main__':
    _main(*sys.argv[1:])
