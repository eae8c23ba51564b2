# SPDX-License-Identifier: GPL-3.0-or-later
"""Sections of an extension added to a description of a stash.

An element that has a key (a user its name) takes the place of the stash's of
the same key: of two, kiwi takes the first here and the last there.
"""
from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from lxml import etree

from kiwi_stackbuild_plugin.description.extension import is_here
from kiwi_stackbuild_plugin.description.places import Places
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

#: elements that are told apart by their name and architecture, and attributes
#: of their section that tell them apart, too
_KEYED: Dict[Tuple[str, str], Tuple[str, ...]] = {
    ('users', 'user'): (),
    ('packages', 'package'): ('type',),
    ('packages', 'ignore'): ('type',),
    ('packages', 'product'): ('type',),
    ('packages', 'namedCollection'): ('type',),
    ('packages', 'collectionModule'): (),
    ('packages', 'archive'): ('type',),
    ('packages', 'file'): ('type',),
    ('containers', 'container'): (),
    ('certificates', 'certificate'): (),
    ('drivers', 'file'): (),
    ('strip', 'file'): ('type',),
}
#: attributes of a section that hold for all in it
_OF_SECTION = ('type', 'arch', 'source', 'backend')
#: attributes of which kiwi takes the first that it finds in any section
_SETTINGS = ('patternType', 'bootstrap_package', 'target_distribution')
#: sections that kiwi's schema has once
_SINGLE = ('description', 'certificates', 'extension')
#: sections that are not there without an element in them
_NEVER_EMPTY = ('users', 'containers', 'drivers', 'strip')
DELETED = ('delete', 'uninstall')
_EVERY_BUILD = ('bootstrap', 'image', *DELETED)


@dataclass(frozen=True)
class Built:
    """What of a description applies: to profiles, and to a build type."""

    profiles: Tuple[str, ...] = ()
    build_type: str = ''

    def selects(self, section: Any) -> bool:
        """Tell whether a section is for one of the profiles."""
        wanted = section.get('profiles')
        return not wanted or bool(set(wanted.split(',')) & set(self.profiles))

    def has(self, section: Any) -> bool:
        """Tell whether kiwi takes a section of a description."""
        kind = section.get('type') if section.tag == 'packages' else None
        return self.selects(section) and is_here(section.get('arch')) and (
            kind is None or kind in (*_EVERY_BUILD, self.build_type)
        )


#: a description without profiles, of no certain type
WHOLE = Built()


class Merger:
    """Adds sections to a description; what it added is not replaced again."""

    def __init__(
        self, result: Any, now: Built, extension: Any, places: Optional[Places] = None
    ) -> None:
        self.result = result
        self.places = places or Places()
        #: what the extension names itself stays for that
        self.keys = {_key(one, one) for one in extension.iterfind('repository')} | {
            _key(section, child) for section in extension.iterchildren(etree.Element)
            for child in section.iterchildren(etree.Element)
        }
        self.now = now
        #: added elements, held so that each stays one object
        self.added: List[Any] = []
        self.seen: Dict[Tuple[Any, ...], Any] = {}

    def add(self, section: Any) -> None:
        """Add a section of an extension, the first one first."""
        tag = str(section.tag)
        if tag == 'repository':
            self._add_repository(section)
        elif tag in _SINGLE and self.result.find(tag) is not None:
            self._add_single(section, self.result.find(tag))
        elif not any(key[0] == tag for key in _KEYED):
            if not any(_is_same(section, old) for old in self.result.findall(tag)):
                self._append(self.result, section)
        else:
            self._add_section(section)

    def _add_single(self, section: Any, old: Any) -> None:
        if section.tag == 'description':
            old.getparent().replace(old, clone_of(section))
        elif section.tag == 'extension':
            _join_namespaces(old, section)
        elif not self.now.selects(old):
            raise KiwiStashDescriptionInvalid(
                f'{self.places.of(section)}<{section.tag}> of the stash is for the profiles '
                f'{old.get("profiles")} only, and kiwi takes no second one',
                'build with one of these profiles'
            )
        else:
            self._add_section(section, old)

    def _add_repository(self, repository: Any) -> None:
        if self._is_repeated(repository, repository):
            return
        there = [old for old in self._old('repository') if self.now.selects(old)]
        key = _key(repository, repository)
        old = [other for other in there if _key(other, other) == key] or [
            other for other in there if _is_same_repository(repository, other)
            and _key(other, other) not in self.keys
        ]
        if not old:
            self._append(self.result, repository)
            return
        new = self._put_before(old[0], repository)
        if 'profiles' in old[0].attrib:
            new.set('profiles', old[0].get('profiles'))
        remove(old)

    def _add_section(self, section: Any, into: Any = None) -> None:
        """Put each element in the place of its namesake, the others at the end."""
        rest = clone_of(section)
        for child in list(rest.iterchildren(etree.Element)):
            if (str(section.tag), str(child.tag)) not in _KEYED:
                continue
            if self._is_repeated(rest, child):
                rest.remove(child)
                continue
            old = list(self._namesakes(rest, child))
            for place in old:
                if _attributes(place.getparent()) == _attributes(rest):
                    self._put_before(place, child)
                    rest.remove(child)
                    break
            remove(old)
        adds = into is None and (_has_elements(rest) or (
            not _has_elements(section) and not self._has_like(section)
        ))
        self._set_attributes(section, not adds)
        if adds:
            self._append(self.result, rest)
        elif into is not None:
            for child in list(rest):
                self._append(into, child)

    def _is_repeated(self, section: Any, child: Any) -> bool:
        """Tell whether the extension has the element twice.

        :raises KiwiStashDescriptionInvalid: if the two differ
        """
        first = self.seen.setdefault(_key(section, child), child)
        if first is not child and not _is_same(first, child):
            name = child.get('name') or child.get('alias') or _address(child)
            raise KiwiStashDescriptionInvalid(
                f'{self.places.of(child)}the extension has <{child.tag}> {name} twice, and '
                f'they differ', *self.places.hints(first)
            )
        return first is not child

    def _namesakes(self, section: Any, child: Any) -> Iterator[Any]:
        for other in self._old(str(section.tag)):
            if not self.now.selects(other):
                continue
            for old in other.iterchildren(etree.Element):
                if not self._is_new(old) or not _overrules(section, child, other, old):
                    continue
                key = _key(other, old)
                if key == _key(section, child) or key not in self.keys:
                    yield old

    def _set_attributes(self, section: Any, all_in_place: bool) -> None:
        """Let the extension's value be the first that kiwi finds."""
        for name in _SETTINGS:
            if name in section.attrib:
                same = [
                    old for old in self._old(str(section.tag)) if self.now.selects(old)
                    and old.get('type') == section.get('type')
                ]
                having = [old for old in same if name in old.attrib]
                for old in having or same[:int(all_in_place)]:
                    old.set(name, section.get(name))

    def _has_like(self, section: Any) -> bool:
        return any(
            _attributes(old) == _attributes(section)
            for old in self.result.findall(section.tag)
        )

    def _old(self, tag: str) -> List[Any]:
        return [
            old for old in self.result.findall(tag)
            if not any(old is new for new in self.added)
        ]

    def _is_new(self, element: Any) -> bool:
        return not any(element is new for new in self.added)

    def _append(self, parent: Any, element: Any) -> None:
        parent.append(clone_of(element))
        self.added += [parent[-1], *parent[-1].iterchildren(etree.Element)]

    def _put_before(self, old: Any, element: Any) -> Any:
        new = clone_of(element)
        old.addprevious(new)
        self.added.append(new)
        return new


