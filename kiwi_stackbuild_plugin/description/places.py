# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the elements of an extension are written: in which file, in which line.

Includes are resolved as kiwi's stylesheets do it (include.xsl), which lose both; those
that convert older versions carry a mark of both along.
"""
from __future__ import annotations

from typing import Any, List, Tuple

from kiwi.exceptions import KiwiIncludFileNotFoundError
from kiwi.markup.base import FileResolver
from lxml import etree

from kiwi_stackbuild_plugin.description.description import SIZE_LIMIT, parse_xml
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

#: an attribute that kiwi's schema does not have, while stylesheets work
_MARK = 'place-of-stackbuild'
#: more than libxml2 keeps as the number of a line
_MOST = 0xffff


class Places:
    """Files and lines of a description that is put together of several files.

    The number of the line of each of its elements, and of copies of these, is then that
    of a place here.

    :param path: of the description; places that are not known are just there
    """

    def __init__(self, path: str = '') -> None:
        self._path = path
        self._places: List[Tuple[str, int]] = []

    def of(self, element: Any) -> str:
        """Return the place of an element for the beginning of a message, with a colon."""
        return self.number(int(element.sourceline or 0))

    def number(self, number: int) -> str:
        """Return the place of a number for the beginning of a message."""
        if 0 < number <= len(self._places):
            path, line = self._places[number - 1]
            return f'{path}: line {line}: '
        return self._path and f'{self._path}: '

    def hints(self, element: Any) -> Tuple[str, ...]:
        """Return a hint to the place of another element, if it is known."""
        place = self.of(element).rstrip(': ')
        return (f'the other one: {place}',) if place else ()

    def mark(self, image: Any, path: str) -> None:
        """Give each element of a file a mark that names its place."""
        for element in image.iter(etree.Element):
            self._places.append((path, int(element.sourceline or 0)))
            element.set(_MARK, str(len(self._places)))

    @staticmethod
    def settle(image: Any) -> None:
        """Take the marks away; they become the numbers of lines."""
        for element in image.iter(etree.Element):
            number = int(element.attrib.pop(_MARK, '0'))
            element.sourceline = number if number <= _MOST else 0


class _Finder(FileResolver):  # type: ignore[misc]
    """Tells the file that kiwi would read."""

    def resolve_filename(self, filename: str, context: object) -> str:
        """Return the name."""
        return filename


def read_limited(path: str) -> bytes:
    """Read a file of a description.

    :raises KiwiStashDescriptionInvalid: it is larger than what people write
    """
    try:
        with open(path, 'rb') as source:
            data = source.read(SIZE_LIMIT + 1)
    except OSError as issue:
        raise KiwiStashDescriptionInvalid(f'{path}: {issue.strerror}') from issue
    if len(data) > SIZE_LIMIT:
        raise KiwiStashDescriptionInvalid(
            f'{path}: has more than {SIZE_LIMIT} bytes, which are not read'
        )
    return data


def include_files(image: Any, path: str) -> Places:
    """Put what the <include>s of a description name in their places.

    :param image: root element of path, changed; marks are left in it
    :returns: where each element is from, once the marks are settled
    :raises KiwiStashDescriptionInvalid: naming file and line
    """
    places = Places(path)
    places.mark(image, path)
    finder = _Finder(path.rpartition('/')[0])
    for include in image.findall('include'):
        for child in _included(include, finder, places):
            include.addprevious(child)
        image.remove(include)
    return places


def _included(include: Any, finder: Any, places: Places) -> List[Any]:
    """Return the elements that one <include> stands for."""
    where = places.number(int(include.get(_MARK)))
    address = include.get('from', '')
    try:
        path = finder.resolve(address, None, None)
    except KiwiIncludFileNotFoundError as issue:
        raise KiwiStashDescriptionInvalid(
            f'{where}<include>: from="{address}": there is no such file'
        ) from issue
    image = parse_xml(read_limited(path), path)
    places.mark(image, path)
    if image.tag != 'image':
        raise KiwiStashDescriptionInvalid(
            f'{places.number(int(image.get(_MARK)))}<{image.tag}>: the sections of an '
            'included file are in <image>'
        )
    nested = image.find('include')
    if nested is not None:
        raise KiwiStashDescriptionInvalid(
            f'{places.number(int(nested.get(_MARK)))}<include>: kiwi resolves none in an '
            'included file'
        )
    return list(image.iterchildren(etree.Element))
