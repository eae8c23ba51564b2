# SPDX-License-Identifier: GPL-3.0-or-later
"""Licences: what is an expression of SPDX, and what stays words of a data base."""
from __future__ import annotations

from typing import Optional

import pytest

from kiwi_stackbuild_plugin.packages.licenses import Licenses, parse_expression


@pytest.mark.parametrize(('text', 'expression'), [
    ('MIT', 'MIT'), ('mit', 'MIT'), ('GPL-2.0+', 'GPL-2.0+'),
    ('MIT AND (BSD-3-Clause OR GPL-2.0-only)', 'MIT AND (BSD-3-Clause OR GPL-2.0-only)'),
    ('( MIT )', '(MIT)'), ('((MIT))', '((MIT))'),
    ('GPL-2.0-only WITH Classpath-exception-2.0', 'GPL-2.0-only WITH Classpath-exception-2.0'),
    ('LicenseRef-Fedora-Public-Domain AND MIT', 'LicenseRef-Fedora-Public-Domain AND MIT'),
    ('GPLv2+ and MIT', None), ('MIT and BSD', None), ('MIT BSD-3-Clause', None), ('', None),
    ('MIT AND', None), ('AND MIT', None), ('MIT OR OR MIT', None), ('(MIT', None), ('MIT)', None),
    (')MIT(', None), ('()', None), ('MIT WITH MIT', None), ('MIT WITH', None),
    ('(MIT) WITH Classpath-exception-2.0', None), ('Classpath-exception-2.0', None),
    ('GPL-2.0-only WITH Classpath-exception-2.0 WITH Classpath-exception-2.0', None),
    ('custom:OASIS', None), ('DocumentRef-x:LicenseRef-y', None), ('(' * 100_000, None),
    ('LicenseRef-a b', None),
])
def test_expressions(text: str, expression: Optional[str]) -> None:
    found = parse_expression(text)
    assert (found and found[0]) == expression


def test_spdx_tools_agree() -> None:
    """Every identifier of ours is one to SPDX's own tools, and the other way round."""
    from license_expression import get_spdx_licensing
    for word in ('MIT', 'GPL-2.0-or-later', 'LGPL-2.1+', 'Zlib', 'curl', 'bzip2-1.0.6'):
        assert parse_expression(word)
    known = get_spdx_licensing().known_symbols
    listed = {name for name in known if not name.startswith('LicenseRef-')}
    missing = [name for name in listed if not known[name].is_exception
               and ' ' not in name and not parse_expression(name)]
    assert not missing


@pytest.mark.parametrize(('told', 'expression'), [
    ((), 'NOASSERTION'), (('',), 'NOASSERTION'), (('MIT', 'MIT'), 'MIT'),
    (('MIT', 'Zlib OR curl'), 'MIT AND (Zlib OR curl)'), (('Zlib OR curl',), 'Zlib OR curl'),
])
def test_all_of_a_package(told: tuple[str, ...], expression: str) -> None:
    assert Licenses().expression(told) == expression


def test_words_are_kept_once() -> None:
    licenses = Licenses()
    one = licenses.expression(('GPLv2+ and MIT',))
    assert one == licenses.expression(('GPLv2+ and MIT ',)) and one.startswith('LicenseRef-')
    assert licenses.texts == {one: 'GPLv2+ and MIT'}
    licenses.expression(('LicenseRef-own',))
    assert licenses.texts['LicenseRef-own'] == 'LicenseRef-own'
