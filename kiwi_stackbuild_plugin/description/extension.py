# SPDX-License-Identifier: GPL-3.0-or-later
"""An extension: a short description that builds on the one of a stash."""
from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from glob import glob
from typing import Any, List, Optional

from kiwi.defaults import Defaults
from kiwi.exceptions import KiwiDescriptionInvalid
from kiwi.markup import Markup
from lxml import etree

from kiwi_stackbuild_plugin.description.description import parse_xml
from kiwi_stackbuild_plugin.description.places import Places, include_files, read_limited
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.description.schema_errors import find_error
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid, printable

_MARK = 'stashed'
#: anymarkup-core alone reads no YAML and writes no XML
_ALL_OF_IT = 'install the Python module anymarkup, with what it needs'


@dataclass(frozen=True)
class Extension:
    """A description with <image stashed="REFERENCE">.

    :param path: its file; directory: where that is
    :param is_xml: or else another markup that kiwi reads
    :param image: root element, in kiwi's own schema version, without includes
    :param places: where its elements are written
    """

    path: str
    is_xml: bool
    image: Any
    places: Places = field(default_factory=Places)

    @property
    def directory(self) -> str:
        """Directory of the description, with the files beside it."""
        return os.path.dirname(self.path)

    @property
    def reference(self) -> str:
        """The stash it names, or nothing."""
        return str(self.image.get(_MARK)).strip()

    @property
    def types(self) -> List[Any]:
        """Its <type> elements, the one to be built first."""
        found = [
            kind for section in self.image.findall('preferences')
            if is_here(section.get('arch')) for kind in section.findall('type')
        ]
        return sorted(found, key=lambda kind: kind.get('primary') != 'true')

    @property
    def build_type(self) -> str:
        """The image type it asks for, or nothing."""
        return str(self.types[0].get('image')) if self.types else ''


def is_here(architectures: Optional[str]) -> bool:
    """Tell whether an attribute arch names the architecture to build for."""
    return not architectures or (
        Defaults.get_platform_name() in architectures.split(',')
    )


def find_description(directory: str, kiwi_file: Optional[str]) -> str:
    """Return the file that kiwi takes for the description in a directory.

    :raises KiwiStashDescriptionInvalid: if there is none
    """
    candidates = [kiwi_file] if kiwi_file else ['config.xml', 'image/config.xml']
    paths = [os.path.join(directory, name) for name in candidates]
    if not kiwi_file:
        paths += sorted(glob(os.path.join(glob_free(directory), '*.kiwi')))
    for path in paths:
        if os.path.isfile(path):
            return path
    reason = 'no such directory' if not os.path.isdir(directory) else (
        f'no description ({" or ".join(candidates)}) in it'
    )
    raise KiwiStashDescriptionInvalid(f'--description {directory!r}: {reason}')


def glob_free(name: str) -> str:
    """Escape what glob(3) would take for a pattern."""
    return ''.join(f'[{char}]' if char in '*?[' else char for char in name)


def read_extension(path: str, work_dir: str) -> Optional[Extension]:
    """Read a description if it is an extension.

    :param work_dir: an existing directory for temporary files
    :returns: None for any other description, broken ones too: those are kiwi's
    :raises KiwiStashDescriptionInvalid: with line, element and reason
    """
    data = read_limited(path)
    is_xml = data.lstrip(b'\xef\xbb\xbf \t\r\n').startswith(b'<')
    if is_xml:
        try:
            image = parse_xml(data, path)
        except KiwiStashDescriptionInvalid:
            if _MARK.encode() + b'=' in data:
                raise
            return None
    else:
        image = _read_markup(path)
        if image is None and _MARK.encode() in data:
            raise KiwiStashDescriptionInvalid(
                f'{path}: is no XML, and kiwi cannot convert it',
                _ALL_OF_IT
            )
    if image is None or image.tag != 'image' or _MARK not in image.attrib:
        return None
    places = include_files(image, path) if is_xml else Places(path)
    if 'schemaversion' in image.attrib or image.find('include') is not None:
        image = _upgrade(path, image, work_dir)
    places.settle(image)
    error = find_error(image)
    if error is not None:
        raise KiwiStashDescriptionInvalid(
            f'{places.number(error.line)}<{error.element}>: {error.why}'
        )
    return Extension(os.path.abspath(path), is_xml, image, places)


def _read_markup(path: str) -> Any:
    """Let kiwi convert YAML, JSON or TOML; None where it cannot.

    :raises KiwiStashDescriptionInvalid: in one line, where kiwi shows a traceback
    """
    try:
        markup = Markup.new(path)
    except KiwiDescriptionInvalid as issue:
        told = printable(' '.join(str(issue).partition('Original traceback:')[0].split()))
        raise KiwiStashDescriptionInvalid(
            f'{path}: is no XML, and cannot be converted: {told}',
            _ALL_OF_IT if 'not installed' in told else ''
        ) from issue
    converted = getattr(markup, 'description_markup_processed', None)
    if converted is None:
        return None
    with open(converted.name, 'rb') as source:
        return parse_xml(source.read(), path)


def _upgrade(path: str, image: Any, work_dir: str) -> Any:
    """Let kiwi's stylesheets bring it to its own version, includes resolved."""
    clone = copy.deepcopy(image)
    clone.set('schemaversion', image.get('schemaversion', schema_version()))
    written = os.path.join(work_dir, 'extension.xml')
    etree.ElementTree(clone).write(written, encoding='utf-8')
    markup = Markup.new(path, 'xml')  # the file it makes goes when it goes
    with open(markup.apply_xslt_stylesheets(written), 'rb') as source:
        return parse_xml(source.read(), path)
