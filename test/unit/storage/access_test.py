# SPDX-License-Identifier: GPL-3.0-or-later
"""How registries are reached: options checked, and handed to podman and skopeo."""
from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access, make_access


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
