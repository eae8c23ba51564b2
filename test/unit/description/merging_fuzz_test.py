# SPDX-License-Identifier: GPL-3.0-or-later
"""Any extension on any stash: kiwi takes what the extension says.

KIWI_STASH_TEST_FUZZ sets how many examples each test tries.
"""
from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Optional, Tuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kiwi import xml_parse
from kiwi.xml_state import XMLState
from lxml import etree

from kiwi_stackbuild_plugin.description.extension import Extension
from kiwi_stackbuild_plugin.description.keyed import Built
from kiwi_stackbuild_plugin.description.merging import Merged, merge
from kiwi_stackbuild_plugin.description.schema import (
    element_names, kiwi_schema, schema_version
)
from kiwi_stackbuild_plugin.description.schema_errors import find_error
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.stackbuild.prepared import Preparation

FUZZ = settings(
    max_examples=int(os.environ.get('KIWI_STASH_TEST_FUZZ', '60')), deadline=None,
    database=None, suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow
    ]
)
GRAMMAR = etree.RelaxNG(kiwi_schema())
KNOWN = set(element_names())
NAMES = st.sampled_from(('a', 'b', 'c'))
#: whose element it is; each schema accepts these values for them
WHO = {'old': {'password': 'old', 'priority': '1'}, 'new': {'password': 'new', 'priority': '2'}}
ARCHES = st.sampled_from((None, None, 'x86_64', 'aarch64'))
KINDS = tuple(
    (section, fixed, child) for section, fixed, child, needs in (
        ('users', {}, 'user', 'user'),
        ('packages', {'type': 'image'}, 'package', 'package'),
        ('packages', {'type': 'bootstrap'}, 'package', 'package'),
        ('packages', {'type': 'delete'}, 'package', 'package'),
        ('packages', {'type': 'image'}, 'ignore', 'ignore'),
        ('packages', {'type': 'image'}, 'archive', 'archive'),
        ('packages', {'type': 'oem'}, 'archive', 'archive'),
        ('packages', {'type': 'image', 'patternType': 'plusRecommended'}, 'product', 'product'),
        ('drivers', {}, 'file', 'drivers'), ('strip', {'type': 'delete'}, 'file', 'strip'),
        ('containers', {'source': 'h', 'backend': 'podman'}, 'container', 'container'),
        ('certificates', {'target_distribution': 'suse'}, 'certificate', 'certificate'),
    ) if needs in KNOWN
)


@st.composite
def sections(draw: Any, who: str, profiles: bool) -> List[Any]:
    """Make sections of a description, each name once in all of one kind."""
    made: List[Any] = []
    for section, fixed, child in draw(st.lists(st.sampled_from(KINDS), max_size=5)):
        names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        node = etree.Element(section, fixed)
        if profiles and draw(st.booleans()):
            node.set('profiles', draw(st.sampled_from(('one', 'two', 'one,two'))))
        for name in names:
            element = etree.SubElement(node, child, name=name)
            arch = draw(ARCHES) if child in ('package', 'ignore') else None
            if arch:
                element.set('arch', arch)
            if child == 'user':
                element.set('password', who)
        made.append(node)
    for name in draw(st.lists(NAMES, max_size=3)):
        node = etree.Element('repository', type='apt-deb', priority=WHO[who]['priority'])
        if draw(st.booleans()):
            node.set('alias', name)
        etree.SubElement(node, 'source', path=f'http://{draw(NAMES)}/')
        made.append(node)
    return made


SETTINGS = st.dictionaries(
    st.sampled_from(('version', 'timezone', 'locale', 'keytable', 'release-version')),
    st.sampled_from(('1.0.0', '2.0.0')), max_size=4
).map(lambda found: {
    name: 'en_US' if name == 'locale' else value for name, value in found.items()
})
PROFILES = st.sampled_from(((), ('one',), ('two',), ('one', 'two')))


