# SPDX-License-Identifier: GPL-3.0-or-later
"""Extension descriptions: what is accepted, what is said, what comes out."""
from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Optional

import pytest
from lxml import etree

from kiwi_stackbuild_plugin.description.extension import (
    Extension, find_description, read_extension
)
from kiwi_stackbuild_plugin.description.merging import merge
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

def image(text: str, attributes: str = 'name="x"') -> Any:
    return etree.fromstring(f'<image stashed="a" {attributes}>\n{text}\n</image>')


def read(tmp_path: Path, text: str) -> Optional[Extension]:
    (tmp_path / 'config.xml').write_text(text)
    return read_extension(find_description(str(tmp_path), None), str(tmp_path))


def test_other_descriptions_are_left_to_kiwi(tmp_path: Path) -> None:
    assert read(tmp_path, '<image schemaversion="7.4" name="a"/>') is None
    assert read(tmp_path, '<image schemaversion="7.4"') is None
    assert read(tmp_path, 'image:\n  name: x') is None


@pytest.mark.parametrize(('text', 'told'), [
    ('<image stashed="a" name="x">\n<nonsense/></image>', 'line 2: <nonsense>: no such'),
    ('<image stashed="a" name="x">\n</imag>', 'cannot be read as XML'),
    ('<!DOCTYPE image [<!ENTITY e "x">]><image stashed="a" name="x"/>', 'DOCTYPE'),
])
def test_a_broken_extension_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        read(tmp_path, text)
    assert told in f'{issue.value}'


YAML = '''image:
  "@stashed": base
  "@name": x
  packages: {"@type": image, package: [{"@name": vim}]}
'''


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_other_markups_are_for_kiwi_to_convert(tmp_path: Path) -> None:
    (tmp_path / 'x.kiwi').write_text(YAML)
    path = find_description(str(tmp_path), None)
    if importlib.util.find_spec('anymarkup_core'):
        found = read_extension(path, str(tmp_path))
        assert found is not None and not found.is_xml
        assert found.reference == 'base'
        assert [node.get('name') for node in found.image.iter('package')] == ['vim']
        return
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        read_extension(path, str(tmp_path))
    assert 'module anymarkup' in f'{issue.value}'


@pytest.mark.parametrize(('name', 'kiwi_file', 'told'), [
    ('nowhere', None, 'no such directory'), ('.', None, 'no description'),
    ('.', 'other.kiwi', 'no description (other.kiwi)')
])
def test_a_missing_description_is_named(
    tmp_path: Path, name: str, kiwi_file: Optional[str], told: str
) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        find_description(str(tmp_path / name), kiwi_file)
    assert told in f'{issue.value}'


def test_files_are_looked_for_as_kiwi_does(tmp_path: Path) -> None:
    for name in ('b.kiwi', 'a.kiwi', 'image/config.xml', 'config.xml'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
        assert find_description(str(tmp_path), None) == str(tmp_path / name)
    assert find_description(str(tmp_path), 'b.kiwi') == str(tmp_path / 'b.kiwi')


def test_includes_and_old_schema_versions_are_resolved(tmp_path: Path) -> None:
    (tmp_path / 'more.xml').write_text(
        '<image><packages type="image"><package name="more"/></packages></image>'
    )
    found = read(
        tmp_path, '<image stashed="a" name="x" schemaversion="7.4">'
        '<include from="this://./more.xml"/></image>'
    )
    assert found is not None
    assert found.image.get('schemaversion') == schema_version()
    assert [node.get('name') for node in found.image.iter('package')] == ['more']
    assert found.image.find('include') is None


def test_a_stash_without_applying_type_gets_one() -> None:
    stashed = etree.fromstring('<image name="b"><preferences/></image>')
    extension = Extension('/c', True, image('<preferences><type image="tbz"/></preferences>'))
    result = merge(stashed, extension, [], None).image
    assert result.xpath('preferences/type/@image') == ['tbz']
    assert extension.build_type == 'tbz'
