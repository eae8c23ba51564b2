# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of extensions knows all that kiwi knows, and says what is wrong."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from kiwi.defaults import Defaults
from lxml import etree, isoschematron

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


def same_rules(expanded: Any) -> bool:
    """Tell whether rules are compiled to what kiwi's own way compiles them to."""
    own, ours = (
        isoschematron.Schematron(rules, store_xslt=True, **options)
        for rules, options in (
            (schema_module.kiwi_schema(), {}),
            (expanded, {'include': False, 'expand': False})
        )
    )
    one, other = (
        etree.tostring(each.validator_xslt, method='c14n') for each in (own, ours)
    )
    return bool(one == other)


def be_away(place: Path) -> None:
    shutil.rmtree(place)


def be_no_xml(place: Path) -> None:
    for path in place.iterdir():
        path.write_text('<no')


def be_somebody_elses(place: Path) -> None:
    for path in place.iterdir():
        path.write_text('<x/>')
        path.chmod(0o666)


def be_open(place: Path) -> None:
    be_somebody_elses(place)
    place.chmod(0o777)


@pytest.mark.parametrize('happen', [lambda place: None, be_away, be_no_xml, be_open,
                                    be_somebody_elses])
def test_rules_out_of_the_cache_are_those_of_kiwi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happen: Callable[[Path], None]
) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'cache'))
    place = tmp_path / 'cache/rules'
    schema = schema_module.kiwi_schema()
    assert same_rules(schema_module.expanded_rules(schema))
    assert len(list(place.iterdir())) == 1
    happen(place)
    assert same_rules(schema_module.expanded_rules(schema))


def test_rules_are_expanded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'cache'))
    schema_module.expanded_rules(schema_module.kiwi_schema())
    monkeypatch.delattr(isoschematron, 'iso_abstract_expand')
    assert same_rules(schema_module.expanded_rules(schema_module.kiwi_schema()))


def test_rules_of_kiwis_that_are_gone_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'cache'))
    place = tmp_path / 'cache/rules'
    place.mkdir(parents=True, mode=0o700)
    for number in range(6):
        (place / f'{number}').write_text('<x/>')
        os.utime(place / f'{number}', (number, number))
    schema_module.expanded_rules(schema_module.kiwi_schema())
    names = {path.name for path in place.iterdir()}
    assert len(names) == 4 and names > {'3', '4', '5'}
