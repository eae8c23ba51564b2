# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and wording around registries, without any registry."""
from __future__ import annotations

import time
from typing import Any, Dict, Optional

import pytest

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.reference import (
    check_docker, parse_reference, refuse_login
)
from kiwi_stackbuild_plugin.stash.chain import ChainLink, format_chain, read_chain
from kiwi_stackbuild_plugin.storage import find
from kiwi_stackbuild_plugin.storage.find import Lookup, check_age, check_policy, parse_age

DIGEST = f'sha256:{"0" * 64}'


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


@pytest.mark.parametrize('text', [
    'me:pw@h/x', 'me@h/x', 'docker://me:pw@h:5000/x:1', 'https://me:pw@h/x'
])
def test_login_in_a_reference(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match='do not belong') as raised:
        refuse_login(text, '--stash')
    assert 'pw' not in str(raised.value)


@pytest.mark.parametrize('text', [
    f'x@{DIGEST}', f'docker://h/x@{DIGEST}', 'oci:/a@b/c:t', 'oci-archive:a@b/c.tar',
    'dir:a@b/c'
])
def test_no_login_in_a_reference(text: str) -> None:
    assert parse_reference(text).text == text


@pytest.mark.parametrize(('text', 'target'), [
    ('docker://h.x/n', 'h.x/n:v2'), ('docker://h.x/n:v1', 'h.x/n:v1'),
    (f'docker://h.x/n@{DIGEST}', f'h.x/n@{DIGEST}')
])
def test_tag_of_a_destination(text: str, target: str) -> None:
    assert check_docker(text, '--export', 'v2') == target


@pytest.mark.parametrize(('created', 'fresh'), [
    (time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - 3600)), True),
    (time.strftime('%Y-%m-%dT%H:%M:%S.123456789+00:00', time.gmtime()), True),
    ('2020-01-01T00:00:00Z', False), ('', False), ('yesterday', False)
])
def test_age_of_an_image(created: str, fresh: bool) -> None:
    info = ImageInfo('0' * 64, created=created)
    check_age(info, 'x', Lookup())
    if fresh:
        check_age(info, 'x', Lookup(max_age=86400))
    else:
        with pytest.raises(KiwiStashImageNotFound, match='--max-age allows 1d'):
            check_age(info, 'x', Lookup(max_age=86400))


def test_never_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, 'find_image', lambda name: None)
    with pytest.raises(KiwiStashImageNotFound, match='--pull=never forbids'):
        find.fetch_named('h/x:1', Lookup(pull='never'))


def history(comment: str, **more: Any) -> Dict[str, Any]:
    """Return one entry."""
    return {'created': '2026-01-02T03:04:05.6Z', 'author': 'Me', 'comment': comment, **more}


def test_chain_of_layers() -> None:
    chain = read_chain(['sha256:a', 'sha256:b'], [
        history('imported from tarball'), history('', empty_layer=True),
        history('KIWI Root Tree Stash: 1 added, 2 changed, 3 removed, 40 bytes')
    ], [10, 20])
    assert chain == [
        ChainLink('sha256:a', '2026-01-02T03:04:05Z', 10, 'Me', None, None, None,
                  'imported from tarball'),
        ChainLink('sha256:b', '2026-01-02T03:04:05Z', 20, 'Me', 1, 2, 3,
                  'KIWI Root Tree Stash: 1 added, 2 changed, 3 removed, 40 bytes')
    ]
    table = format_chain(chain).splitlines()
    assert table[0].split() == [
        'LAYER', 'CREATED', 'SIZE', 'PACKAGES', 'ADDED', 'CHANGED', 'REMOVED', 'AUTHOR'
    ]
    assert table[2].split()[-4:] == ['1', '2', '3', 'Me']


@pytest.mark.parametrize('told', [[], ['text', None], [history('x')]])
def test_chain_of_which_little_is_known(told: Any) -> None:
    chain = read_chain(['sha256:a', 'sha256:b'], told, [10])
    assert [(link.created, link.size, link.added) for link in chain] == [('', None, None)] * 2
    assert format_chain(chain)
