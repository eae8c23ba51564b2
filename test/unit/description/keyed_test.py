# SPDX-License-Identifier: GPL-3.0-or-later
"""Sections added to a description one by one: whose place an element takes."""
from __future__ import annotations

import re
from typing import Any, List, Sequence, Tuple

import pytest
from kiwi.defaults import Defaults
from lxml import etree

from kiwi_stackbuild_plugin.description.keyed import (
    WHOLE, Built, Merger, clone_of, remove
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

HERE = Defaults.get_platform_name()


def image(text: str) -> Any:
    return etree.fromstring(f'<image>{text}</image>')


def added(stashed: str, text: str, now: Built = WHOLE) -> Any:
    """Add all sections of an extension."""
    result, extension = image(stashed), image(text)
    merger = Merger(result, now, extension)
    for section in extension.iterchildren(etree.Element):
        merger.add(section)
    return result


def quoted(text: str) -> str:
    """Put the values of attributes in quotes."""
    return re.sub(r'=([^ />]+)', r'="\1"', text)


def plain(element: Any) -> str:
    return etree.tostring(element, encoding='unicode').replace('"', '')[7:-8]


@pytest.mark.parametrize(('text', 'profiles', 'selected'), [
    ('<packages/>', (), True), ('<packages profiles=""/>', (), True),
    ('<packages profiles="a,b"/>', ('b', 'c'), True), ('<packages profiles="a"/>', (), False),
    ('<packages profiles="ab"/>', ('a',), False)
])
def test_profiles_of_a_section(text: str, profiles: Tuple[str, ...], selected: bool) -> None:
    assert Built(profiles).selects(etree.fromstring(text)) is selected


@pytest.mark.parametrize(('text', 'has'), [
    ('<packages type="image"/>', True), ('<packages type="bootstrap"/>', True),
    ('<packages type="delete"/>', True), ('<packages type="uninstall"/>', True),
    ('<packages type="oem"/>', True), ('<packages type="iso"/>', False), ('<packages/>', True),
    ('<strip type="tools"/>', True), ('<packages type="image" arch="vax"/>', False),
    (f'<packages type="image" arch="vax,{HERE}"/>', True),
    ('<packages type="image" profiles="q"/>', False), ('<users profiles="p"/>', True)
])
def test_sections_that_kiwi_takes(text: str, has: bool) -> None:
    assert Built(('p',), 'oem').has(etree.fromstring(text)) is has


@pytest.mark.parametrize(('stashed', 'text', 'expected'), [
    # new ones go to the end, whatever the extension has twice is added once
    ('<users><user name=a/></users>', '<users><user name=b/></users><users><user name=b/></users>',
     '<users><user name=a/></users><users><user name=b/></users>'),
    # in place of the namesake, in its section; the others in a section of theirs
    ('<packages type=image><package name=a x=1/><package name=b/></packages>',
     '<packages type=image><package name=c/><package name=a x=2/></packages>',
     '<packages type=image><package name=a x=2/><package name=b/></packages>'
     '<packages type=image><package name=c/></packages>'),
    # a section for other architectures is no place
    (f'<packages type=image arch={HERE}><package name=a x=1/></packages>',
     '<packages type=image><package name=a x=2/></packages>',
     f'<packages type=image arch={HERE}/><packages type=image><package name=a x=2/></packages>'),
    ('<packages type=image><package name=a arch=vax/></packages>',
     '<packages type=image><package name=a arch=vax x=2/></packages>',
     '<packages type=image><package name=a arch=vax x=2/></packages>'),
    # what the extension names itself stays for that
    (f'<packages type=image><package name=a x=1/><package name=a arch={HERE}/></packages>',
     f'<packages type=image><package name=a arch={HERE} x=2/><package name=a x=3/></packages>',
     f'<packages type=image><package name=a x=3/><package name=a arch={HERE} x=2/></packages>'),
    # a set without elements
    ('', '<packages type=image/>', '<packages type=image/>'),
    ('<packages type=image><package name=a/></packages>', '<packages type=image/>',
     '<packages type=image><package name=a/></packages>'),
    # elements without a name of their own, and sections that nobody has a key for
    ('<unknown a=1/>', '<unknown a=1/><unknown a=2/>', '<unknown a=1/><unknown a=2/>'),
    ('<description><a>A</a></description>', '<description><a>B</a></description>',
     '<description><a>B</a></description>'),
    # the place and the profiles of a repository
    ('<repository profiles=p alias=r/><repository alias=s/>', '<repository alias=r x=2/>',
     '<repository alias=r x=2 profiles=p/><repository alias=s/>'),
    ('<repository alias=r x=1/><repository alias=r x=2/>', '<repository alias=r x=3/>',
     '<repository alias=r x=3/>'),
])
def test_where_an_element_goes(stashed: str, text: str, expected: str) -> None:
    found = added(quoted(stashed), quoted(text), Built(('p',), 'tbz'))
    assert plain(found) == expected


@pytest.mark.parametrize(('stashed', 'text', 'told'), [
    ('', '<users><user name=a x=1/></users><users><user name=a x=2/></users>', '<user> a twice'),
    ('', '<repository><source path=h/></repository><repository x=1><source path=h/></repository>',
     '<repository> h twice'),
    ('<certificates profiles=q/>', '<certificates><certificate name=a/></certificates>',
     'for the profiles q only'),
])
def test_what_kiwi_could_not_tell_apart_is_refused(stashed: str, text: str, told: str) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid, match=told):
        added(quoted(stashed), quoted(text), Built(('p',), 'tbz'))


@pytest.mark.parametrize(('there', 'expected'), [
    # of several sections that have it, each: kiwi takes the first it finds
    (['<packages type=image patternType=a/>', '<packages type=image patternType=b/>'],
     ['new', 'new', 'new']),
    (['<packages type=bootstrap patternType=a/>'], ['a', 'new']),
    (['<packages type=image patternType=a profiles=q/>'], ['a', 'new']),
    (['<packages type=image/>'], [None, 'new']),
])
def test_settings_of_sections(there: Sequence[str], expected: List[str]) -> None:
    result = added(quoted(''.join(there)), quoted(
        '<packages type=image patternType=new><package name=a/></packages>'
    ), Built(('p',), 'tbz'))
    assert [node.get('patternType') for node in result] == expected


def test_what_is_given_stays_as_it_is() -> None:
    stashed, extension = image('<users><user name="a"/> </users>'), image(
        '<users><user name="a" x="1"/>tail</users><repository alias="r"/>tail'
    )
    before = etree.tostring(extension)
    merger = Merger(stashed, WHOLE, extension)
    for section in extension:
        merger.add(section)
    assert etree.tostring(extension) == before
    assert b'tail' not in etree.tostring(stashed), 'no text between sections'


@pytest.mark.parametrize(('text', 'left'), [
    ('<users><user/></users>', ''), ('<users><user/><user/></users>', '<users><user/></users>'),
    ('<packages><user/></packages>', '<packages/>'), ('<strip><user/><!--x--></strip>', ''),
])
def test_sections_that_may_not_be_empty_go_with_the_last(text: str, left: str) -> None:
    parsed = image(text)
    remove([parsed.find('.//user')])
    assert plain(parsed) == left or etree.tostring(parsed) == b'<image/>'
    assert bool(left) == (len(parsed) == 1)


def test_clones_have_no_tail() -> None:
    element = image('<a><b/>text</a>more')[0]
    clone = clone_of(element)
    assert etree.tostring(clone) == b'<a><b/>text</a>' and element.tail == 'more'
