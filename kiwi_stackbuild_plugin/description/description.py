# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a root tree says of how it was built, as a stranger's word."""
from __future__ import annotations

import errno
import hashlib
import logging
import os
import shlex
import shutil
import stat
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import yaml
from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState
from lxml import etree

from kiwi_stackbuild_plugin.description.names import (
    Kind, applying, find_names, refuse_includes, stored_name, why_outside
)
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashRootInvalid, printable_path
)
from kiwi_stackbuild_plugin.tree.opening import open_below
from kiwi_stackbuild_plugin.tree.scan import Exclusion, scan

log = logging.getLogger('kiwi')

IMAGE_DIR = b'image'
CONFIG = b'image/config.xml'
PROFILE = b'.profile'
#: a description is text that people write
SIZE_LIMIT = 8 << 20
#: lists of what kiwi leaves out, YAML
EXCLUDE_FILES = (
    b'image/exclude_files.yaml', b'image/exclude_files_efifatimage.yaml'
)
_EXCLUDE_LIMIT = 1 << 18
#: bytes of .profile, of which kiwi's has a few kB, and characters of a value in it
_PROFILE_LIMIT = 1 << 18
_LINE_LIMIT = 1 << 13

#: what is said of a stash's description
STASHED = 'image/config.xml of the stash'


@dataclass(frozen=True)
class RootDescription:
    """How a root tree was built; fields are empty where it does not say.

    :param elsewhere: a line on each file that it names and that is not in image/
    """

    name: str = ''
    author: str = ''
    package_manager: str = ''
    profiles: str = ''
    build_type: str = ''
    digest: str = ''
    elsewhere: Tuple[str, ...] = ()


def read_root_description(root_fd: int) -> Optional[RootDescription]:
    """Read image/config.xml and .profile of a root tree.

    :returns: None where there is no image/config.xml
    :raises KiwiStashDescriptionInvalid: if it cannot be read as XML
    :raises KiwiStashRootInvalid: if it is behind a link, or no file
    """
    data = read_file(root_fd, CONFIG)
    if data is None:
        return None
    root = parse_xml(data, 'image/config.xml')
    profile = parse_profile(read_file(root_fd, PROFILE) or b'')
    return RootDescription(
        name=root.get('name', ''),
        author=_text(root, 'description/author'),
        package_manager=_text(root, 'preferences/packagemanager'),
        profiles=profile.get('kiwi_profiles', ''),
        build_type=profile.get('kiwi_type', ''),
        digest=digest_directory(root_fd, IMAGE_DIR),
        elsewhere=tuple(_elsewhere(root_fd, root, profile))
    )


def _elsewhere(root_fd: int, image: Any, profile: Mapping[str, str]) -> Iterator[str]:
    applies = applying(
        profile.get('kiwi_profiles', '').split(','), profile.get('kiwi_type', '')
    )
    for name in find_names(image):
        if not applies(name.element):
            continue
        if name.kind is Kind.HOST:
            yield f'{name.shown} of this machine'
        elif name.kind is Kind.BESIDE and not _is_in_image(root_fd, name.value):
            yield f'{name.shown} beside the first description'
        elif name.kind is Kind.STORED and not (
            _is_in_image(root_fd, name.value) or _is_in_image(root_fd, stored_name(name))
        ):
            yield name.shown


def _is_in_image(root_fd: int, name: str) -> bool:
    path = os.path.normpath(name)
    if why_outside(name):
        return False
    try:
        fd = open_below(
            root_fd, os.path.join(IMAGE_DIR, os.fsencode(path)), os.O_PATH
        )
    except OSError:
        return False
    os.close(fd)
    return True


