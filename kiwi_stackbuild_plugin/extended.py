# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of a stash, as it is or with an extension, in a directory."""
from __future__ import annotations

import difflib
import fnmatch
import logging
import os
import shutil
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState
from lxml import etree

from kiwi_stackbuild_plugin.description import (
    BASE_FILES, CONFIG, IMAGE_DIR, parse_xml, read_file
)
from kiwi_stackbuild_plugin.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.extension import Extension
from kiwi_stackbuild_plugin.keyed import WHOLE, Built
from kiwi_stackbuild_plugin.merging import Place, merge
from kiwi_stackbuild_plugin.scripts import Script, merge_scripts
from kiwi_stackbuild_plugin.tree import open_below, scan

log = logging.getLogger('kiwi')

#: names that the extension is kept under, beside the description made of it
_KEPT_XML, _KEPT_OTHER = 'extension.xml', 'extension.markup'
_CDROOT = 'config-cdroot.tar*'
_EDIT_SCRIPTS = (
    ('editbootconfig', 'edit_boot_config.sh'),
    ('editbootinstall', 'edit_boot_install.sh')
)


@dataclass(frozen=True)
class Extended:
    """A full description made of that of a stash and an extension.

    :param directory: where it is
    :param stashed: text of the stash's, in kiwi's own schema version
    :param result: text of the full one
    :param scripts: a line on each script: whether it will run
    :param applied: a line on what of it is done to the root, and what is not
    :param done: what of it kiwi did when the stash was made
    :param instead: what runs in the place of scripts of the result
    :param has_id: the identifier of the image is that of the stash
    :param overlays: those of the stash, which are in the root already
    """

    directory: str
    stashed: str
    result: str
    scripts: Tuple[str, ...]
    applied: Tuple[str, ...]
    done: Tuple[Place, ...]
    instead: Mapping[str, Optional[Script]]
    has_id: bool
    overlays: Tuple[str, ...]

    def difference(self) -> str:
        """Return what the extension changes, as diff -u shows it."""
        return '\n'.join(difflib.unified_diff(
            self.stashed.splitlines(), self.result.splitlines(),
            'stashed/config.xml', 'result/config.xml', lineterm=''
        ))


def copy_description(root_fd: int, directory: str) -> None:
    """Copy image/ of a root tree to a new directory: plain files, no links.

    :raises KiwiStashDescriptionInvalid: if there is no image/config.xml, or one
        that reaches for other files; kiwi would let it
    """
    os.mkdir(directory)
    config = read_file(root_fd, CONFIG)
    if config is None:
        raise KiwiStashDescriptionInvalid('no image/config.xml in the stash')
    parse_xml(config, 'image/config.xml of the stash')
    fd = open_below(root_fd, IMAGE_DIR)
    try:
        for entry in scan(fd):
            target = os.path.join(directory, os.fsdecode(entry.path))
            if IMAGE_DIR + b'/' + entry.path in BASE_FILES:
                continue
            if entry.is_dir:
                os.mkdir(target)
            elif entry.is_file:
                source = open_below(fd, entry.path, os.O_RDONLY | os.O_NONBLOCK)
                with open(source, 'rb') as stream, open(target, 'wb') as out:
                    shutil.copyfileobj(stream, out, 1 << 20)
                os.chmod(target, entry.stat.st_mode & 0o777)
            else:
                log.warning(
                    'not taken over from the stash, no file: image/%s',
                    os.fsdecode(entry.path)
                )
    finally:
        os.close(fd)


def load_stashed(
    directory: str, profiles: Optional[Sequence[str]], build_type: Optional[str]
) -> Tuple[Any, Any]:
    """Let kiwi read and validate a copied description.

    :returns: kiwi's XMLState, and the root element in its schema version
    :raises KiwiError: what kiwi has against it
    """
    description = XMLDescription(os.path.join(directory, 'config.xml'))
    state = XMLState(description.load(), list(profiles or []), build_type)
    with open(description.description, 'rb') as source:
        return state, parse_xml(source.read(), 'image/config.xml')