def stash(content: List[Any], more: Any, type_in_profile: bool) -> Any:
    image = etree.Element('image', name='base', schemaversion=schema_version())
    description = etree.SubElement(image, 'description', type='system')
    for name in ('author', 'contact', 'specification'):
        etree.SubElement(description, name).text = name
    profiles = etree.SubElement(image, 'profiles')
    for name in ('one', 'two'):
        etree.SubElement(profiles, 'profile', name=name, description=name)
    preferences = etree.SubElement(image, 'preferences')
    for name, text in {'version': '1.0.0', 'packagemanager': 'apt', **more}.items():
        etree.SubElement(preferences, name).text = text
    etree.SubElement(preferences, 'type', image='tbz')
    if type_in_profile:
        other = etree.SubElement(image, 'preferences', profiles='one')
        etree.SubElement(other, 'type', image='oci')
    image.extend(content)
    return image


def load(image: Any, where: Path, profiles: Tuple[str, ...]) -> Any:
    """Let kiwi read a description, without the seconds of its stylesheets."""
    where.write_bytes(etree.tostring(image))
    return XMLState(xml_parse.parse(str(where), True), list(profiles), 'tbz')


def merge_both(
    stashed: Any, extension: Extension, profiles: Tuple[str, ...]
) -> Optional[Merged]:
    numbers = [
        number for number, section in enumerate(stashed.findall('preferences'))
        if not section.get('profiles') or section.get('profiles') in profiles
    ]
    built = Built(profiles, 'tbz')
    try:
        return merge(stashed, extension, numbers, 0, built, built)
    except KiwiStashDescriptionInvalid as issue:
        assert '\n' not in issue.summary
        return None


@FUZZ
@given(
    sections('old', True), SETTINGS, st.booleans(), sections('new', False), SETTINGS, PROFILES
)
def test_merged_descriptions(
    tmp_path: Path, old: List[Any], old_settings: Any, in_profile: bool, new: List[Any],
    new_settings: Any, profiles: Tuple[str, ...]
) -> None:
    stashed = stash(old, old_settings, in_profile)
    image = etree.Element('image', stashed='base', name='x')
    image.extend(new)
    if new_settings:
        preferences = etree.SubElement(image, 'preferences')
        for name, text in new_settings.items():
            etree.SubElement(preferences, name).text = text
    if not GRAMMAR.validate(stashed) or find_error(image):
        return
    extension = Extension(str(tmp_path / 'config.xml'), True, image)
    merged = merge_both(stashed, extension, profiles)
    if merged is None:
        return
    text = etree.tostring(merged.image)
    assert GRAMMAR.validate(etree.fromstring(text)), (GRAMMAR.error_log, text)
    again = merge_both(merged.image, extension, profiles)
    assert again is not None and etree.tostring(again.image) == text
    state = load(merged.image, tmp_path / 'merged.xml', profiles)
    check_state(state, image)
    check_changes(state, merged, image)


def check_changes(state: Any, merged: Merged, extension: Any) -> None:
    """See that kiwi is told of the extension's only, when it prepares the root."""
    task = SimpleNamespace(xml_state=state, load_xml_description=lambda: None)
    preparation = Preparation(merged.done, {}, True, True)
    preparation.follow(task)
    task.load_xml_description()
    changes = preparation.changes(state)
    assert {user.get_name() for user in changes.get_users()} == {
        node.get('name') for node in extension.iter('user')
    }
    assert set(changes.get_system_archives()) == set(
        extension.xpath('packages[@type="image"]/archive/@name')
    )
    assert set(changes.get_to_become_deleted_packages(True)) == {
        node.get('name') for node in extension.iterfind('packages[@type="delete"]/package')
        if node.get('arch') in (None, state.host_architecture)
    }


def check_state(state: Any, extension: Any) -> None:
    """See that kiwi takes the extension's values, and each name once."""
    names = {node.get('name') for node in extension.iter('user')}
    for user in state.get_users():
        assert user.get_password() == ('new' if user.get_name() in names else 'old')
    aliases = {node.get('alias') for node in extension.iter('repository')} - {None}
    for repository in state.get_repository_sections():
        assert repository.get_alias() not in aliases or repository.get_priority() == 2
    for name in extension.xpath('packages[@type="image"]/archive/@name'):
        assert state.get_system_archives().count(name) == 1
    wanted = {
        node.get('name') for node in extension.iterfind('packages[@type="image"]/package')
        if node.get('arch') in (None, state.host_architecture)
    }
    assert wanted <= set(state.get_system_packages())
