# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and wording around registries, without any registry."""
from __future__ import annotations

import time
from typing import Optional

import pytest

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound
)
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage import find
from kiwi_stackbuild_plugin.storage.find import Policy, check_age, check_policy, parse_age


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


@pytest.mark.parametrize(('created', 'fresh'), [
    (time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - 3600)), True),
    (time.strftime('%Y-%m-%dT%H:%M:%S.123456789+00:00', time.gmtime()), True),
    ('2020-01-01T00:00:00Z', False), ('', False), ('yesterday', False)
], ids=['an hour ago', 'now', 'years ago', 'none', 'no time'])
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
        find.fetch_named('h/x:1', Policy(pull='never'))
