# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of extensions knows all that kiwi knows, and says what is wrong."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from kiwi.defaults import Defaults
from lxml import etree

from kiwi_stackbuild_plugin.description import schema as schema_module
from kiwi_stackbuild_plugin.description.schema_errors import find_error


def image(text: str, attributes: str = 'name="x"') -> Any:
    return etree.fromstring(f'<image stashed="a" {attributes}>\n{text}\n</image>')


@pytest.mark.parametrize('text', [
    '<packages type="image"><package name="vim"/></packages>',
    '<packages type="bootstrap"><package name="vim"/></packages>',
    '<preferences><version>1.0.0</version></preferences>',
    '<preferences><type image="oci"><containerconfig name="c"/></type></preferences>',
    '<users><user name="u" password="p" groups="a"/></users>',
    '<drivers><file name="x"/></drivers>',
    '<strip type="delete"><file name="x"/></strip>',
    '<repository type="rpm-md"><source path="http://h"/></repository>',
    '<description type="system"><author>A</author><contact>c</contact>'
    '<specification>s</specification></description>',
    '<extension><my xmlns="http://x">anything</my></extension>',
    '<include from="this://./more.xml"/>', ''
])
def test_everything_kiwi_knows_is_known(text: str) -> None:
    assert find_error(image(text)) is None


@pytest.mark.parametrize('name', ['a b', 'a%20b', 'a#b', 'a?b', 'a:b', '\u00e4', 'a"b&c'])
def test_kiwi_may_be_installed_below_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    schema = shutil.copy(Defaults.get_schema_file(), tmp_path / name / 'kiwi.rng')
    monkeypatch.setattr(Defaults, 'get_schema_file', lambda: str(schema))
    include = etree.Element(f'{schema_module.RNG}include')
    schema_module._include_kiwi(include)
    grammar = etree.Element(f'{schema_module.RNG}grammar')
    grammar.append(include)
    ours = tmp_path / name / 'extension.rng'
    ours.write_bytes(etree.tostring(grammar))
    assert etree.RelaxNG(etree.parse(str(ours)))
    schema_module.kiwi_schema.cache_clear()
    assert schema_module.kiwi_schema().getroot() is not None
    schema_module.kiwi_schema.cache_clear()


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
