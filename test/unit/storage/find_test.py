# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and wording around registries, without any registry."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Optional

import pytest

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage import find
from kiwi_stackbuild_plugin.storage.access import Access, make_access
from kiwi_stackbuild_plugin.storage.find import Policy, check_age, check_policy, parse_age
from kiwi_stackbuild_plugin.storage.messages import explain, without_secrets

FATAL = 'time="2026-01-01T00:00:00Z" level=fatal msg="{}"\n'


@pytest.mark.parametrize(('text', 'seconds'), [
    (None, None), ('30m', 1800), ('12h', 43200), ('7d', 604800), ('2w', 1209600)
])
def test_age(text: Optional[str], seconds: Optional[int]) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize('text', ['', '7', 'd', '0d', '-1d', '7 d', '1.5h', '7days', '7D'])
def test_age_that_is_none(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match=r'--max-age .* is not known'):
        parse_age(text)


def test_policy() -> None:
    assert check_policy(None) is None
    assert check_policy('newer') == 'newer'
    with pytest.raises(KiwiStashArgumentInvalid, match='--pull'):
        check_policy('sometimes')


def test_options_of_an_access(tmp_path: Path) -> None:
    logins = tmp_path / 'auth.json'
    logins.touch()
    assert Access().options() == []
    access = make_access(str(logins), 'false', str(tmp_path))
    assert access.options('dest-') == [
        f'--dest-authfile={logins}', f'--dest-cert-dir={tmp_path}',
        '--dest-tls-verify=false'
    ]


@pytest.mark.parametrize(('said', 'reason', 'hint'), [
    ('Error parsing image name \\"docker://h/x:1\\": pinging: dial tcp: connection refused',
     'pinging: dial tcp: connection refused', 'is the registry up'),
    ('Get \\"https://h/v2/\\": x509: certificate signed by unknown authority',
     'Get "https://h/v2/": x509: certificate signed by unknown authority', '--cert-dir'),
    ('unauthorized: authentication required', 'unauthorized: authentication required',
     'podman login'),
    ('manifest unknown: manifest unknown', 'manifest unknown: manifest unknown',
     'stash_list --remote'),
    ('something new', 'something new', '')
])
def test_reason_and_hint(said: str, reason: str, hint: str) -> None:
    told = explain('warning: first\n' + FATAL.format(said))
    assert told[0] == reason
    assert hint in told[1] and bool(hint) == bool(told[1])


@pytest.mark.parametrize(('text', 'shown'), [
    ('Get "https://me:pw@h/v2/": EOF', 'Get "https://***@h/v2/": EOF'),
    ('Get "https://store/x?Signature=abc&Key=d": EOF', 'Get "https://store/x?***": EOF'),
    ('header Basic bWU6cHc= refused', 'header Basic *** refused'),
    ('docker://h/x:1 is plain', 'docker://h/x:1 is plain')
])
def test_secrets_are_blotted_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(('created', 'fresh'), [
    (time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - 3600)), True),
    (time.strftime('%Y-%m-%dT%H:%M:%S.123456789+00:00', time.gmtime()), True),
    ('2020-01-01T00:00:00Z', False), ('', False), ('yesterday', False)
])
def test_age_of_an_image(created: str, fresh: bool) -> None:
    info = ImageInfo('0' * 64, created=created)
    check_age(info, 'x', Policy())
    if fresh:
        check_age(info, 'x', Policy(max_age=86400))
    else:
        with pytest.raises(KiwiStashImageNotFound, match='--max-age allows 1d'):
            check_age(info, 'x', Policy(max_age=86400))


def test_never_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, 'find_image', lambda name: None)
    with pytest.raises(KiwiStashImageNotFound, match='--pull=never forbids'):
        find.fetch_named('h/x:1', Lookup(pull='never'))
