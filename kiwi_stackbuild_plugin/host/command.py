# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a tool: one wrapper, a typed result, exit status and stderr in the error."""
from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Iterator, Mapping, Optional, Sequence

from kiwi_stackbuild_plugin.host.durable import open_new
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.mounts import mount_points

log = logging.getLogger('kiwi')

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_SIG_DFL = None
_TOOL_FILES: ContextVar[str] = ContextVar('tool_files', default='')


@dataclass(frozen=True)
class CommandResult:
    """What a finished tool said."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def tool_files(directory: str) -> Iterator[None]:
    """Have the tools of a block make their temporary files in a directory.

    podman and skopeo leave them behind when they are killed; skopeo does not
    look at TMPDIR.
    """
    token = _TOOL_FILES.set(directory)
    try:
        yield
    finally:
        _TOOL_FILES.reset(token)


def require_tools(names: Sequence[str]) -> None:
    """Check that tools are installed.

    :raises KiwiStashToolFailed: naming all that are missing
    """
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        raise KiwiStashToolFailed(
            f'{" and ".join(missing)}: not found in PATH',
            f'install the package{"s" if len(missing) > 1 else ""} '
            + ' '.join(missing)
        )


def run_command(
    argv: Sequence[str], *, check: bool = True,
    timeout: Optional[float] = None, env: Optional[Mapping[str, str]] = None
) -> CommandResult:
    """Run a tool to its end and return what it said.

    The tool runs in a session of its own, which is ended as a whole when it
    takes too long or when we are interrupted; if we are killed, so is it.

    :param argv: tool and arguments, no secrets (they show in /proc)
    :param check: raise on a non-zero exit status
    :param timeout: seconds, None for no limit
    :param env: variables added to ours
    :raises KiwiStashToolFailed: missing, exit status not 0, or too slow
    """
    return RunningCommand(argv, env).finish(check=check, timeout=timeout)


class RunningCommand:
    """A tool that runs while we do something else; see run_command."""

    def __init__(
        self, argv: Sequence[str], env: Optional[Mapping[str, str]] = None
    ) -> None:
        log.debug('run: %s', ' '.join(argv))
        self._argv = argv
        self._process = _start(argv, env)

    def finish(
        self, *, check: bool = True, timeout: Optional[float] = None
    ) -> CommandResult:
        """Wait for its end and return what it said.

        :raises KiwiStashToolFailed: exit status not 0, or too slow
        """
        process = self._process
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as issue:
            _kill_group(process)
            raise KiwiStashToolFailed(
                f'{_brief(self._argv)}: no end after {timeout:g} seconds, ended by us',
                'a longer limit: set KIWI_STASH_TIMEOUT (seconds)'
            ) from issue
        except BaseException:
            _kill_group(process)
            raise
        result = CommandResult(
            process.returncode,
            out.decode(errors='surrogateescape'),
            err.decode(errors='surrogateescape')
        )
        if check and result.returncode:
            raise KiwiStashToolFailed(
                f'{_brief(self._argv)}: {reason_of(result)}'
            )
        return result

    def close(self) -> None:
        """End it, if nobody waited for it."""
        if self._process.returncode is None:
            _kill_group(self._process)


class LoggedCommand:
    """A command in a session of its own whose output goes to a file.

    :param argv: program and arguments, no secrets (they show in /proc)
    :param log_file: written anew, through no link
    :raises OSError: if that cannot be done
    """

    def __init__(self, argv: Sequence[str], log_file: str) -> None:
        log.debug('run: %s', ' '.join(argv))
        log_fd = open_new(log_file)
        try:
            with open(log_fd, 'wb') as out:
                self._process = subprocess.Popen(
                    list(argv), stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT, start_new_session=True,
                    # two system calls, of a library that is loaded already
                    preexec_fn=_interrupted_with_parent  # noqa: PLW1509
                )
        except OSError as issue:
            raise KiwiStashToolFailed(
                f'{argv[0]}: cannot be run: {issue.strerror}'
            ) from issue

    def poll(self) -> Optional[int]:
        """Return the exit status, None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Send what Ctrl-C on a terminal sends, to all of the session."""
        self._send(signal.SIGINT)

    def kill(self) -> None:
        """End all of the session by force."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                pass


def remove_tree(path: str) -> None:
    """Remove a directory with all below it, however deep it is.

    :raises OSError: if something stays; nothing goes if something is mounted there
    """
    mounts = mount_points(path)
    if mounts:
        raise OSError(errno.EBUSY, f'{os.fsdecode(mounts[0])!r} is mounted there', path)
    try:
        shutil.rmtree(path)
    except RecursionError:
        run_command(['rm', '-rf', '--one-file-system', '--', path])


def _start(
    argv: Sequence[str], env: Optional[Mapping[str, str]]
) -> subprocess.Popen[bytes]:
    directory = _TOOL_FILES.get()
    words, variables = list(argv), dict(env or {})
    if directory:
        variables.setdefault('TMPDIR', directory)
        if words[0] == 'skopeo':
            words.append(f'--tmpdir={directory}')
    try:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
            # two system calls, of a library that is loaded already
            preexec_fn=_die_with_parent,  # noqa: PLW1509
            env={**os.environ, **variables}
        )
    except OSError as issue:
        raise KiwiStashToolFailed(
            f'{argv[0]}: cannot be run: {issue.strerror}',
            f'install the package {argv[0]}' if issue.errno == errno.ENOENT else ''
        ) from issue


def _die_with_parent() -> None:
    # ignored by us at our end, or by who started us: a tool would ignore it, too
    _LIBC.signal(signal.SIGTERM, _SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _interrupted_with_parent() -> None:
    """Let kiwi, which takes its mounts back at SIGINT only, get that."""
    _LIBC.signal(signal.SIGINT, _SIG_DFL)
    _LIBC.signal(signal.SIGTERM, _SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    except ProcessLookupError:
        process.communicate()


def _brief(argv: Sequence[str]) -> str:
    return ' '.join(word for word in argv[:3] if not word.startswith('-'))


def last_line(text: str) -> str:
    """Return the last line that says something: tools put the cause there."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return 'no message'
    # podman and skopeo log in the form of logrus
    logged = re.search(r'level=\w+ msg="(.*)"$', lines[-1])
    return logged[1].replace('\\"', '"') if logged else lines[-1]


def reason_of(result: CommandResult) -> str:
    """Return why a tool failed: what it said last, and its exit status."""
    told = last_line(result.stderr)
    if result.returncode < 0:
        return f'ended by signal {-result.returncode}: {told}'
    return f'{told} (exit status {result.returncode})'
