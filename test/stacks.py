# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees of few words, put on top of one another as stackbuild does it."""
from __future__ import annotations

import os
import shutil
import stat
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Dict, List, Optional

from kiwi_stackbuild_plugin.stackbuild.conflicts import Placement, StackState
from kiwi_stackbuild_plugin.tree.apply import apply_delta
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare, whole_tree
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import TreeReader, scan

#: path to 'd' for a directory, '> target' for a link, else the content of a file
Model = Dict[str, str]


def make(where: Path, model: Model) -> Path:
    """Make a tree; parents are made, all times are the same."""
    where.mkdir()
    for path, what in sorted(model.items()):
        place = where / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if what == 'd':
            place.mkdir(exist_ok=True)
        elif what.startswith('> '):
            place.symlink_to(what[2:])
        else:
            place.write_text(what)
    for folder, names, files in os.walk(where, topdown=False):
        for name in [*names, *files]:
            os.utime(os.path.join(folder, name), (7, 7), follow_symlinks=False)
    return where


def read(where: Path) -> Model:
    found = {}
    for folder, names, files in os.walk(where):
        for name in [*names, *files]:
            place = Path(folder, name)
            found[str(place.relative_to(where))] = (
                f'> {os.readlink(place)}' if place.is_symlink() else
                'd' if place.is_dir() else place.read_text()
            )
    return found


class Stack:
    """Trees put on top of one another, as plan_stack and import_images do it."""

    def __init__(self, where: Path, base: Model, stack: ExitStack) -> None:
        self.where = where
        self.stack = stack
        self.count = 0
        self.readers: List[TreeReader] = []
        self.base = self.add(base)
        self.root = where / 'root'
        shutil.copytree(self.base, self.root, symlinks=True)
        self.state = StackState(self.readers[0])

    def add(self, model: Model) -> Path:
        self.count += 1
        path = make(self.where / f'tree{self.count}', model)
        fd = open_tree(str(path))
        self.stack.callback(os.close, fd)
        self.readers.append(self.stack.enter_context(closing(TreeReader(fd))))
        return path

    def put(self, model: Model, ancestor: Optional[TreeReader] = None) -> Placement:
        self.add(model)
        source = self.readers[-1]
        delta = Delta((), tuple(whole_tree(scan(source.fd)))) if ancestor is None else (
            compare(
                scan(ancestor.fd), scan(source.fd),
                ContentComparer(ancestor.fd, source.fd), Trust()
            )
        )
        placement = self.state.place(ancestor, source, delta, 'x')
        self.state.apply(source, placement)
        fd = open_tree(str(self.root))
        try:
            apply_delta(fd, source.fd, placement.delta, placement.moved)
        finally:
            os.close(fd)
        return placement

    def seen(self) -> Model:
        """Read the tree that the state says there is."""
        found: Model = {}
        for path, (reader, entry) in self.state.below(b''):
            assert entry is not None
            name = os.fsdecode(path)
            mode = entry.stat.st_mode
            found[name] = 'd' if stat.S_ISDIR(mode) else (
                f'> {os.fsdecode(entry.target)}' if stat.S_ISLNK(mode) else
                Path(f'/proc/self/fd/{reader.fd}/{os.fsdecode(entry.path)}').read_text()
            )
        return found


def changed(base: Model, change: Dict[str, Optional[str]]) -> Model:
    """Put files, links and directories in place of what is there, or nothing."""
    model = dict(base)
    for path, what in change.items():
        parts = path.split('/')
        above = ['/'.join(parts[:count]) for count in range(1, len(parts))]
        model = {
            name: is_there for name, is_there in model.items()
            if name != path and not name.startswith(path + '/')
            and not (name in above and is_there != 'd')
        }
        if what is not None:
            model[path] = what
    return model
