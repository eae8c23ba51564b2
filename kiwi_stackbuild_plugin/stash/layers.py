# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in each layer of a stored image: changes of packages, largest files."""
from __future__ import annotations

import heapq
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.packages.changes import PackageChanges, compare_packages
from kiwi_stackbuild_plugin.packages.database import PLACES, Packages, read_packages
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.host.workspace import workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.layer_directories import open_layers
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.scan import walk_files

_SHOWN = 10


@contextmanager
def _scratch() -> Iterator[str]:
    with workspace(Defaults.get_temp_location()) as space:
        yield space.path


@dataclass(frozen=True)
class LayerContent:
    """What a layer did to the packages, and its largest files: path and bytes."""

    packages: PackageChanges
    largest: Tuple[Tuple[str, int], ...]


class LayerReader:
    """Reads what is in layers; what two images share is read once.

    Nothing is mounted: that would take half a second for each layer.
    """

    def __init__(self) -> None:
        self._read_rpm = RpmDatabase(_scratch)
        self._known: Dict[Tuple[str, ...], Packages] = {}
        self._largest: Dict[str, Tuple[Tuple[str, int], ...]] = {}

    def contents(self, info: ImageInfo) -> List[Optional[LayerContent]]:
        """Return what is in each layer, from the bottom up; None if not known."""
        found: List[Optional[LayerContent]] = []
        before = Packages()
        with open_layers(info) as layers:
            for count in range(1, len(layers) + 1):
                after = self._packages(info.layers[:count], layers[:count], before)
                found.append(LayerContent(
                    compare_packages(before, after),
                    self._largest_files(info.directories[count - 1])
                ))
                before = after
        return found or [None] * len(info.layers)

    def _packages(
        self, chain: Tuple[str, ...], layers: List[int], below: Packages
    ) -> Packages:
        if chain not in self._known:
            top = LayeredTree(layers[-1:])
            touched = any(top.touches(place.rstrip(b'/')) for place in PLACES)
            self._known[chain] = read_packages(
                LayeredTree(layers[::-1]), self._read_rpm
            ) if touched else below
        return self._known[chain]

    def _largest_files(self, directory: str) -> Tuple[Tuple[str, int], ...]:
        if directory not in self._largest:
            self._largest[directory] = tuple(
                (path, -size) for size, path in heapq.nsmallest(_SHOWN, _sizes(directory))
            )
        return self._largest[directory]


def _sizes(directory: str) -> Iterator[Tuple[int, str]]:
    """Yield bytes, below zero so that the largest is the first, and path."""
    for entry in walk_files(directory):
        with suppress(FileNotFoundError):
            size = entry.stat(follow_symlinks=False).st_size
            yield -size, entry.path[len(directory) + 1:]
