# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP proxy for tests that counts what passes, and can cut it off."""
from __future__ import annotations

import socket
import threading
import time
from typing import Callable, Optional


class Proxy:
    """Passes TCP on to a port of this host, counts the bytes, and can cut.

    :ivar cut_up: a connection ends when so many of its bytes went to the registry;
        None for never
    :ivar cut_down: the same for bytes from the registry
    :ivar cut_ready: before it ends, it hangs until this is true (a minute at most)
    """

    def __init__(self, address: str = '127.0.0.1') -> None:
        self.upstream = 0
        self.up = self.down = 0
        self.cut_up: Optional[int] = None
        self.cut_down: Optional[int] = None
        self.cut_ready: Callable[[], bool] = lambda: True
        self.pace = 0.0
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Begin to count anew and cut no more."""
        self.up = self.down = 0
        self.cut_up = self.cut_down = None
        self.cut_ready = lambda: True
        self.pace = 0.0

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(('127.0.0.1', self.upstream), 10)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for way, source, sink in (('up', client, server), ('down', server, client)):
                threading.Thread(
                    target=self._pump, args=(way, source, sink), daemon=True
                ).start()

    def _pump(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                with self._lock:
                    setattr(self, way, getattr(self, way) + len(data))
                limit = getattr(self, f'cut_{way}')
                if limit is not None and passed > limit:
                    self._wait_until_ready()
                    break
                time.sleep(self.pace)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + 60
        while not self.cut_ready() and time.monotonic() < end:
            time.sleep(0.05)
