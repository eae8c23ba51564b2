# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command and read the meters: seconds, peak memory, peak disk."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping, Optional, Sequence, Set, Tuple

_MEMORY_INTERVAL = 0.1
_DISK_INTERVAL = 0.3


class BenchFailed(Exception):
    """A measured command failed; the text has the end of what it said."""


@dataclass(frozen=True)
class Reading:
    """Meters of one finished command."""

    seconds: float
    #: processor time of the command and its children: other work on the
    #: machine disturbs it less than the seconds
    cpu: float
    #: peak of the memory of the command and all its children, in bytes
    memory: int
    #: peak growth of the watched directories, in bytes on disk
    disk: int
    output: str
    #: when it was started, in seconds of the clock
    began: float


def measure(
    argv: Sequence[str], watch: Sequence[str] = (),
    env: Optional[Mapping[str, str]] = None
) -> Reading:
    """Run a command to its end, with nothing else left to write to disk.

    :param watch: directories whose growth is temporary disk space
    :raises BenchFailed: exit status other than 0
    """
    os.sync()
    with tempfile.TemporaryFile() as told:
        before = disk_usage(watch)
        start, began = time.perf_counter(), time.time()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=told,
            stderr=subprocess.STDOUT, start_new_session=True, env=env
        )
        watcher = _Watcher(process.pid, watch)
        try:
            watcher.start()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            end_tree(process.pid)
            process.wait()
            raise
        finally:
            watcher.stop()
        told.seek(0)
        output = told.read().decode(errors='replace')
    if process.returncode:
        tail = '\n'.join(output.splitlines()[-15:])
        raise BenchFailed(f'{" ".join(argv)}: exit status {process.returncode}\n{tail}')
    return Reading(
        seconds, usage.ru_utime + usage.ru_stime, watcher.memory,
        max(0, watcher.disk - before), output, began
    )


class _Watcher:
    """Two threads that keep the peaks while a process tree lives."""

    def __init__(self, pid: int, watch: Sequence[str]) -> None:
        self.memory = 0
        self.disk = 0
        self._pid = pid
        self._watch = watch
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch_memory, daemon=True)
        ]
        if watch:
            self._threads.append(
                threading.Thread(target=self._watch_disk, daemon=True)
            )

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _watch_memory(self) -> None:
        known: Set[int] = {self._pid}
        for _ in self._looks(_MEMORY_INTERVAL):
            known = process_tree(known)
            self.memory = max(self.memory, sum(map(memory_of, known)))

    def _watch_disk(self) -> None:
        for _ in self._looks(_DISK_INTERVAL):
            self.disk = max(self.disk, disk_usage(self._watch))

    def _looks(self, interval: float) -> Iterator[None]:
        """Looking costs time itself: rest forty times as long as it took."""
        pause = interval
        while not self._done.wait(pause):
            start = time.perf_counter()
            yield
            pause = max(interval, 40 * (time.perf_counter() - start))


def empty_page_cache() -> None:
    """Make what is measured next read from disk, whoever read it before."""
    os.sync()
    try:
        with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as control:
            control.write('3')
    except OSError as issue:
        print(f'bench: the page cache stays as it is: {issue}', file=sys.stderr)


def process_tree(known: Set[int]) -> Set[int]:
    """Return the living ones of the known processes and their descendants."""
    parents: Dict[int, int] = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open(f'/proc/{name}/stat', encoding='ascii',
                          errors='replace') as stat:
                    # the command name in parentheses may hold anything
                    parents[int(name)] = int(stat.read().rpartition(')')[2].split()[1])
            except OSError:
                continue
    alive = known & parents.keys()
    while True:
        found = {pid for pid, parent in parents.items() if parent in alive}
        if found <= alive:
            return alive
        alive |= found


def memory_of(pid: int) -> int:
    """Resident bytes of a process, pages shared with others in parts (PSS)."""
    try:
        with open(f'/proc/{pid}/smaps_rollup', encoding='ascii') as rollup:
            for line in rollup:
                if line.startswith('Pss:'):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def disk_usage(directories: Sequence[str]) -> int:
    """Bytes that directories take on disk, each hard-linked file once."""
    seen: Set[Tuple[int, int]] = set()
    total = 0
    todo = list(directories)
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    stat = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif stat.st_nlink > 1:
                        if (stat.st_dev, stat.st_ino) in seen:
                            continue
                        seen.add((stat.st_dev, stat.st_ino))
                    total += stat.st_blocks * 512
        except OSError:
            continue    # files come and go while we look
    return total


def end_tree(pid: int) -> None:
    """End a process that we started and all its descendants."""
    for member in sorted(process_tree({pid}), reverse=True):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            pass
