# SPDX-License-Identifier: GPL-3.0-or-later
"""How registries are reached: options checked, and handed to podman and skopeo."""
from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.storage.access import (
    DEFAULT_ACCESS, Access, make_access, make_signing
)


def test_options_of_an_access(tmp_path: Path) -> None:
    logins = tmp_path / 'auth.json'
    logins.touch()
    assert Access().options() == []
    access = make_access(str(logins), 'false', str(tmp_path))
    assert access.options('dest-') == [
        f'--dest-authfile={logins}', f'--dest-cert-dir={tmp_path}',
        '--dest-tls-verify=false'
    ]


def test_what_nobody_said_is_left_to_the_tools_configuration() -> None:
    assert make_access(None, None, None) == DEFAULT_ACCESS
    assert DEFAULT_ACCESS.options('src-') == []


@pytest.mark.parametrize(('access', 'options'), [
    (Access(authfile='/a b'), ['--authfile=/a b']),
    (Access(tls_verify=True), ['--tls-verify=true']),
    (Access(tls_verify=False), ['--tls-verify=false']),
    (Access(cert_dir='-d'), ['--cert-dir=-d']),
])
def test_each_option_is_one_word(access: Access, options: List[str]) -> None:
    assert access.options() == options
    assert access.options('src-') == [f'--src-{word[2:]}' for word in options]


@pytest.mark.parametrize(('words', 'says'), [
    ((None, '', None), "--tls-verify '' is not known"),
    ((None, 'True', None), "--tls-verify 'True' is not known"),
    ((None, '0', None), "--tls-verify '0' is not known"),
    (('', None, None), "--authfile '': no such file"),
    (('@', None, None), 'no such file'),
    (('@/gone', None, None), 'no such file'),
    (('@/loose', None, None), 'no such file'),
    (('@/a\x1b', None, None), r"--authfile '@/a\x1b': no such file"),
    ((None, None, ''), "--cert-dir '': no such directory"),
    ((None, None, '@/file'), 'no such directory'),
])
def test_wrong_ones_are_named(tmp_path: Path, words: Any, says: str) -> None:
    (tmp_path / 'file').touch()
    (tmp_path / 'loose').symlink_to('nowhere')

    def placed(text: Optional[str]) -> Optional[str]:
        return text.replace('@', str(tmp_path)) if text else text
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        make_access(*map(placed, words))
    assert says.replace('@', str(tmp_path)) in raised.value.summary


def test_a_link_to_logins_is_fine(tmp_path: Path) -> None:
    (tmp_path / 'auth.json').touch()
    (tmp_path / 'link').symlink_to('auth.json')
    assert make_access(f'{tmp_path}/link', 'true', None).tls_verify is True


@pytest.mark.parametrize(('key', 'content', 'expected'), [
    ('ABCDEF0123456789', None, '--sign-by=ABCDEF0123456789'),
    ('me@example.org', None, '--sign-by=me@example.org'),
    ('@/x.key', '-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n',
     '--sign-by-sigstore-private-key=@/x.key'),
    ('@/x.yaml', 'privateKeyFile: x\n', '--sign-by-sigstore=@/x.yaml'),
])
def test_keys_and_skopeos_options(
    tmp_path: Path, key: str, content: Optional[str], expected: str
) -> None:
    key, expected = (text.replace('@/', f'{tmp_path}/') for text in (key, expected))
    if content is not None:
        Path(key).write_text(content)
    (tmp_path / 'pw').touch()
    assert make_signing(key, None).options() == [expected]
    assert make_signing(key, f'{tmp_path}/pw').options() == [
        expected, f'--sign-passphrase-file={tmp_path}/pw'
    ]


@pytest.mark.parametrize(('key', 'passphrase', 'says'), [
    ('/gone.key', None, "--sign-by '/gone.key': no such file"), ('', None, 'no such file'),
    ('-x', None, 'no such file'), ('a b', None, 'no such file'),
    ('-----BEGIN PRIVATE KEY-----', None, 'a key itself is not given'),
    ('ABCD\nABCD', None, 'a key itself'), (None, '/dev/null', 'needs --sign-by'),
    ('ABCD', '/gone', "--sign-passphrase-file '/gone': no such file"),
])
def test_keys_that_are_none(key: Optional[str], passphrase: Optional[str], says: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        make_signing(key, passphrase)
    assert says in raised.value.summary
    assert 'PRIVATE' not in str(raised.value)


def test_no_signature() -> None:
    assert make_signing(None, None).options() == []
