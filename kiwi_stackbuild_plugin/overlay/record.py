# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down beside an overlay root: which layers it is mounted on.

The storage has a hard link to it, <graph root>/kiwi-stackbuild/overlays/<name>: so
it is seen there whether the root still is anywhere, under whatever path. Both are
on one file system, or there is no mount.
"""
from __future__ import annotations

import json
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import List, Optional, Tuple

from kiwi_stackbuild_plugin.graph.records import GraphRoot
from kiwi_stackbuild_plugin.host.durable import sync_directory
from kiwi_stackbuild_plugin.host.errors import is_absent
from kiwi_stackbuild_plugin.overlay.place import overlay_of

_FILE = 'layers.json'
_ANCHORS = 'kiwi-stackbuild/overlays'
_NAME = re.compile('[0-9a-f]{16}')


@dataclass(frozen=True)
class OverlayRecord:
    """What an overlay root is on.

    :param name: of what holds the layers
    :param root: path that it was made at
    :param layers: diff IDs from the bottom up
    """

    name: str
    root: str
    layers: Tuple[str, ...]


def write_record(
    graph: GraphRoot, place: str, root: str, layers: Tuple[str, ...]
) -> OverlayRecord:
    """Write the record of a new root, and link it to the storage.

    :param place: directory that will be beside the root
    """
    record = OverlayRecord(secrets.token_hex(8), root, layers)
    path = os.path.join(place, _FILE)
    with open(path, 'x', encoding='ascii') as stream:
        json.dump(asdict(record), stream)
        stream.flush()
        os.fsync(stream.fileno())
    sync_directory(place)
    anchors = os.path.join(graph.path, _ANCHORS)
    os.makedirs(anchors, 0o700, exist_ok=True)
    os.link(path, os.path.join(anchors, record.name))
    return record


def read_record(place: str) -> Optional[OverlayRecord]:
    """Read it from the directory beside a root; None where it says nothing.

    :raises OSError: if it cannot be read
    """
    return _read(os.path.join(place, _FILE))


def _read(path: str) -> Optional[OverlayRecord]:
    try:
        with open(path, encoding='ascii') as stream:
            told = json.load(stream)
        record = OverlayRecord(
            str(told['name']), str(told['root']), tuple(map(str, told['layers']))
        )
    except OSError as issue:
        if not is_absent(issue):
            raise
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if _NAME.fullmatch(record.name) else None


def abandoned(graph: GraphRoot) -> List[str]:
    """Return the names of records whose root is gone."""
    anchors = os.path.join(graph.path, _ANCHORS)
    try:
        names = filter(_NAME.fullmatch, os.listdir(anchors))
    except OSError:
        return []
    return [name for name in sorted(names) if _is_gone(os.path.join(anchors, name), name)]


def _is_gone(anchor: str, name: str) -> bool:
    """Tell whether a root is gone; one of a storage that was copied has no link.

    It is not where that cannot be told.
    """
    with suppress(OSError):
        status = os.lstat(anchor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return False
        told = _read(anchor)
        there = read_record(overlay_of(told.root)) if told else None
        return there is None or there.name != name
    return False


def forget_record(graph: GraphRoot, name: str) -> None:
    """Remove what the storage has of a record."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(graph.path, _ANCHORS, name))
