# SPDX-License-Identifier: GPL-3.0-or-later
"""What an extension says of a thing that the stash speaks of, too."""
from __future__ import annotations

from typing import Any, List, Sequence

import pytest
from lxml import etree

from kiwi_stackbuild_plugin.description.extension import Extension
from kiwi_stackbuild_plugin.description.keyed import Built
from kiwi_stackbuild_plugin.description.merging import Merged, merge
from kiwi_stackbuild_plugin.description.schema import (
    element_names, kiwi_schema, schema_version
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

HEAD = '''<description type="system">
  <author>A</author><contact>a@b</contact><specification>s</specification>
</description>
<profiles><profile name="one" description="1"/><profile name="two" description="2"/></profiles>
<preferences>
  <version>1.0.0</version><packagemanager>apt</packagemanager><type image="tbz"/>
</preferences>'''
ONE = Built(('one',), 'tbz')
GRAMMAR = etree.RelaxNG(kiwi_schema())
KNOWN = set(element_names())


def stash(text: str) -> Any:
    return etree.fromstring(
        f'<image schemaversion="{schema_version()}" name="base">{HEAD}{text}</image>'
    )


def extension(text: str) -> Extension:
    return Extension('/e/config.xml', True, etree.fromstring(
        f'<image stashed="a" name="x">{text}</image>'
    ))


def merged(stashed: str, text: str) -> Merged:
    return merge(stash(stashed), extension(text), [0], 0, ONE, ONE)


def accept(image: Any) -> None:
    """Let kiwi validate a description."""
    text = etree.tostring(image)
    assert GRAMMAR.validate(etree.fromstring(text)), (GRAMMAR.error_log, text)


def shown(image: Any, tag: str) -> List[str]:
    """Show elements with the attribute that tells stash and extension apart."""
    return [
        f'{node.get("name") or node.get("alias") or node[0].get("path")}={told}'
        for node in image.iter(tag)
        for told in [next((node.get(name) for name in VALUES if node.get(name)), '')]
    ]


VALUES = ('password', 'target_dir', 'target', 'priority', 'tag', 'stream', 'bootinclude')
REPOSITORY = '<repository type="apt-deb" {}><source path="{}"/></repository>'
MODULE = (
    '<packages type="bootstrap">'
    '<collectionModule name="p" stream="{}" enable="true"/></packages>'
)
CERTIFICATES = '<certificates {} target_distribution="suse">{}</certificates>'
SECTIONS = [
    # element, what the stash has, what the extension has, what kiwi gets
    ('user', '<users><user name="root" password="a"/><user name="b" password="b"/></users>',
     '<users><user name="root" password="new"/><user name="c" password="c"/></users>',
     ['root=new', 'b=b', 'c=c']),
    ('user', '<users profiles="one"><user name="root" password="a"/></users>',
     '<users><user name="root" password="new"/></users>', ['root=new']),
    ('user', '<users profiles="two"><user name="root" password="a"/></users>',
     '<users><user name="root" password="new"/></users>', ['root=a', 'root=new']),
    ('package', '<packages type="image"><package name="p"/><package name="q"/></packages>',
     '<packages type="image"><package name="p" bootinclude="true"/></packages>',
     ['p=true', 'q=']),
    ('package', '<packages type="bootstrap"><package name="p"/></packages>',
     '<packages type="image"><package name="p" bootinclude="true"/></packages>', ['p=', 'p=true']),
    ('package', '<packages type="image"><package name="p" arch="s390x"/></packages>',
     '<packages type="image"><package name="p" bootinclude="true"/></packages>', ['p=', 'p=true']),
    ('package', '<packages type="delete"><package name="p"/></packages>',
     '<packages type="image"><package name="p" bootinclude="true"/></packages>', ['p=true']),
    ('package', '<packages type="image"><package name="p"/></packages>',
     '<packages type="uninstall"><package name="p" bootinclude="true"/></packages>',
     ['p=', 'p=true']),
    ('ignore', '<packages type="image"><ignore name="p"/><ignore name="q"/></packages>',
     '<packages type="image"><package name="p"/></packages>', ['q=']),
    ('package', '<packages type="image"><package name="p"/></packages>',
     '<packages type="image"><ignore name="p"/></packages>', []),
    ('archive', '<packages type="image"><archive name="a.tgz" target_dir="/old"/></packages>',
     '<packages type="image"><archive name="a.tgz" target_dir="/new"/></packages>',
     ['a.tgz=/new']),
    ('product', '<packages type="image"><product name="p"/></packages>',
     '<packages type="image"><product name="p"/></packages>', ['p=']),
    ('namedCollection', '<packages type="image"><namedCollection name="p"/></packages>',
     '<packages type="image"><namedCollection name="p"/></packages>', ['p=']),
    ('collectionModule', MODULE.format(1), MODULE.format(2), ['p=2']),
    ('repository', REPOSITORY.format('alias="r" priority="1"', 'http://a'),
     REPOSITORY.format('alias="r" priority="2"', 'http://b'), ['r=2']),
    ('repository', REPOSITORY.format('alias="r" priority="1"', 'http://a'),
     REPOSITORY.format('priority="2"', 'http://a'), ['http://a=2']),
    ('repository', REPOSITORY.format('alias="r" priority="1"', 'http://a'),
     REPOSITORY.format('alias="s" priority="2"', 'http://a'), ['r=1', 's=2']),
    ('repository', REPOSITORY.format('distribution="d" priority="1"', 'http://a'),
     REPOSITORY.format('distribution="e" priority="2"', 'http://a'),
     ['http://a=1', 'http://a=2']),
    ('repository', REPOSITORY.format('profiles="two" alias="r" priority="1"', 'http://a'),
     REPOSITORY.format('alias="r" priority="2"', 'http://a'), ['r=1', 'r=2']),
    ('file', '<packages type="image"><file name="f" target="/old"/></packages>',
     '<packages type="image"><file name="f" target="/new"/></packages>', ['f=/new']),
    ('file', '<drivers><file name="f"/><file name="g"/></drivers>',
     '<drivers><file name="f"/></drivers>', ['f=', 'g=']),
    ('file', '<strip type="delete"><file name="f"/></strip>',
     '<strip type="delete"><file name="f"/></strip><strip type="tools"><file name="f"/></strip>',
     ['f=', 'f=']),
    ('container',
     '<containers source="h" backend="podman"><container name="c" tag="1"/></containers>',
     '<containers source="i" backend="podman"><container name="c" tag="2"/></containers>',
     ['c=2']),
    ('certificate', CERTIFICATES.format('', '<certificate name="c"/>'),
     CERTIFICATES.format('', '<certificate name="c"/><certificate name="d"/>'), ['c=', 'd=']),
]


@pytest.mark.parametrize(
    ('tag', 'stashed', 'text', 'expected'),
    [row for row in SECTIONS if row[0] in KNOWN]
)
def test_the_extension_wins_where_both_name_a_thing(
    tag: str, stashed: str, text: str, expected: Sequence[str]
) -> None:
    if tag == 'file' and 'target' in text and 'container' not in KNOWN:
        pytest.skip('this kiwi has no <file> in <packages>')
    result = merged(stashed, text).image
    assert shown(result, tag) == expected
    accept(result)
    again = merge(result, extension(text), [0], 0, ONE, ONE).image
    assert etree.tostring(again) == etree.tostring(result), 'a second time changes nothing'


@pytest.mark.parametrize(('stashed', 'text', 'told'), [
    ('', '<users><user name="u" password="a"/><user name="u" password="b"/></users>',
     'the extension has <user> u twice, and they differ'),
    ('', REPOSITORY.format('alias="r"', 'http://a') + REPOSITORY.format('alias="r"', 'http://b'),
     'the extension has <repository> r twice, and they differ'),
    (CERTIFICATES.format('profiles="two"', '<certificate name="c"/>'),
     CERTIFICATES.format('', '<certificate name="d"/>'),
     '<certificates> of the stash is for the profiles two only'),
])
def test_what_cannot_be_merged_is_told(stashed: str, text: str, told: str) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        merged(stashed, text)
    assert told in f'{issue.value}'


@pytest.mark.parametrize(('stashed', 'text', 'xpath', 'expected'), [
    ('<packages type="image" patternType="onlyRequired"/>',
     '<packages type="image" patternType="plusRecommended"/>',
     'packages/@patternType', ['plusRecommended']),
    ('<packages type="image"><package name="p"/></packages>',
     '<packages type="image" patternType="plusRecommended"><package name="p"/></packages>',
     'packages/@patternType', ['plusRecommended']),
    ('', '<description type="system"><author>B</author><contact>c</contact>'
     '<specification>s</specification></description>', 'description/author/text()', ['B']),
    ('<extension><a:x xmlns:a="u:a" n="1"/></extension>',
     '<extension><a:x xmlns:a="u:a" n="2"/><b:y xmlns:b="u:b" n="3"/></extension>',
     'extension/*/@n', ['2', '3']),
    ('', '<preferences arch="vax"><timezone>UTC</timezone></preferences>',
     'preferences/@arch', ['vax']),
])
def test_what_is_there_once_takes_the_extensions_value(
    stashed: str, text: str, xpath: str, expected: Sequence[str]
) -> None:
    assert merged(stashed, text).image.xpath(xpath) == expected


@pytest.mark.parametrize(('target', 'kept'), [
    ('/home/x', 1), ('', 1), ('/images/x', 1), ('image/exclude_files.yaml', 0),
    ('/image/./x', 0), ('//etc/../image/x', 0)
])
def test_what_goes_into_the_description_goes_there_again(target: str, kept: int) -> None:
    """image/ is made anew, and what is in it is no part of the tree."""
    merged = merge(
        stash(f'<packages type="image"><file name="f" target="{target}"/></packages>'),
        extension('<packages type="image"/>'), [0], 0, ONE, ONE
    )
    assert len([place for place in merged.done if place.child == 'file']) == kept
