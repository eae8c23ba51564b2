# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of a stash, as it is or with an extension, in a directory."""
from __future__ import annotations

import difflib
import fnmatch
import logging
import os
import shutil
import stat
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from lxml import etree

from kiwi_stackbuild_plugin.description.description import STASHED
from kiwi_stackbuild_plugin.description.extension import Extension
from kiwi_stackbuild_plugin.description.keyed import WHOLE, Built
from kiwi_stackbuild_plugin.description.merging import Place, merge
from kiwi_stackbuild_plugin.description.names import (
    EDIT_SCRIPTS, Name, applying, climbing, find_missing, find_names, guard_names,
    host_scripts
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid, printable

log = logging.getLogger('kiwi')

#: names that the extension is kept under, beside the description made of it
_KEPT_XML, _KEPT_OTHER = 'extension.xml', 'extension.markup'
_CDROOT = 'config-cdroot.tar*'
#: lines to be compared, which may take time by the square of their number
_MOST_LINES = 20_000
#: deeper than any path
_MOST_LEVELS = 64

#: scripts that run when a root tree is prepared, see kiwi.system.prepare and
#: kiwi.system.root_import: the work of the stash's is in the stash
PREPARING = (
    'post_bootstrap.sh', 'config.sh', 'config-overlay.sh',
    'config-host-overlay.sh'
)
#: scripts that run in or on an image being made of it, see kiwi.builder
_CREATING = ('images.sh', 'pre_disk_sync.sh', 'disk.sh')
_JOINED = '''#!/bin/bash
# {name} of the stash, then that of the extension
run() {{
    local script status
    script=$(mktemp "${{0%/*}}/.{name}.XXXXXX") || return
    cat <&3 >"$script" && chmod 700 "$script" && "$script" "$@" 3<&-
    status=$?
    rm -f "$script"
    return "$status"
}}
'''
_PART = '''run "$@" 3<<'{mark}' || exit
{script}
{mark}
'''


@dataclass(frozen=True)
class Extended:
    """A full description made of that of a stash and an extension.

    :param top: directory that it is in, with what its names lead up to
    :param directory: where it is
    :param stashed: text of the stash's, in kiwi's own schema version
    :param result: text of the full one
    :param scripts: a line on each script: whether it will run
    :param applied: a line on what of it is done to the root, and what is not
    :param done: what of it kiwi did when the stash was made
    :param instead: what runs in the place of scripts of the result
    :param missing: a line on each file that it names and that is not there
    :param has_id: the identifier of the image is that of the stash
    :param overlays: those of the stash, which are in the root already
    """

    top: str
    directory: str
    stashed: str
    result: str
    scripts: Tuple[str, ...]
    applied: Tuple[str, ...]
    done: Tuple[Place, ...]
    instead: Mapping[str, Optional[Script]]
    has_id: bool
    overlays: Tuple[str, ...]
    missing: Tuple[str, ...] = ()

    def difference(self) -> str:
        """Return what the extension changes, as diff -u shows it."""
        before, after = self.stashed.splitlines(), self.result.splitlines()
        if len(before) + len(after) > _MOST_LINES:
            return f'{len(before)} and {len(after)} lines: too many to be compared'
        return '\n'.join(difflib.unified_diff(
            before, after, 'stashed/config.xml', 'result/config.xml', lineterm=''
        ))


def check_stashed(directory: str, state: Any, stashed: Any) -> List[str]:
    """Check the names in a description that is built as it is, in its tree.

    :param directory: a copy of it
    :returns: a line on each file that it names and that is not there
    :raises KiwiStashDescriptionInvalid: for what leads out of image/
    """
    applies = applying(
        state.profiles, state.get_build_type_name(), ('repository', 'packages')
    )
    _guard(stashed, directory, applies)
    return [
        f'{name.shown}: is not there'
        for name in find_missing(stashed, directory, applies)
        if name.attribute not in EDIT_SCRIPTS
    ]


def _guard(stashed: Any, directory: str, applies: Callable[[Any], bool]) -> None:
    guard_names(stashed, directory, applies, STASHED)
    for name in host_scripts(stashed, directory, applies):
        log.warning('kiwi runs %s of the stash on this machine itself, as root', name)


def extend(
    stashed_dir: str, state: Any, stashed: Any, extension: Extension,
    top: str, keep_scripts: bool, then: Built = WHOLE
) -> Extended:
    """Write the full description that an extension makes of a stash's.

    :param stashed_dir: a copy of the stash's description, used up
    :param top: directory to be made
    :param then: how the stash was built
    :raises KiwiStashDescriptionInvalid: for what is named and not there
    """
    build_type = None if extension.types else state.get_build_type_name()
    _guard(stashed, stashed_dir, applying(state.profiles, build_type))
    merged = merge(stashed, extension, *_selected(state), built_of(state), then)
    image = merged.image
    directory = link_beside(extension, top)
    scripts = merge_scripts(stashed_dir, directory, keep_scripts)
    overlays = _take_overlays(stashed_dir, directory, state.profiles or ())
    _add_stashed_files(stashed_dir, directory)
    kept = _KEPT_XML if extension.is_xml else _KEPT_OTHER
    shutil.copyfile(extension.path, os.path.join(directory, kept))
    result = _text(image)
    with open(os.path.join(directory, 'config.xml'), 'x', encoding='utf-8') as out:
        out.write(result)
    return Extended(
        top, directory, _text(stashed), result, tuple(scripts.said), merged.said(),
        merged.done, scripts.instead, 'id' not in extension.image.attrib, overlays,
        _missing(state, image, extension, directory)
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


def link_beside(extension: Extension, top: str) -> str:
    """Make a directory whose names lead to those beside an extension.

    kiwi reads through links what it reads there, as it would itself: nothing is
    copied but the scripts, which may be joined with those of the stash, and
    nothing of the user's is written to. Names that lead up from there
    (../common/x.tar) lead to the same files: the directory is as many levels
    below the top.

    :param top: directory to be made
    :returns: the directory of the description in it
    """
    names = sorted(climbing(extension.image), key=lambda name: name[0])
    levels = names[-1][0] if names else 0
    if levels > _MOST_LEVELS:
        raise KiwiStashDescriptionInvalid(
            f'{extension.places.of(names[-1][2])}a name leads up {levels} directories'
        )
    source = os.path.realpath(extension.directory)
    chain = (['top'] * levels + source.split('/')[1:])[-levels:] if levels else []
    directory = os.path.join(top, *chain)
    os.makedirs(directory)
    skipped = {'config.xml', os.path.basename(extension.path), _KEPT_XML, _KEPT_OTHER}
    for name in sorted(os.listdir(source)):
        if name not in skipped:
            _take(os.path.join(source, name), os.path.join(directory, name))
    for up, path, _ in names:
        _link_above(source, directory, up, path)
    return directory


def _take(source: str, target: str) -> None:
    """Link what stands beside an extension; scripts are files of their own."""
    if not os.path.exists(source):
        log.warning('not taken, a link that leads nowhere: %s', printable(source))
    elif not source.endswith('.sh') or os.path.isdir(source):
        os.symlink(source, target)
    elif os.path.isfile(source):
        shutil.copy(source, target)
    else:
        raise KiwiStashDescriptionInvalid(f'{source}: is a script, and no regular file')


def _link_above(source: str, directory: str, levels: int, path: Sequence[str]) -> None:
    """Link one name above an extension, at the same place above a description."""
    for _ in range(levels):
        source, directory = os.path.dirname(source), os.path.dirname(directory)
    names = list(path)
    while names:
        name = names.pop(0)
        source, directory = os.path.join(source, name), os.path.join(directory, name)
        if not os.path.isdir(directory) or os.path.islink(directory) or name == '..':
            if not os.path.lexists(directory) and os.path.lexists(source):
                os.symlink(source, directory)
            return
    # a whole directory, in which the description has its place
    for name in os.listdir(source):
        if not os.path.lexists(os.path.join(directory, name)):
            os.symlink(os.path.join(source, name), os.path.join(directory, name))


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


def _add_stashed_files(stashed_dir: str, directory: str) -> None:
    """Add the stash's files that the extension does not have."""
    for name in sorted(os.listdir(stashed_dir)):
        if name in ('config.xml', _KEPT_XML, _KEPT_OTHER):
            continue
        source, target = os.path.join(stashed_dir, name), os.path.join(directory, name)
        if not os.path.lexists(target):
            os.rename(source, target)
        elif os.path.isdir(source):
            log.warning(
                'not taken over from the stash, the extension has its own: image/%s',
                printable(name)
            )


def _missing(
    state: Any, image: Any, extension: Extension, directory: str
) -> Tuple[str, ...]:
    """Return what kiwi will look for in vain and may do without.

    :raises KiwiStashDescriptionInvalid: for what it cannot do without
    """
    build_type = extension.build_type or state.get_build_type_name()
    missing = find_missing(image, directory, applying(state.profiles, build_type))
    for name in missing:
        if name.is_needed:
            raise KiwiStashDescriptionInvalid(
                f'{_place(extension, name)}{name.shown}: is neither beside {extension.path} '
                'nor in the stash'
            )
    return tuple(
        f'{_place(extension, name)}{name.shown}: is not there' for name in missing
    )


def _place(extension: Extension, name: Name) -> str:
    """Return where an extension has a name, nothing if it is the stash that has it."""
    for other in find_names(extension.image):
        if other[1:] == name[1:] and other.element.tag == name.element.tag:
            return extension.places.of(other.element)
    return ''


def _text(image: Any) -> str:
    etree.indent(image, '    ')
    return str(etree.tostring(
        image.getroottree(), encoding='unicode', pretty_print=True
    ))


class Script(NamedTuple):
    """A script and the permission bits of its file."""

    content: bytes
    mode: int


class MergedScripts(NamedTuple):
    """Scripts of a full description made of that of a stash and an extension.

    said: a line on each; instead: what runs in the place of one, or nothing
    """

    said: List[str]
    instead: Dict[str, Optional[Script]]


def merge_scripts(stashed_dir: str, directory: str, keep: bool) -> MergedScripts:
    """Join the scripts that both have.

    Those of the prepare phase always: the description tells how the root is
    built from nothing. In this build that of the stash runs only on request.

    :param keep: run the scripts of the stash, too
    """
    said: List[str] = []
    instead: Dict[str, Optional[Script]] = {}
    for name in PREPARING + _CREATING:
        old, new = (
            os.path.join(place, name) for place in (stashed_dir, directory)
        )
        has_old, has_new = os.path.exists(old), os.path.exists(new)
        prepares = name in PREPARING
        if has_old and has_new and (keep or prepares):
            if not keep:
                instead[name] = _read(new)
            if keep or _read(old).content != _read(new).content:
                _join(name, old, new)
        elif has_old and prepares and not keep:
            instead[name] = None
        line = _say(name, has_old, has_new, keep)
        if line:
            said.append(line)
    return MergedScripts(said, instead)


def _say(name: str, has_old: bool, has_new: bool, keep: bool) -> str:
    if has_old and has_new:
        return f'{name}: that of the ' + (
            'stash, then that of the extension' if keep
            else 'extension, not that of the stash (see --keep-scripts)'
        )
    if has_new:
        return f'{name}: that of the extension'
    if not has_old:
        return ''
    if name in PREPARING and not keep:
        return f'{name}: not again, that of the stash did its work (see --keep-scripts)'
    return f'{name}: that of the stash'


def _read(path: str) -> Script:
    with open(path, 'rb') as source:
        return Script(source.read(), stat.S_IMODE(os.fstat(source.fileno()).st_mode) & 0o777)


def _join(name: str, old: str, new: str) -> None:
    """Put two scripts into one that runs each with its own interpreter.

    Written beside and renamed: nothing is written through a link.
    """
    text = _JOINED.format(name=name)
    for path in (old, new):
        script = os.fsdecode(_read(path).content).rstrip('\n')
        if not script.startswith('#!'):
            script = f'#!/bin/bash\n{script}'
        mark = 'END-OF-SCRIPT'
        while mark in script:
            mark += '-'
        text += _PART.format(mark=mark, script=script)
    fd = os.open(f'{new}.joined', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
    with open(fd, 'wb') as out:
        out.write(os.fsencode(text))
        os.fchmod(out.fileno(), 0o755)  # kiwi runs it
    os.rename(f'{new}.joined', new)
