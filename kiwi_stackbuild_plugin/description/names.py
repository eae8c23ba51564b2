# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files in a description: the door they pass before they are paths.

Which attributes and texts name files was read from kiwi's schemas and code,
9.24 to 11.1. kiwi joins them to a directory as they are; those in a stash are
a stranger's.
"""
from __future__ import annotations

import os
import re
import stat
from enum import Enum
from typing import (
    Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple
)
from urllib.parse import parse_qsl, unquote, urlparse

from kiwi.defaults import Defaults
from lxml import etree

from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid

_THIS = 'this://'
_XINCLUDE = '{http://www.w3.org/2001/XInclude}include'


class Kind(Enum):
    """What kiwi does with a name."""

    STORED = 'read beside the description, kept in image/ without its folders'
    BESIDE = 'read beside the description, not kept'
    HOST = 'read on the build host'
    WRITTEN = 'written to on the build host'
    FOLDER = 'a directory that is read if it is there'
    PLACE = 'a path in the root tree'
    PART = 'part of the name of a file'
    WORD = 'a word of a shell command on the build host'


class Name(NamedTuple):
    """One name. attribute: where it stands, empty for the text of the element."""

    element: Any
    attribute: str
    value: str
    kind: Kind

    @property
    def shown(self) -> str:
        """The name and its place, for the user."""
        place = f'{self.element.tag} {self.attribute}'.strip()
        return f'{self.value!r} ({place})'

    @property
    def is_needed(self) -> bool:
        """Whether kiwi ends where the file is not there, and does not go on without."""
        return self.kind is Kind.STORED or self.element.tag == 'signing'


#: (parent, element, attribute); no attribute: its text, no parent: any
_NAMES: Dict[Tuple[str, str, str], Kind] = {
    ('', 'archive', 'name'): Kind.STORED,
    ('packages', 'file', 'name'): Kind.STORED,
    ('', 'type', 'editbootconfig'): Kind.STORED,
    ('', 'type', 'editbootinstall'): Kind.STORED,
    ('', 'repository', 'customize'): Kind.BESIDE,
    ('', 'bootloader', 'grub_template'): Kind.BESIDE,
    ('', 'vagrantconfig', 'embedded_vagrantfile'): Kind.BESIDE,
    ('', 'type', 'integrity_keyfile'): Kind.HOST,
    ('', 'type', 'metadata_path'): Kind.WRITTEN,
    # a profile's own overlay is the directory of its name
    ('', 'profile', 'name'): Kind.FOLDER,
    ('', 'type', 'boot'): Kind.FOLDER,
    ('', 'archive', 'target_dir'): Kind.PLACE,
    ('', 'file', 'target'): Kind.PLACE,
    ('strip', 'file', 'name'): Kind.PLACE,
    ('', 'type', 'spare_part_mountpoint'): Kind.PLACE,
    ('', 'partition', 'mountpoint'): Kind.PLACE,
    ('', 'volume', 'name'): Kind.PLACE,
    ('', 'volume', 'mountpoint'): Kind.PLACE,
    ('', 'volume', 'parent'): Kind.PLACE,
    ('', 'systemdisk', 'name'): Kind.PLACE,
    ('', 'packages', 'bootstrap_package'): Kind.PLACE,
    ('', 'container', 'name'): Kind.PLACE,
    ('', 'container', 'tag'): Kind.PLACE,
    ('', 'container', 'path'): Kind.PLACE,
    ('', 'user', 'home'): Kind.PLACE,
    ('', 'securelinux', 'hkd_ca_cert'): Kind.PLACE,
    ('', 'securelinux', 'hkd_sign_cert'): Kind.PLACE,
    ('', 'hkd_cert', 'name'): Kind.PLACE,
    ('', 'hkd_revocation_list', 'name'): Kind.PLACE,
    ('', 'bootloader-theme', ''): Kind.PLACE,
    ('', 'bootsplash-theme', ''): Kind.PLACE,
    ('', 'repository', 'alias'): Kind.PART,
    ('', 'keytable', ''): Kind.WORD,
    ('', 'locale', ''): Kind.WORD,
    ('', 'timezone', ''): Kind.WORD,
    ('', 'type', 'volid'): Kind.WORD,
    ('', 'type', 'application_id'): Kind.WORD,
}
#: values that are addresses: only some of them name a file
_ADDRESSES = (
    ('source', 'path'), ('signing', 'key'), ('type', 'luks'), ('type', 'derived_from')
)
#: the names that kiwi keeps edited boot scripts under
EDIT_SCRIPTS = {
    'editbootconfig': 'edit_boot_config.sh', 'editbootinstall': 'edit_boot_install.sh'
}


def refuse_includes(image: Any, where: str) -> None:
    """Refuse what would take XML of other files in; kiwi writes none of it.

    :raises KiwiStashDescriptionInvalid: naming the include
    """
    for element in image.iter('include', _XINCLUDE):
        source = element.get('from', element.get('href', ''))
        raise KiwiStashDescriptionInvalid(
            f'{where}: <include> of {source!r}: a stash needs none and is given '
            'nothing of this machine',
            'kiwi resolves includes when it prepares a tree; give a full '
            'description with --description'
        )


def guard_names(
    image: Any, directory: str, applies: Callable[[Any], bool], where: str
) -> None:
    """Let no name of a stash's description lead anywhere but into image/.

    Names of what kiwi keeps there without folders lose theirs; others are
    refused where they are used.

    :param directory: a copy of image/, plain files and no links
    :param applies: whether the build uses an element, see applying()
    :raises KiwiStashDescriptionInvalid: naming the first that is refused
    """
    for name in find_names(image):
        if name.kind is Kind.STORED:
            _flatten(name, directory)
        why = _CHECKS[name.kind](
            name.element.get(name.attribute) if name.kind is Kind.STORED else name.value
        )
        if why and applies(name.element):
            raise KiwiStashDescriptionInvalid(
                f'{where}: {name.shown} {why}',
                'give a full description with --description'
            )


def find_names(image: Any) -> Iterator[Name]:
    """Yield all that names a file in a description."""
    for element in image.iter(etree.Element):
        parent = element.getparent()
        above = parent.tag if parent is not None else ''
        for attribute in ('', *element.attrib):
            kind = _NAMES.get((above, element.tag, attribute)) \
                or _NAMES.get(('', element.tag, attribute))
            value = element.get(attribute) if attribute else (element.text or '').strip()
            if kind and value:
                yield Name(element, attribute, value, kind)
            elif value and (element.tag, attribute) in _ADDRESSES:
                for kind, part in _parts(value):
                    yield Name(element, attribute, part, kind)


def _parts(address: str) -> Iterator[Tuple[Kind, str]]:
    """Yield the names of files in an address, as kiwi's Uri takes it apart."""
    if address.startswith(_THIS):
        # all of them, as kiwi does
        yield Kind.BESIDE, address.replace(_THIS, '') or '.'
        return
    try:
        parsed = urlparse(address)
    except ValueError:
        return
    if parsed.scheme in ('file', 'dir') or address.startswith('/'):
        yield Kind.HOST, os.path.normpath(parsed.path or '/')
    for key, value in parse_qsl(parsed.query):
        if key == 'credentials':
            yield Kind.PART, value
    if parsed.query.startswith('credentials='):
        # not decoded by kiwi
        yield Kind.PART, parsed.query.split('=', 1)[1] or '.'


