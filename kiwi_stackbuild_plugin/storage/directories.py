# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the storage is, and the directories in which the overlay driver keeps layers."""
from __future__ import annotations

import atexit
import logging
import os
import re
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from typing import Dict, FrozenSet, Iterator, List, Optional, Tuple

from kiwi_stackbuild_plugin.graph.records import GraphRoot
from kiwi_stackbuild_plugin.host.command import (
    CommandResult, RunningCommand, reason_of, run_command
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed, is_absent
from kiwi_stackbuild_plugin.host.mounts import read_mounts
from kiwi_stackbuild_plugin.host.unmounting import take_back_mounts
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.messages import unreadable
from kiwi_stackbuild_plugin.tree.opening import DIRECTORY_FLAGS

log = logging.getLogger('kiwi')

#: how the storage is asked for its place; the image is none that there is
_ASK = (
    'podman', '--log-level=debug', 'image', 'exists', 'localhost/kiwi-stackbuild-nothing'
)
_CONFIGURATION = '/etc/containers/storage.conf'
_PLACE = '/var/lib/containers/storage'
_GRAPH_ROOT = re.compile(r'^\s*graphroot\s*=\s*"([^"\\]+)"', re.MULTILINE)
#: containers/storage notes here the owner and mode of what it stores with others
_OVERRIDE = 'user.containers.override_stat'
#: beside a layer whose files are stored by their digests
_BY_DIGEST = 'composefs-data'
#: in the directory of the driver, "true" or "false" (containers/storage, drivers/overlay)
_PROGRAM = '.has-mount-program'
#: whatever storage.conf or the kernel's defaults say: what is in an upper
#: directory then needs no other mark than whiteouts and opaque directories
OVERLAY_OPTIONS = 'index=off,metacopy=off,redirect_dir=off,xino=auto'
#: bytes of the data of a mount: one page, less its end
OVERLAY_DATA = 4095
#: of a tree that is only looked at
_LOOK = 'ro,nodev,nosuid,noexec'
_LINK = re.compile('[A-Z0-9]{26}')
_SHORT = re.compile('l/[A-Z0-9]{26}')
#: what ends a directory in the data of a mount
_SEPARATORS = re.compile(r'[:,\\]')
#: what was asked before somebody wanted to know it, by storage
_asked: Dict[str, RunningCommand] = {}


def storage_key() -> str:
    """Return what tells this storage from another one of the same machine."""
    return os.environ.get('CONTAINERS_STORAGE_CONF', '')


def ask_ahead() -> None:
    """Ask podman where this storage is, while what works with it is loaded.

    Not where there seems to be none yet: podman would make one, before anybody has
    looked at what the user wants.
    """
    if storage_key() not in _asked and os.path.isdir(_configured_place()):
        with suppress(KiwiStashToolFailed):  # who needs it says so
            _asked[storage_key()] = RunningCommand(_ASK)


@atexit.register
def hear_all() -> None:
    """Wait for what nobody wanted to know: podman is not to be killed at its start."""
    while _asked:
        _asked.popitem()[1].finish(check=False)


def _configured_place() -> str:
    """Return where storage.conf puts the storage; podman itself may know better."""
    try:
        with open(storage_key() or _CONFIGURATION, encoding='utf-8') as text:
            found = _GRAPH_ROOT.search(text.read())
    except (OSError, ValueError):
        found = None
    return found[1] if found else _PLACE


def graph_root() -> GraphRoot:
    """Return where this storage is; podman is asked once."""
    return _graph_root(storage_key())


@lru_cache
def _graph_root(key: str) -> GraphRoot:
    asked = _asked.pop(key, None) or RunningCommand(_ASK)
    told = _told_graph_root(asked.finish(check=False).stderr)
    if told is not None and os.path.isdir(told.of('images')):
        return told
    result = run_command([
        'podman', 'info', '--format', '{{.Store.GraphDriverName}} {{.Store.GraphRoot}}'
    ], check=False)
    if result.returncode:
        raise unreadable(result.stderr)
    driver, _, path = result.stdout.rstrip('\n').partition(' ')
    return GraphRoot(path, driver)


def _told_graph_root(log: str) -> Optional[GraphRoot]:
    """Find it in what podman says as it opens its storage, None if it is not there.

    "podman info" takes half a second: it asks for the packages of other programs.
    """
    found = [re.search(f' msg="{words}(.+)"$', log, re.MULTILINE) for words in (
        'Using graph root ', 'Using graph driver ',
        # where storage.conf names none
        r'\[graphdriver\] using prior storage driver: '
    )]
    path, *drivers = [one[1] if one else '' for one in found]
    driver = drivers[0] or drivers[1]
    # a backslash: Go has quoted something
    return GraphRoot(path, driver) if path and driver and '\\' not in path + driver else None


@contextmanager
def open_layers(info: ImageInfo) -> Iterator[List[int]]:
    """Open the layers of an image for a block, from the bottom up.

    They are neither mounted nor locked. None where another driver than overlay
    is in use, where they are not ours to read, are gone, or are not the files
    as they are.
    """
    with ExitStack() as stack:
        found: List[int] = []
        try:
            drivers = {os.path.dirname(os.path.dirname(path)) for path in info.directories}
            is_plain = not any(map(_has_mount_program, drivers))
            for path in info.directories if is_plain else ():
                found.append(os.open(path, DIRECTORY_FLAGS))
                stack.callback(os.close, found[-1])
                if _is_other_than_seen(path, found[-1]):
                    found = []
                    break
        except OSError:
            found = []
        yield found if len(found) == len(info.layers) else []


def _is_other_than_seen(path: str, fd: int) -> bool:
    """Tell whether a layer is stored otherwise than a mount shows it."""
    return _OVERRIDE in os.listxattr(fd) or os.path.lexists(
        os.path.join(os.path.dirname(path), _BY_DIGEST)
    )


def _has_mount_program(directory: str) -> bool:
    """Tell whether the driver leaves mounts to fuse-overlayfs: deletions are names then."""
    try:
        with open(os.path.join(directory, _PROGRAM), encoding='ascii') as text:
            return text.read(16).strip() != 'false'
    except OSError as issue:
        if is_absent(issue):
            return False
        raise


def mount_layers(directory: str, data: str, point: str, *, check: bool = True) -> CommandResult:
    """Mount an overlay.

    :param directory: what relative paths in the data begin at
    :raises KiwiStashToolFailed: if mount(8) fails
    """
    return run_command([
        'env', f'--chdir={directory}', 'mount', '-t', 'overlay', 'overlay', '-o', data, point
    ], check=check)


@contextmanager
def merged(info: ImageInfo, place: str) -> Iterator[str]:
    """Mount the layers of an image for a block, to look at; '' where they cannot be.

    podman's own mount takes two calls of podman. After a kill it is counted as mounted;
    this one goes with the place that it is in.

    :param place: a private directory
    """
    with open_layers(info) as layers:
        directory, links = short_links(info) if layers and info.driver == 'overlay' else ('', [])
    if not links:
        yield ''
        return
    top = tempfile.mkdtemp(prefix='tree-', dir=place)
    # an overlay without an upper directory has two lower ones
    point, nothing = f'{top}/merged', f'{top}/nothing'
    data = f'{_LOOK},lowerdir={":".join([*links, nothing])},{OVERLAY_OPTIONS}'
    if len(data) > OVERLAY_DATA or _SEPARATORS.search(nothing):
        yield ''
        return
    os.mkdir(point)
    os.mkdir(nothing)
    try:
        result = mount_layers(directory, data, point, check=False)
        if result.returncode:
            # a kernel may have limits of its own
            log.debug('mount: %s', reason_of(result))
        yield '' if result.returncode else point
    finally:
        if take_back_mounts(point, logging.DEBUG):
            # an error has come past who still has it open; nothing is written there
            run_command(['umount', '--lazy', '--', point], check=False)


def shown_layers() -> FrozenSet[str]:
    """Return the short names of all layers in overlay mounts that are only looked at."""
    return frozenset(
        name for mount in read_mounts()
        if mount.kind == b'overlay' and b'upperdir=' not in mount.options
        for name in _SHORT.findall(os.fsdecode(mount.options))
    )


def short_links(info: ImageInfo) -> Tuple[str, List[str]]:
    """Return the directory of the overlay driver and its short names in it.

    The topmost first; none where a layer has none (containers/storage,
    drivers/overlay: <layer>/link names a link in l/).
    """
    directory = os.path.dirname(os.path.dirname(info.directories[-1]))
    found: List[str] = []
    for path in reversed(info.directories):
        layer = os.path.dirname(path)
        name = _read_link(f'{layer}/link')
        link = f'l/{name}'
        if not name or os.path.realpath(f'{directory}/{link}') != os.path.realpath(path):
            return directory, []
        found.append(link)
    return directory, found


def _read_link(path: str) -> Optional[str]:
    try:
        with open(path, encoding='ascii') as text:
            name = text.read(64).strip()
    except (OSError, ValueError):
        return None
    return name if _LINK.fullmatch(name) else None