def read_file(root_fd: int, path: bytes) -> Optional[bytes]:
    """Read a small regular file of a tree, through no link.

    :returns: None if there is none
    :raises KiwiStashRootInvalid: for a link, another kind, or a huge file
    """
    shown = os.fsdecode(path)
    try:
        fd = open_below(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as issue:
        if issue.errno == errno.ENXIO:
            raise KiwiStashRootInvalid(f'root tree: {shown!r} is no regular file') from issue
        raise KiwiStashRootInvalid(
            f'root tree: {shown!r} is not read: a link or another kind of '
            f'file is in the way ({issue.strerror})'
        ) from issue
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise KiwiStashRootInvalid(f'root tree: {shown!r} is no regular file')
        if status.st_size > SIZE_LIMIT:
            raise KiwiStashRootInvalid(
                f'root tree: {shown!r} has {status.st_size} bytes, at most '
                f'{SIZE_LIMIT} are read'
            )
        return os.read(fd, SIZE_LIMIT)
    finally:
        os.close(fd)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, whose merges grow without a limit."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError('an alias in it')
        return super().compose_node(parent, index)


def read_excludes(root_fd: int, path: bytes) -> List[str]:
    """Return the patterns in one of the EXCLUDE_FILES of a tree, as kiwi reads it.

    :raises KiwiStashDescriptionInvalid: for what kiwi would stumble over
    """
    data = read_file(root_fd, path)
    if data is None:
        return []
    found = _load_yaml(data)
    listed = found.get('exclude') if isinstance(found, dict) else None
    if not isinstance(found, dict) or (isinstance(listed, list) and not all(
        isinstance(pattern, str) and '\0' not in pattern for pattern in listed
    )):
        raise KiwiStashDescriptionInvalid(
            f'{os.fsdecode(path)}: not a list of patterns below the key exclude, in YAML',
            'mend it, or remove it'
        )
    return [pattern.lstrip('/') for pattern in listed] if isinstance(listed, list) else []


def _load_yaml(data: bytes) -> Any:
    """Return what plain YAML says, None for what is none."""
    if len(data) > _EXCLUDE_LIMIT:
        return None
    try:
        return _PlainLoader(data.decode()).get_single_data()
    # a value that is not what its tag says raises whatever it likes
    except (
        yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError,
        OverflowError, RecursionError
    ):
        return None


def parse_xml(data: bytes, where: str) -> Any:
    """Parse XML without entities, DTD or network.

    :returns: the root element (lxml)
    :raises KiwiStashDescriptionInvalid: with line and reason
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False,
        dtd_validation=False, huge_tree=False
    )
    try:
        root: Any = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as issue:
        raise KiwiStashDescriptionInvalid(
            f'{where}: cannot be read as XML: {issue}'
        ) from issue
    if root.getroottree().docinfo.doctype:
        raise KiwiStashDescriptionInvalid(
            f'{where}: has a document type declaration, which is not read',
            'remove the DOCTYPE; kiwi needs none'
        )
    return root


def parse_profile(data: bytes) -> Dict[str, str]:
    """Parse the assignments that kiwi writes into .profile; nothing is run.

    Lines that are no plain assignment of a quoted word are passed over.
    """
    values = {}
    for line in data[:_PROFILE_LIMIT].decode('utf-8', 'replace').splitlines():
        name, equals, rest = line.partition('=')
        if not equals or not name.isidentifier():
            continue
        # its time grows with the square of the length
        if len(rest) > _LINE_LIMIT:
            continue
        try:
            words = shlex.split(rest)
        except ValueError:
            continue
        if len(words) <= 1 and not set('$`') & set(rest):
            values[name] = words[0] if words else ''
    return values


def digest_directory(root_fd: int, path: bytes) -> str:
    """Return one SHA-256 digest over names and contents of a directory.

    Files that the stash does not carry (see BASE_FILES) do not count.
    """
    total = hashlib.sha256()
    fd = open_below(root_fd, path)
    try:
        for entry in scan(fd, Exclusion(paths=frozenset(
            name.partition(b'/')[2] for name in BASE_FILES
        ))):
            total.update(b'%d:%b' % (len(entry.path), entry.path))
            if entry.is_file:
                file_fd = open_below(fd, entry.path, os.O_RDONLY | os.O_NONBLOCK)
                with open(file_fd, 'rb') as source:
                    content = hashlib.sha256()
                    for data in iter(lambda: source.read(1 << 20), b''):
                        content.update(data)
                total.update(content.digest())
    finally:
        os.close(fd)
    return f'sha256:{total.hexdigest()}'


def _text(root: Any, path: str) -> str:
    return (root.findtext(path) or '').strip()


#: files in image/ that stay where they are: the archive of the base (kiwi:
#: Defaults.get_imported_root_image), its checksum, and our own record
BASE_FILES = (
    b'image/imported_root', b'image/imported_root.md5',
    b'image/imported_root.sha256', b'image/stash.json',
    b'image/.stash.json.new'
)


def copy_description(root_fd: int, directory: str) -> None:
    """Copy image/ of a root tree to a new directory: plain files, no links.

    :raises KiwiStashDescriptionInvalid: if there is no image/config.xml, or one
        that reaches for other files; kiwi would let it
    """
    os.mkdir(directory)
    config = read_file(root_fd, CONFIG)
    if config is None:
        raise KiwiStashDescriptionInvalid('no image/config.xml in the stash')
    parse_xml(config, STASHED)
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
                    printable_path(entry.path)
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
    path = os.path.join(directory, 'config.xml')
    with open(path, 'rb') as source:
        refuse_includes(parse_xml(source.read(), STASHED), STASHED)
    description = XMLDescription(path)
    state = XMLState(description.load(), list(profiles or []), build_type)
    with open(description.description, 'rb') as source:
        return state, parse_xml(source.read(), STASHED)
