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