def extend(
    stashed_dir: str, state: Any, stashed: Any, extension: Extension,
    directory: str, keep_scripts: bool, left_out: str, then: Built = WHOLE
) -> Extended:
    """Write the full description that an extension makes of a stash's.

    :param stashed_dir: a copy of the stash's description, used up
    :param directory: directory to be made
    :param left_out: directory that is not part of the extension: the target
    :param then: how the stash was built
    """
    merged = merge(stashed, extension, *_selected(state), built_of(state), then)
    image = merged.image
    _copy_beside(extension, directory, left_out)
    scripts = merge_scripts(stashed_dir, directory, keep_scripts)
    overlays = _take_overlays(stashed_dir, directory, state.profiles or ())
    _add_stashed_files(stashed_dir, directory, image)
    kept = _KEPT_XML if extension.is_xml else _KEPT_OTHER
    os.rename(
        os.path.join(directory, os.path.basename(extension.path)),
        os.path.join(directory, kept)
    )
    with open(os.path.join(directory, 'config.xml'), 'w', encoding='utf-8') as out:
        result = _text(image)
        out.write(result)
    return Extended(
        directory, _text(stashed), result, tuple(scripts.said), merged.said(),
        merged.done, scripts.instead, 'id' not in extension.image.attrib, overlays
    )


def kept_extension(directory: str) -> Optional[str]:
    """Return the file of an extension beside the description made of it."""
    for name in (_KEPT_XML, _KEPT_OTHER):
        if os.path.isfile(os.path.join(directory, name)):
            return name
    return None


def built_of(state: Any) -> Built:
    """Return what kiwi's XMLState has selected of a description."""
    return Built(tuple(state.profiles or ()), state.get_build_type_name())


def _selected(state: Any) -> Tuple[List[int], Optional[int]]:
    """Return which preferences apply, and which of their types is built."""
    applying = state.get_preferences_sections()
    numbers = [
        number for number, section in enumerate(state.xml_data.get_preferences())
        if any(section is other for other in applying)
    ]
    types = [kind for section in applying for kind in section.get_type()]
    built = [
        number for number, kind in enumerate(types) if kind is state.build_type
    ]
    return numbers, built[0] if built else None


def _copy_beside(extension: Extension, directory: str, left_out: str) -> None:
    """Copy the directory of an extension, without what is built below it."""
    def skip(folder: str, names: List[str]) -> Set[str]:
        return {
            name for name in names
            if os.path.realpath(os.path.join(folder, name)) in (
                os.path.realpath(left_out), os.path.realpath(directory)
            )
        }
    try:
        shutil.copytree(extension.directory, directory, symlinks=True, ignore=skip)
    except (shutil.Error, OSError) as issue:
        raise KiwiStashDescriptionInvalid(
            f'{extension.directory}: cannot be copied: {issue}'
        ) from issue


def _take_overlays(
    stashed_dir: str, directory: str, profiles: Sequence[str]
) -> Tuple[str, ...]:
    """Put overlays of a stash beside its description, so that kiwi has none.

    Kiwi stores none in image/ itself, but others may have. Of archives for the
    root of an ISO, by whatever compressed, it takes one.
    """
    if fnmatch.filter(os.listdir(directory), _CDROOT):
        for name in fnmatch.filter(os.listdir(stashed_dir), _CDROOT):
            os.unlink(os.path.join(stashed_dir, name))
    aside = f'{stashed_dir}.overlays'
    os.mkdir(aside)
    for name in ('root', 'root.tar.gz', *profiles):
        if os.path.lexists(os.path.join(stashed_dir, name)):
            os.rename(os.path.join(stashed_dir, name), os.path.join(aside, name))
    return tuple(os.path.join(aside, name) for name in sorted(os.listdir(aside)))


def _add_stashed_files(stashed_dir: str, directory: str, image: Any) -> None:
    """Add the stash's files that the extension does not have."""
    for folder, _, files in os.walk(stashed_dir):
        below = os.path.join(directory, os.path.relpath(folder, stashed_dir))
        for name in files:
            if name not in ('config.xml', _KEPT_XML, _KEPT_OTHER):
                _copy_new(os.path.join(folder, name), os.path.join(below, name))
    for name, flat in _referenced(image):
        if not os.path.isabs(name) and os.path.isfile(f'{stashed_dir}/{flat}'):
            _copy_new(f'{stashed_dir}/{flat}', os.path.join(directory, name))


def _copy_new(source: str, target: str) -> None:
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target)


def _referenced(image: Any) -> Iterator[Tuple[str, str]]:
    """Yield files that a description names: kiwi stores them without folders."""
    for element in image.iter('archive', 'file'):
        yield element.get('name'), os.path.basename(element.get('name'))
    for kind in image.iter('type'):
        for attribute, flat in _EDIT_SCRIPTS:
            if kind.get(attribute):
                yield kind.get(attribute), flat


def _text(image: Any) -> str:
    etree.indent(image, '    ')
    return str(etree.tostring(
        image.getroottree(), encoding='unicode', pretty_print=True
    ))
