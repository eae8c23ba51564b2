# SPDX-License-Identifier: GPL-3.0-or-later
"""A real registry for tests: TLS by a CA of its own, logins, counted traffic."""
from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set

from proxy import Proxy
from storages import Storage, remove_storage

SERVER = 'docker-registry'
USER = 'kiwi'


class Registry:
    """docker-registry behind a proxy; host is what references begin with."""

    def __init__(self, where: Path, address: str = '127.0.0.1') -> None:
        self.where = where
        self.password = secrets.token_hex(12)
        self.proxy = Proxy(address)
        self.host = f'{address}:{self.proxy.port}'
        where.mkdir()
        self.cert_dir = where / 'certs'
        self.cert_dir.mkdir()
        make_certificates(where, self.cert_dir / 'ca.crt', address)
        (where / 'htpasswd').write_text(f'{USER}:{bcrypt(self.password)}\n')
        self.authfile = where / 'auth.json'
        write_logins(self.authfile, self.host, USER, self.password)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.start()

    @property
    def options(self) -> List[str]:
        """Options of the plugin's commands that reach this registry."""
        return [f'--authfile={self.authfile}', f'--cert-dir={self.cert_dir}']

    def start(self) -> None:
        """Start the server, on another port each time; the proxy's stays."""
        port = free_port()
        config = self.where / 'config.yml'
        config.write_text(json.dumps({  # JSON is YAML
            'version': 0.1, 'log': {'level': 'error', 'accesslog': {'disabled': True}},
            'storage': {
                'filesystem': {'rootdirectory': str(self.where / 'data')},
                'delete': {'enabled': True}
            },
            'http': {
                'addr': f'127.0.0.1:{port}', 'tls': {
                    'certificate': str(self.where / 'server.crt'),
                    'key': str(self.where / 'server.key')
                }
            },
            'auth': {'htpasswd': {
                'realm': 'test', 'path': str(self.where / 'htpasswd')
            }}
        }))
        with open(self.where / 'log', 'ab') as log:
            self._process = subprocess.Popen(
                [SERVER, 'serve', str(config)], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL
            )
        self.proxy.upstream = port
        wait_for_port(port)

    def stop(self) -> None:
        """End the server; what it stores stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End server and proxy."""
        self.stop()
        self.proxy.close()

    def stored_bytes(self) -> int:
        """Return the bytes of all blobs the registry has."""
        return sum(
            path.stat().st_size
            for path in (self.where / 'data').glob('docker/registry/v2/blobs/*/*/*/data')
        )

    def blob(self, digest: str) -> Path:
        """Return the file of a blob."""
        plain = digest.partition(':')[2]
        return self.where / (
            f'data/docker/registry/v2/blobs/sha256/{plain[:2]}/{plain}/data'
        )

    def request(
        self, path: str, data: Optional[bytes] = None, kind: str = '*/*'
    ) -> bytes:
        """Get or put something below /v2/, past the proxy."""
        login = base64.b64encode(f'{USER}:{self.password}'.encode()).decode()
        request = urllib.request.Request(
            f'https://127.0.0.1:{self.proxy.upstream}/v2/{path}', data=data,
            method='GET' if data is None else 'PUT', headers={
                'Authorization': f'Basic {login}', 'Accept': kind,
                **({} if data is None else {'Content-Type': kind})
            }
        )
        context = ssl.create_default_context(cafile=str(self.cert_dir / 'ca.crt'))
        context.check_hostname = False
        with urllib.request.urlopen(request, context=context) as answer:
            body: bytes = answer.read()
            return body

    def manifest(self, name: str, tag: str = 'latest') -> Dict[str, Any]:
        """Return a manifest."""
        found: Dict[str, Any] = json.loads(self.request(
            f'{name}/manifests/{tag}',
            kind='application/vnd.oci.image.manifest.v1+json'
        ))
        return found

    def has(self, name: str, tag: str = 'latest') -> bool:
        """Tell whether there is a manifest of a name."""
        try:
            self.manifest(name, tag)
        except urllib.error.HTTPError:
            return False
        return True