def applying(
    profiles: Sequence[str], build_type: Optional[str],
    unused: Sequence[str] = ()
) -> Callable[[Any], bool]:
    """Return what tells whether a build with these uses an element.

    :param build_type: None where none of the description's types is built
    :param unused: sections that are not used
    """
    machine = Defaults.get_platform_name()

    def applies(element: Any) -> bool:
        for node in (element, *element.iterancestors()):
            if node.tag in unused:
                return False
            if node.get('arch') and machine not in node.get('arch').split(','):
                return False
            if node.get('profiles') and not set(node.get('profiles').split(',')) & set(profiles):
                return False
            if node.tag == 'type' and node.get('image') != build_type:
                return False
            if node.tag == 'packages' and node.get('type') not in (
                'image', 'bootstrap', build_type
            ):
                return False
        return True
    return applies


def host_scripts(
    image: Any, directory: str, applies: Callable[[Any], bool]
) -> List[str]:
    """Return the scripts beside a description that kiwi runs on the build host.

    :param directory: that of the description, a stranger's
    """
    named = [
        name.value if name.kind is Kind.BESIDE else stored_name(name)
        for name in find_names(image)
        if name.attribute in (*EDIT_SCRIPTS, 'customize') and applies(name.element)
    ]
    return [
        name for name in dict.fromkeys(named)
        if os.path.isfile(os.path.join(directory, name))
    ]


