# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which line and element of an extension description is wrong, and why.

What libxml2 says of a pattern with interleave is mostly that it did not match;
so the innermost element that kiwi's schema does not accept is looked for, and
then what of it.
"""
from __future__ import annotations

import copy
import difflib
from typing import Any, Iterable, Iterator, NamedTuple, Optional

from lxml import etree

from kiwi_stackbuild_plugin.description.schema import (
    RNG, content_of, element_grammar, element_names, extension_grammar,
    pattern_grammar
)

#: the content of kiwi's own extension element is not kiwi's business
_FREE = 'extension'


class Finding(NamedTuple):
    """What is wrong with which element in which line."""

    line: int
    element: str
    why: str


def find_error(image: Any) -> Optional[Finding]:
    """Return what is wrong with an extension description, None for nothing.

    :param image: root element
    """
    known = set(element_names())
    for element in _elements(image):
        tag = str(element.tag)
        if tag not in known:
            return _finding(element, 'no such element' + _hint(tag, known))
        if 'profiles' in element.attrib or tag == 'profiles':
            return _finding(
                element, 'an extension has no profiles, those of the stash apply'
            )
    grammar = extension_grammar()
    if grammar.validate(image):
        return None
    message = str(grammar.error_log[0].message)
    innermost = image
    for element in _elements(image):
        if element is not image and not _is_valid(element):
            innermost = element
    return (
        _wrong_attribute(innermost) or _wrong_child(innermost)
        or _finding(innermost, message)
    )


def _elements(element: Any) -> Iterator[Any]:
    """Yield an element and all below it, outer ones first."""
    yield element
    if element.tag != _FREE:
        for child in element.iterchildren(etree.Element):
            yield from _elements(child)


def _is_valid(element: Any) -> bool:
    grammar = element_grammar(str(element.tag))
    clone = copy.deepcopy(element)
    clone.tail = None
    return grammar is None or bool(grammar.validate(clone))


def _wrong_attribute(element: Any) -> Optional[Finding]:
    content = content_of(str(element.tag))
    for name, value in element.attrib.items():
        if name not in content.attributes:
            hint = _hint(name, content.attributes)
            return _finding(element, f'no such attribute: {name}="{value}"{hint}')
        pattern = content.attributes[name]
        if pattern is not None and not _is_value(pattern, name, value):
            return _finding(element, f'{name}="{value}": {_wanted(pattern)}')
    missing = sorted(content.required.difference(element.attrib))
    if missing:
        return _finding(element, f'attribute {", ".join(missing)} is missing')
    return None


def _wrong_child(element: Any) -> Optional[Finding]:
    allowed = content_of(str(element.tag)).children
    seen = set()
    for child in element.iterchildren(etree.Element):
        if child.tag not in allowed:
            return _finding(child, f'is not allowed in <{element.tag}>')
        if child.tag in seen and _is_valid_without(element, child):
            return _finding(child, f'is in <{element.tag}> more than once')
        seen.add(child.tag)
    return None


def _is_valid_without(element: Any, child: Any) -> bool:
    clone = copy.deepcopy(element)
    clone.remove(clone[element.index(child)])
    return _is_valid(clone)


def _is_value(pattern: Any, name: str, value: str) -> bool:
    element = etree.Element(f'{RNG}element', name='any')
    element.append(copy.deepcopy(pattern))
    return bool(pattern_grammar(element).validate(
        etree.Element('any', {name: value})
    ))


def _wanted(pattern: Any) -> str:
    values = sorted({
        str(value.text) for value in pattern.iter(f'{RNG}value')
    })
    if values:
        return 'not one of ' + ', '.join(values)
    return 'a value that kiwi does not accept'


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f', did you mean {near[0]}?' if near else ''


def _finding(element: Any, why: str) -> Finding:
    return Finding(int(element.sourceline or 0), str(element.tag), why)
