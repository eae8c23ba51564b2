# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of repositories: each kind changes with its list, none is made up."""
from __future__ import annotations

import base64
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

from kiwi_stackbuild_plugin.inputs.repositories import Repository, ask_repositories

#: kind, fields, the file that lists the packages
KINDS: List[Tuple[str, Any, str]] = [
    ('apt-deb', {'distribution': 'bookworm'}, 'dists/bookworm/InRelease'),
    ('apt-deb', {'distribution': 'bookworm/updates'}, 'dists/bookworm/updates/Release'),
    ('apt-deb', {}, 'InRelease'), ('apt-deb', {'distribution': './'}, 'dists/./Release'),
    ('apt-deb', {}, 'Packages.gz'),
    ('rpm-md', {}, 'repodata/repomd.xml'),
    ('rpm-md', {'variables': (('$releasever', '40'),), 'uri': '/$releasever'},
     '40/repodata/repomd.xml'),
    ('pacman', {'name': 'core'}, 'core.db'),
    ('apk', {'variables': (('$arch', 'x86_64'),)}, 'x86_64/APKINDEX.tar.gz'),
]


class _Handler(SimpleHTTPRequestHandler):
    """Serves a directory; below /secret/ only with a login."""

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer."""
        told = self.headers.get('Authorization', '')
        if '/moved/' in self.path:
            self.send_response(302)
            self.send_header('Location', self.path.replace('/moved/', '/'))
            self.end_headers()
        elif '/secret/' in self.path and told != 'Basic ' + base64.b64encode(b'u:p@w').decode():
            self.send_error(401)
        else:
            super().do_GET()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Tuple[str, Path]]:
    """Give the address of a server, and the directory that it serves."""
    where = tmp_path / 'served'
    where.mkdir()
    server = HTTPServer(('127.0.0.1', 0), partial(_Handler, directory=str(where)))
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}', where
    server.shutdown()
    thread.join()
    server.server_close()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('no_proxy', '127.0.0.1')


@pytest.mark.parametrize('place', ['http', 'dir'])
@pytest.mark.parametrize(('kind', 'more', 'path'), KINDS)
def test_state_changes_with_the_list(
    served: Tuple[str, Path], place: str, kind: str, more: Any, path: str
) -> None:
    url, where = served
    uri = (url if place == 'http' else f'dir://{where}') + more.get('uri', '')
    repository = Repository(uri, kind, **{k: v for k, v in more.items() if k != 'uri'})
    write(where / path, 'one')
    before, again = ask_repositories([repository] * 2)
    assert before == again and before.startswith('sha256:')
    write(where / path, 'two')
    assert ask_repositories([repository]) != [before]


def test_packages_in_a_directory(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path), 'rpm-dir')
    write(tmp_path / 'a/one.rpm', '1')
    before = ask_repositories([repository])
    write(tmp_path / 'a/notes', '1')
    assert ask_repositories([repository]) == before != ['']
    write(tmp_path / 'a/one.rpm', '12')
    assert ask_repositories([repository]) != before


@pytest.mark.parametrize('source_type', ['metalink', 'mirrorlist'])
def test_lists_of_mirrors(served: Tuple[str, Path], source_type: str) -> None:
    url, where = served
    write(where / 'metalink', (
        f'<metalink xmlns="http://metalinker.org/"><url>{url}/r/repodata/repomd.xml</url></metalink>'
    ))
    write(where / 'mirrorlist', f'# comment\n{url}/r\nhttp://other.invalid/r\n')
    write(where / 'r/repodata/repomd.xml', 'one')
    asked = Repository(f'{url}/{source_type}', 'rpm-md', source_type=source_type)
    direct = Repository(f'{url}/r', 'rpm-md')
    assert ask_repositories([asked]) == ask_repositories([direct]) != ['']


@pytest.mark.parametrize(('address', 'login', 'known'), [
    ('{host}/secret', ('u', 'p@w'), True), ('u:p@w@{host}/secret', ('', ''), True),
    ('{host}/secret', ('', ''), False), ('{host}/secret', ('u', 'x'), False),
    ('{host}/moved/secret', ('u', 'p@w'), False),
])
def test_logins(
    served: Tuple[str, Path], address: str, login: Tuple[str, str], known: bool,
    caplog: pytest.LogCaptureFixture
) -> None:
    url, where = served
    write(where / 'secret/repodata/repomd.xml', 'one')
    uri = 'http://' + address.format(host=url[len('http://'):])
    repository = Repository(uri, 'rpm-md', login=login)
    assert (ask_repositories([repository]) != ['']) is known
    assert 'p@w' not in caplog.text + repository.shown
    assert 'w@' not in caplog.text + repository.shown


@pytest.mark.parametrize('uri', [
    '{url}/nothing', 'http://127.0.0.1:1/', 'dir:///nowhere', 'obsrepositories:/', 'iso:///x.iso',
    'gopher://x/', 'nonsense', '{url}:x/', 'http://[/',
])
def test_who_does_not_answer_has_no_state(
    served: Tuple[str, Path], uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    assert ask_repositories([Repository(uri.format(url=served[0]), 'rpm-md')]) == ['']
    assert 'does not tell its state' in caplog.text


@pytest.mark.parametrize(('place', 'source_type'), [
    ('{host}/list', 'mirrorlist'), ('{host}/gone', 'metalink'), ('{host}/gone', ''),
    ('strange://u:p@w@host/x', ''), ('http://u:p@w@', ''),
])
def test_logins_are_not_said(
    served: Tuple[str, Path], caplog: pytest.LogCaptureFixture, place: str, source_type: str
) -> None:
    """They are in the address, and in what is said of it."""
    url, where = served
    write(where / 'list', 'no mirror')
    uri = place.replace('{host}', url.replace('//', '//u:p@w@'))
    caplog.set_level('INFO')
    assert ask_repositories([Repository(uri, 'rpm-md', source_type=source_type)]) == ['']
    assert 'does not tell its state' in caplog.text and 'p@w' not in caplog.text