def find_missing(
    image: Any, directory: str, applies: Callable[[Any], bool]
) -> List[Name]:
    """Return the names that kiwi will look for in vain.

    :param directory: that of the description
    """
    return [
        name for name in find_names(image)
        if (name.kind in (Kind.STORED, Kind.BESIDE)
            or (name.kind is Kind.HOST and name.value.startswith('/')))
        and applies(name.element) and '\0' not in name.value
        and not os.path.exists(os.path.join(directory, name.value))
    ]


def climbing(image: Any) -> Iterator[Tuple[int, List[str], Any]]:
    """Yield names that lead up from a description's directory.

    :returns: how many levels, the names from there on down, and the element
    """
    for element in image.iter(etree.Element):
        for value in (*element.attrib.values(), element.text or ''):
            path = value.strip().replace(_THIS, '')
            names = [name for name in path.split('/') if name not in ('', '.')]
            levels = 0
            while levels < len(names) and names[levels] == '..':
                levels += 1
            if levels and not path.startswith('/'):
                yield levels, names[levels:], element


def why_outside(name: str) -> str:
    """Say why a name is none of a file inside a directory; empty if it is."""
    if '\0' in name:
        return 'has a zero byte in it'
    if name.startswith('/'):
        return 'is absolute'
    if '..' in name.split('/'):
        return 'leads up'
    return '' if name else 'is empty'


def stored_name(name: Name) -> str:
    """Return the name that kiwi keeps a file under in image/."""
    return EDIT_SCRIPTS.get(name.attribute) or os.path.basename(name.value.rstrip('/'))


def _flatten(name: Name, directory: str) -> None:
    flat = stored_name(name)
    if not why_outside(name.value) and (
        os.path.isfile(os.path.join(directory, name.value))
        or not os.path.isfile(os.path.join(directory, flat))
    ):
        return
    name.element.set(name.attribute, flat)


def _why_not_beside(value: str) -> str:
    why = why_outside(value)
    return why and f'{why}, out of the description of the stash'


def _why_not_stored(value: str) -> str:
    return _why_not_beside(value) or ('' if value != '.' else 'names no file')


def _why_private(value: str) -> str:
    """Refuse files that only root may read: no stranger has them read."""
    try:
        status = os.stat(value)
    except (OSError, ValueError):
        return ''
    if stat.S_ISDIR(status.st_mode):
        return ''
    if not stat.S_ISREG(status.st_mode):
        return 'is no regular file of this machine'
    return '' if status.st_mode & stat.S_IROTH else \
        'is a file of this machine that not everybody may read'


def _why_no_place(value: str) -> str:
    up = '\0' in value or '..' in value.split('/')
    return 'leads out of where it belongs' if up else ''


def _why_no_word(value: str) -> str:
    return '' if re.fullmatch(r'[\w./@:+, -]*', value) else \
        'has characters that a shell acts on'


def _why_no_part(value: str) -> str:
    odd = '/' in unquote(value) or '\0' in value or value in ('.', '..')
    return 'is no plain name' if odd else ''


_CHECKS: Dict[Kind, Callable[[str], str]] = {
    Kind.STORED: _why_not_stored, Kind.BESIDE: _why_not_beside,
    Kind.FOLDER: _why_not_beside, Kind.HOST: _why_private,
    Kind.PLACE: _why_no_place, Kind.PART: _why_no_part,
    Kind.WORD: _why_no_word,
    Kind.WRITTEN: lambda value: 'would be written to on this machine'
}