def make_certificates(where: Path, authority: Path, address: str) -> None:
    """Make a CA, and a certificate by it for an address."""
    def openssl(*words: str) -> None:
        subprocess.run(
            ['openssl', *words], cwd=where, check=True, capture_output=True
        )
    key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    openssl(
        'req', '-x509', *key, '-keyout', 'ca.key', '-out', str(authority),
        '-days', '2', '-subj', '/CN=CA of a test'
    )
    openssl(
        'req', *key, '-keyout', 'server.key', '-out', 'server.csr',
        '-subj', f'/CN={address}'
    )
    (where / 'extensions').write_text(f'subjectAltName=IP:{address},IP:127.0.0.1\n')
    openssl(
        'x509', '-req', '-in', 'server.csr', '-CA', str(authority), '-CAkey', 'ca.key',
        '-CAcreateserial', '-days', '2', '-extfile', 'extensions', '-out', 'server.crt'
    )


def bcrypt(password: str) -> str:
    """Return a line's second half for htpasswd; by the C library's crypt(3)."""
    crypt = ctypes.CDLL('libcrypt.so.1').crypt
    crypt.restype = ctypes.c_char_p
    salt = base64.b64encode(secrets.token_bytes(16), b'./').decode()[:21] + 'u'
    hashed: bytes = crypt(password.encode(), f'$2b$04${salt}'.encode())
    assert hashed and len(hashed) == 60, 'this C library has no bcrypt'
    return hashed.decode()


def write_logins(path: Path, host: str, user: str, password: str) -> None:
    """Write a file as podman login makes it."""
    login = base64.b64encode(f'{user}:{password}'.encode()).decode()
    path.write_text(json.dumps({'auths': {host: {'auth': login}}}))
    path.chmod(0o600)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.create_server(('127.0.0.1', 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 20) -> None:
    """Wait until somebody listens on a port of the loopback."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f'nothing listens on port {port}'
            time.sleep(0.05)


def is_installed() -> bool:
    """Tell whether this machine has the registry server."""
    return any(
        os.access(os.path.join(path, SERVER), os.X_OK)
        for path in os.environ.get('PATH', '').split(':')
    )


def write_list(registry: Registry, name: str, tags: List[str]) -> None:
    """Put a list of images that are there, tagged by architecture, as 'all'."""
    kind = 'application/vnd.oci.image.manifest.v1+json'
    entries = []
    for tag in tags:
        data = registry.request(f'{name}/manifests/{tag}', kind=kind)
        entries.append({
            'mediaType': kind, 'size': len(data),
            'digest': f'sha256:{hashlib.sha256(data).hexdigest()}',
            'platform': {'os': 'linux', 'architecture': tag}
        })
    kind = 'application/vnd.oci.image.index.v1+json'
    registry.request(f'{name}/manifests/all', json.dumps({
        'schemaVersion': 2, 'mediaType': kind, 'manifests': entries
    }).encode(), kind)


def add_bulk(root: Path, size: int = 2_000_000) -> None:
    """Give a root tree some bytes that nothing compresses."""
    with open('/dev/urandom', 'rb') as source:
        (root / 'usr/bulk').write_bytes(source.read(size))


@contextmanager
def other_storage(where: Path, name: str = 'second') -> Iterator[Storage]:
    """Give another host for a block: a storage of its own, empty at first."""
    temp_dir = where / f'temp-{name}'
    temp_dir.mkdir()
    storage = Storage(where / f'storage-{name}', temp_dir)
    try:
        yield storage
        assert not storage.left_overs()
    finally:
        remove_storage(storage.where)


def skopeo_leavings() -> Set[str]:
    """The compressed layers that skopeo forgets where a copy fails."""
    return {name for name in os.listdir('/var/tmp') if name.startswith('stream-blob')}