def _overrules(section: Any, new: Any, other: Any, old: Any) -> bool:
    """Tell whether an element of an extension is against one of the stash."""
    if new.get('name') != old.get('name') or not _meet(section, new, other, old):
        return False
    if {new.tag, old.tag} == {'package', 'ignore'}:
        return bool(section.get('type') == other.get('type'))
    if new.tag != old.tag or (section.tag, new.tag) not in _KEYED:
        return False
    if new.tag == 'package' and section.get('type') not in DELETED and (
        other.get('type') in DELETED
    ):
        return True
    return all(
        section.get(name) == other.get(name)
        for name in _KEYED[(str(section.tag), str(new.tag))]
    )


def _meet(section: Any, new: Any, other: Any, old: Any) -> bool:
    """Tell whether two elements are for the same architectures."""
    of_new = (section.get('arch'), new.get('arch'))
    of_old = (other.get('arch'), old.get('arch'))
    return of_new == of_old or all(map(is_here, (*of_new, *of_old)))


def _key(section: Any, element: Any) -> Tuple[Any, ...]:
    if element.tag == 'repository':
        alias, arch = element.get('alias'), element.get('arch')
        return (alias, arch) if alias else (
            None, arch, _address(element), element.get('distribution')
        )
    return (
        str(section.tag), str(element.tag), element.get('name'),
        element.get('arch'), section.get('arch'),
        *(section.get(name) for name in _KEYED.get(
            (str(section.tag), str(element.tag)), ()
        ))
    )


def _is_same_repository(new: Any, old: Any) -> bool:
    """Tell by the alias; by address and distribution where one has none."""
    if not _meet(new, new, old, old):
        return False
    if new.get('alias') and old.get('alias'):
        return bool(new.get('alias') == old.get('alias'))
    return _address(new) == _address(old) and (
        new.get('distribution') == old.get('distribution')
    )


def _address(repository: Any) -> str:
    source = repository.find('source')
    return '' if source is None else str(source.get('path'))


def _join_namespaces(old: Any, new: Any) -> None:
    """Join what is not kiwi's; it reads one element of each namespace."""
    spaces = {etree.QName(child).namespace for child in new.iterchildren(etree.Element)}
    joined = etree.Element('extension', nsmap={**old.nsmap, **new.nsmap})
    for child in [
        child for child in old.iterchildren(etree.Element)
        if etree.QName(child).namespace not in spaces
    ] + list(new.iterchildren(etree.Element)):
        joined.append(clone_of(child))
    old.getparent().replace(old, joined)


def _attributes(section: Any) -> List[Optional[str]]:
    return [section.get(name) for name in _OF_SECTION]


def _has_elements(section: Any) -> bool:
    return next(section.iterchildren(etree.Element), None) is not None


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two elements say the same, however they are indented."""
    def canonical(node: Any) -> bytes:
        clone = clone_of(node)
        etree.indent(clone)
        return bytes(etree.tostring(clone, method='c14n'))
    return canonical(one) == canonical(other)


def remove(elements: Sequence[Any]) -> None:
    """Remove elements, and sections that kiwi's schema wants no empty ones of."""
    for element in elements:
        section = element.getparent()
        section.remove(element)
        if section.tag in _NEVER_EMPTY and not _has_elements(section):
            section.getparent().remove(section)


def clone_of(element: Any) -> Any:
    clone = copy.deepcopy(element)
    clone.tail = None
    return clone
