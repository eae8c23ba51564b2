# SPDX-License-Identifier: GPL-3.0-or-later
"""The full description that an extension makes of that of a stash."""
from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from lxml import etree

from kiwi_stackbuild_plugin.description.extension import Extension, is_here
from kiwi_stackbuild_plugin.description.keyed import (
    DELETED, WHOLE, Built, Merger, clone_of, remove
)
from kiwi_stackbuild_plugin.host.errors import printable

#: what kiwi's prepare phase does to a root, beside the packages it installs
_DONE_ONCE = {
    'packages': (
        'archive', 'file', 'package', 'product', 'namedCollection'
    ),
    'users': ('user',),
    'containers': ('container',),
    'certificates': ('certificate',),
    'preferences': ('timezone', 'locale', 'keytable', 'bootsplash-theme'),
}


class Place(NamedTuple):
    """Where an element is: which section of its name, which child of its name.

    child: empty for the section itself
    """

    section: str
    number: int
    child: str = ''
    position: int = 0


@dataclass(frozen=True)
class Merged:
    """A full description, made of that of a stash and an extension.

    :param image: its root element
    :param done: what in it kiwi did to the root when the stash was made
    :param brought: what of the extension is done to it now, in words
    :param kept: what is done already, in words
    """

    image: Any
    done: Tuple[Place, ...]
    brought: str
    kept: str

    def said(self) -> Tuple[str, ...]:
        """Return lines for a user on what is done to the root, and what not."""
        return tuple(
            printable(f'{headline}: {text}').replace('\n', ' ') for headline, text in (
                ('Done to the root', self.brought),
                ('In the root already, not done again', self.kept)
            ) if text
        )


def merge(
    stashed: Any, extension: Extension, sections: Sequence[int],
    built: Optional[int], now: Built = WHOLE, then: Built = WHOLE
) -> Merged:
    """Merge an extension into the description of a stash.

    :param stashed: root element, in kiwi's own schema version
    :param sections: which of its preferences apply to the selected profiles
    :param built: which type in these (counted through) the stash was built as
    :param now: what is built; then: what the stash was built as
    :raises KiwiStashDescriptionInvalid: for what cannot be merged
    """
    result = copy.deepcopy(stashed)
    done = list(_done_once(result, then))
    for name in ('name', 'displayname', 'id'):
        if name in extension.image.attrib:
            result.set(name, extension.image.get(name))
    every = result.findall('preferences')
    preferences = [every[number] for number in sections] or every[:1]
    merger = Merger(result, now, extension.image, extension.places)
    for section in extension.image.iterchildren(etree.Element):
        if section.tag != 'preferences' or not is_here(section.get('arch')):
            merger.add(section)
    _replace_types(preferences, extension.types, built)
    _replace_settings(preferences, extension.image)
    etree.indent(result, '    ')
    there = [element for element in done if result in element.iterancestors()]
    kept = [
        element for element in there
        if not _has_new_file(extension, element) and not _is_in_image(element)
    ]
    brought = [
        child for section in extension.image for child in section
        if child.tag in _DONE_ONCE.get(str(section.tag), ())
    ] + [element for element in there if element not in kept]
    return Merged(
        result, tuple(map(_place, kept)), _in_words(brought), _in_words(kept)
    )


def _replace_types(
    preferences: Sequence[Any], types: Sequence[Any], built: Optional[int]
) -> None:
    if not types:
        return
    old = [kind for section in preferences for kind in section.findall('type')]
    names = {kind.get('image') for kind in types}
    place = old[built] if built is not None else None
    if place is None:
        for kind in types:
            preferences[0].append(clone_of(kind))
    else:
        for kind in types:
            place.addprevious(clone_of(kind))
    for kind in old:
        if kind is place or kind.get('image') in names:
            kind.getparent().remove(kind)


def _replace_settings(preferences: Sequence[Any], image: Any) -> None:
    """Put settings in the place of the first of the same name, or at the top."""
    new = [
        element for section in image.findall('preferences')
        if is_here(section.get('arch'))
        for element in section.iterchildren(etree.Element) if element.tag != 'type'
    ]
    for name in dict.fromkeys(element.tag for element in new):
        old = [found for section in preferences for found in section.findall(name)]
        same = [element for element in new if element.tag == name]
        if not old:
            preferences[0][0:0] = [clone_of(element) for element in same]
            continue
        for element in same:
            old[0].addprevious(clone_of(element))
        remove(old)


def _done_once(image: Any, then: Built) -> Iterator[Any]:
    """Yield what kiwi did to the root, and would do to it again."""
    for section in image.iterchildren(etree.Element):
        if not then.has(section):
            continue
        if section.tag == 'repository':
            yield section
        for child in section.iterchildren(etree.Element):
            if child.tag in _DONE_ONCE.get(str(section.tag), ()) and (
                is_here(child.get('arch'))
            ):
                yield child


def _has_new_file(extension: Extension, element: Any) -> bool:
    """Tell whether it names a file of the stash that the extension replaces."""
    name = element.get('name') or ''
    return element.tag in ('archive', 'file') and not os.path.isabs(name) and (
        os.path.isfile(os.path.join(extension.directory, name))
    )


def _is_in_image(element: Any) -> bool:
    """Tell whether a file goes into image/, which is made anew with the description."""
    target = (element.get('target') or element.get('target_dir') or '').lstrip('/')
    return element.tag in ('archive', 'file') and (
        f'{os.path.normpath(target)}/'.startswith('image/')
    )


def _place(element: Any) -> Place:
    if element.tag == 'repository':
        return Place('repository', _number(element))
    return Place(
        str(element.getparent().tag), _number(element.getparent()),
        str(element.tag), _number(element)
    )


def _number(element: Any) -> int:
    return sum(1 for _ in element.itersiblings(element.tag, preceding=True))


def _in_words(elements: Sequence[Any]) -> str:
    """Name elements by their kind: 'package vim, curl; user tux'."""
    kinds: Dict[str, List[str]] = {}
    for element in elements:
        if element.tag == 'repository':
            continue
        kind = str(element.tag)
        if kind == 'package' and element.getparent().get('type') in DELETED:
            kind = 'deletion of package'
        kinds.setdefault(kind, []).append(element.get('name') or element.text or '')
    return '; '.join(f'{kind} {", ".join(names)}' for kind, names in kinds.items())
