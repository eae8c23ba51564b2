# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an extension: line, element, and why."""
from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from kiwi_stackbuild_plugin.description.schema_errors import Finding, find_error


def image(text: str, attributes: str = 'name="x"') -> Any:
    return etree.fromstring(f'<image stashed="a" {attributes}>\n{text}\n</image>')


@pytest.mark.parametrize(('text', 'line', 'element', 'why'), [
    ('<packages type="image">\n<pakage name="v"/></packages>', 3, 'pakage',
     'no such element, did you mean package?'),
    ('<preferences>\n<type image="bogus"/></preferences>', 3, 'type',
     'image="bogus": not one of '),
    ('<preferences>\n<type image="tbz" primry="true"/></preferences>', 3, 'type',
     'no such attribute: primry="true", did you mean primary?'),
    ('<packages type="image">\n\n<package/></packages>', 4, 'package',
     'attribute name is missing'),
    ('<users><user name="x"/></users>', 2, 'user', 'attribute password is missing'),
    ('<profiles><profile name="a" description="b"/></profiles>', 2, 'profiles',
     'an extension has no profiles'),
    ('<packages type="image" profiles="a"><package name="v"/></packages>', 2,
     'packages', 'an extension has no profiles'),
    ('<preferences><version>1</version>\n<version>2</version></preferences>', 3,
     'version', 'is in <preferences> more than once'),
    ('<preferences>\n<package name="v"/></preferences>', 3, 'package',
     'is not allowed in <preferences>'),
    ('<packages type="image"><package name="v"/></packages>\ntext', 1, 'image', 'text'),
])
def test_what_is_wrong_is_named(text: str, line: int, element: str, why: str) -> None:
    error = find_error(image(text))
    assert error is not None
    assert (error.line, error.element) == (line, element)
    assert why in error.why


@pytest.mark.parametrize(('attributes', 'why'), [
    ('', 'attribute name is missing'),
    ('name="a b"', 'name="a b": a value that kiwi does not accept'),
    ('name="a" foo="b"', 'no such attribute: foo="b"')
])
def test_the_root_element_is_checked(attributes: str, why: str) -> None:
    error = find_error(image('', attributes))
    assert error is not None and error.why == why


@pytest.mark.parametrize(('text', 'line', 'element', 'why'), [
    # of several, the first that kiwi does not know, and else the innermost
    ('<pakages/><preferences><nonsense/></preferences>', 2, 'pakages', 'mean packages?'),
    ('<preferences>\n<version>1</version>\n<type image="oci">\n<containerconfig/></type>'
     '</preferences>', 5, 'containerconfig', 'attribute name is missing'),
    ('<packages type="nosuch">\n<package name="a"/></packages>', 2, 'packages',
     'type="nosuch": not one of '),
    ('<users><user name="u" password="p" passwrd="q"/></users>', 2, 'user',
     'no such attribute: passwrd="q", did you mean password?'),
    ('<xyzzyplugh/>', 2, 'xyzzyplugh', 'no such element'),
    ('<packages type="image">text</packages>', 2, 'packages', ''),
    ('<a:packages xmlns:a="u:a" type="image"/>', 2, '{u:a}packages', 'no such element'),
])
def test_the_first_or_innermost_is_named(
    text: str, line: int, element: str, why: str
) -> None:
    error = find_error(image(text))
    assert error is not None and (error.line, error.element) == (line, element)
    assert why in error.why and '\n' not in error.why


@pytest.mark.parametrize('text', [
    '<!-- a comment --><packages type="image"><!-- another --></packages>',
    '<?an instruction?>',
    '<extension><nonsense profiles="a" xmlns="u:x"><profiles/></nonsense></extension>',
    '<packages type="image"><package name="a"/>\n  <package name="a"/></packages>',
])
def test_what_is_not_wrong(text: str) -> None:
    assert find_error(image(text)) is None


def test_what_is_looked_at_stays_as_it_is() -> None:
    parsed = image('<preferences>\n<version>1</version> x\n<version>2</version></preferences>')
    before = etree.tostring(parsed)
    assert find_error(parsed) is not None
    assert etree.tostring(parsed) == before


def test_an_element_made_by_hand_has_no_line() -> None:
    parsed = etree.Element('image', stashed='a', name='x')
    etree.SubElement(parsed, 'nonsense')
    assert find_error(parsed) == Finding(0, 'nonsense', 'no such element')
