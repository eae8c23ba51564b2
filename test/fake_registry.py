# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that says whatever a test wants, over plain HTTP."""
from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Tuple, Union

MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
Reply = Union[bytes, Tuple[int, bytes]]


class FakeRegistry:
    """Answers paths below /v2/ with what is in replies; anything else is not there.

    A reply is a body, or status and body.
    """

    def __init__(self) -> None:
        self.replies: Dict[str, Reply] = {'': b'{}'}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            """Looks replies up."""

            def do_GET(self) -> None:
                self._answer(True)

            def do_HEAD(self) -> None:
                self._answer(False)

            def _answer(self, with_body: bool) -> None:
                path = self.path.partition('?')[0][len('/v2/'):]
                reply = registry.replies.get(path, (404, b'{"errors": []}'))
                status, body = reply if isinstance(reply, tuple) else (200, reply)
                self.send_response(status)
                kind = MANIFEST if '/manifests/' in path else 'application/json'
                self.send_header('Content-Type', kind)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.host = f'127.0.0.1:{self._server.server_address[1]}'
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def offer(self, name: str, config: Any, tags: Any = ('v1',), **manifest: Any) -> None:
        """Offer an image of any config, its manifest with any other fields."""
        data = config if isinstance(config, bytes) else json.dumps(config).encode()
        digest = f'sha256:{hashlib.sha256(data).hexdigest()}'
        text = json.dumps({
            'schemaVersion': 2, 'mediaType': MANIFEST, 'config': {
                'mediaType': 'application/vnd.oci.image.config.v1+json', 'digest': digest,
                'size': len(data)
            }, 'layers': [], **manifest
        }).encode()
        self.replies[f'{name}/tags/list'] = json.dumps({'name': name, 'tags': tags}).encode()
        self.replies[f'{name}/manifests/v1'] = text
        self.replies[f'{name}/manifests/sha256:{hashlib.sha256(text).hexdigest()}'] = text
        self.replies[f'{name}/blobs/{digest}'] = data
