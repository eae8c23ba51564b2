# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in an extension is named with file and line, in an include too."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
from lxml import etree

from kiwi_stackbuild_plugin.description.extension import Extension, read_extension
from kiwi_stackbuild_plugin.description.merging import merge
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

HEAD = '<image stashed="a" name="x"{version}>\n'
MORE = HEAD + '  <include from="this://./parts/more.xml"/>\n</image>'
USERS = '<users>\n<user name="u" password="{0}"/></users>'
NESTED = '<image>\n<include from="this://other.xml"/></image>'
TWO = HEAD + '<include from="this://parts/a.xml"/>\n\n<include from="this://parts/b.xml"/></image>'


def read(where: Path, files: Dict[str, str], version: str = '') -> Extension:
    for name, text in files.items():
        (where / name).parent.mkdir(exist_ok=True)
        (where / name).write_text(text.replace('{version}', version))
    (where / 'work').mkdir()
    extension = read_extension(str(where / 'config.xml'), str(where / 'work'))
    assert extension is not None
    return extension


WRONG = [
    # the description, an include; what is said, %s for the directory
    ('<packages type="image">\n\n<pakage name="v"/></packages>', '<image/>',
     '%s/config.xml: line 5: <pakage>: no such element, did you mean package?'),
    ('', '<image>\n<packages type="image">\n<package/></packages></image>',
     '%s/parts/more.xml: line 3: <package>: attribute name is missing'),
    ('', '<!-- a comment\n in two lines --><image>\n<profiles/></image>',
     '%s/parts/more.xml: line 3: <profiles>: an extension has no profiles'),
    ('', '<image>\n<preferences profiles="a"/></image>',
     '%s/parts/more.xml: line 2: <preferences>: an extension has no profiles'),
    ('', NESTED, '%s/parts/more.xml: line 2: <include>: kiwi resolves none'),
    ('', '<packages/>', '%s/parts/more.xml: line 1: <packages>: the sections of an'),
    ('', '<image>\n<packages></image>', '%s/parts/more.xml: cannot be read as XML: '),
    ('', '<!DOCTYPE image><image/>', '%s/parts/more.xml: has a document type declaration'),
    ('<include from="this://gone.xml"/>', '<image/>',
     '%s/config.xml: line 3: <include>: from="this://gone.xml": there is no such file'),
    ('<include from="https://example.com/x.xml"/>', '<image/>',
     '%s/config.xml: line 3: <include>: from="https://example.com/x.xml": there is no'),
    ('<include/>', '<image/>', '%s/config.xml: line 3: <include>: '),
]


@pytest.mark.parametrize('version', ['', ' schemaversion="7.4"'])
@pytest.mark.parametrize(('text', 'included', 'told'), WRONG)
def test_what_is_wrong_is_named(
    tmp_path: Path, text: str, included: str, told: str, version: str
) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        read(tmp_path, {
            'config.xml': MORE.replace('</image>', f'{text}</image>'),
            'parts/more.xml': included
        }, version)
    assert f'{issue.value}'.startswith(told.replace('%s', str(tmp_path)))


@pytest.mark.parametrize('version', ['', ' schemaversion="7.4"'])
def test_two_files_that_differ_are_named_both(tmp_path: Path, version: str) -> None:
    extension = read(tmp_path, {
        'config.xml': TWO, 'parts/a.xml': f'<image>{USERS.format(1)}</image>',
        'parts/b.xml': f'<image>\n\n{USERS.format(2)}</image>'
    }, version)
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        merge(stash(), extension, [0], 0)
    assert issue.value.summary == (
        f'{tmp_path}/parts/b.xml: line 4: the extension has <user> u twice, and they differ'
    )
    assert issue.value.hint == f'the other one: {tmp_path}/parts/a.xml: line 2'


def test_includes_are_in_the_places_of_their_elements(tmp_path: Path) -> None:
    extension = read(tmp_path, {
        'config.xml': TWO, 'parts/a.xml':
            '<image schemaversion="1" name="b">\n<!-- gone --><packages type="image">'
            '<!-- stays --><package name="a"/></packages></image>',
        'parts/b.xml': '<image><strip type="tools"><file name="b"/></strip></image>'
    })
    assert [child.tag for child in extension.image] == ['packages', 'strip']
    assert extension.image.get('name') == 'x'
    assert [node.text for node in extension.image.iter() if callable(node.tag)] == [' stays ']
    assert not [
        name for node in extension.image.iter('*') for name in node.attrib if 'place' in name
    ]


def stash() -> Any:
    return etree.fromstring(
        f'<image schemaversion="{schema_version()}" name="base"><preferences/></image>'
    )
