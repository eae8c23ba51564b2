# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's schema: the grammar of extensions that follows from it, and its rules."""
from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Set

from kiwi.defaults import Defaults
from lxml import etree, isoschematron

from kiwi_stackbuild_plugin.image.cache import keep, read_kept

_URI = 'http://relaxng.org/ns/structure/1.0'
RNG = f'{{{_URI}}}'
_DATATYPES = 'http://www.w3.org/2001/XMLSchema-datatypes'
_GRAMMAR = 'extension.rng'
#: what kiwi's image element has and that of an extension has not
_NOT_EXTENDED = ('k.image.attlist', 'k.profiles')
_NOT_REQUIRED = (f'{RNG}optional', f'{RNG}choice', f'{RNG}zeroOrMore')
#: of the cache, and files in it: one for each version of kiwi that is in use
_RULES, _RULES_KEPT = 'rules', 4


class Content(NamedTuple):
    """What kiwi's schema has in an element.

    attributes: their patterns by name; required: those that must be there;
    children: names of elements
    """

    attributes: Dict[str, Any]
    required: Set[str]
    children: Set[str]


@cache
def kiwi_schema() -> Any:
    """Return the schema of the kiwi that runs."""
    return etree.parse(Defaults.get_schema_file())


def schema_version() -> str:
    """Return the version of the descriptions of the kiwi that runs."""
    value = _define('k.image.schemaversion.attribute').find(f'.//{RNG}value')
    return str(value.text)


@cache
def extension_grammar() -> Any:
    """Return the validator of extensions, made for the kiwi that runs."""
    grammar = etree.parse(os.path.join(os.path.dirname(__file__), _GRAMMAR))
    _include_kiwi(grammar.find(f'.//{RNG}include'))
    content = grammar.find(f'.//{RNG}interleave')
    for reference in _define('k.image').iter(f'{RNG}ref'):
        if reference.get('name') not in _NOT_EXTENDED:
            section = etree.SubElement(content, f'{RNG}zeroOrMore')
            etree.SubElement(section, f'{RNG}ref', name=reference.get('name'))
    return etree.RelaxNG(grammar)


@cache
def element_grammar(tag: str) -> Any:
    """Return a validator of one element, None where kiwi has no such name."""
    if _define(f'k.{tag}') is None:
        return None
    return pattern_grammar(etree.Element(f'{RNG}ref', name=f'k.{tag}'))


def pattern_grammar(pattern: Any) -> Any:
    """Return a validator of a pattern that uses what kiwi's schema defines."""
    grammar = etree.Element(
        f'{RNG}grammar', nsmap={None: _URI}, datatypeLibrary=_DATATYPES
    )
    include = etree.SubElement(grammar, f'{RNG}include')
    _include_kiwi(include)
    etree.SubElement(include, f'{RNG}start').append(pattern)
    # parsed again: libxml2 does not see the namespaces of what was put together
    return etree.RelaxNG(etree.fromstring(etree.tostring(grammar)))


def content_of(tag: str) -> Content:
    """Return what may be in an element, as kiwi's schema says it."""
    found = Content({}, set(), set())
    define = _define(f'k.{tag}')
    if define is not None and define.find(f'{RNG}element') is not None:
        _collect(define.find(f'{RNG}element'), False, found)
    if tag == 'image':
        found.attributes['stashed'] = None
        found.required.discard('schemaversion')
        found.children.discard('profiles')
    return found


def element_names() -> Iterator[str]:
    """Yield the names of all elements that kiwi knows."""
    for node in kiwi_schema().iter(f'{RNG}element'):
        if node.get('name'):
            yield node.get('name')


def expanded_rules(schema: Any) -> Any:
    """Return the Schematron rules of a schema, all abstract patterns filled in.

    To do that is nine tenths of the time it takes to read them (ISO/IEC 19757-3,
    6.3), so it is kept: in a cache of this user, by what the rules are.
    """
    rules = isoschematron.iso_dsdl_include(isoschematron.extract_rng(schema))
    name = hashlib.sha256(
        etree.tostring(rules, method='c14n') + repr(etree.LIBXSLT_VERSION).encode()
    ).hexdigest()
    kept = read_kept(_RULES, name)
    if kept is not None:
        try:
            return etree.ElementTree(etree.fromstring(kept))
        except etree.XMLSyntaxError:
            pass
    expanded = isoschematron.iso_abstract_expand(rules)
    keep(_RULES, name, etree.tostring(expanded), most=_RULES_KEPT)
    return expanded


def _collect(pattern: Any, optional: bool, found: Content) -> None:
    for part in pattern.iterchildren(etree.Element):
        name = part.get('name', '')
        if part.tag == f'{RNG}attribute':
            found.attributes[name] = part
            if not optional:
                found.required.add(name)
        elif part.tag == f'{RNG}element':
            found.children.add(name)
        elif part.tag == f'{RNG}ref':
            define = _define(name)
            if define is not None:
                _collect(define, optional, found)
        else:
            _collect(part, optional or part.tag in _NOT_REQUIRED, found)


def _define(name: str) -> Any:
    return kiwi_schema().find(f'.//{RNG}define[@name="{name}"]')


def _include_kiwi(include: Any) -> None:
    # as a URI: the path may have a blank in it
    include.set('href', Path(os.path.abspath(Defaults.get_schema_file())).as_uri())
