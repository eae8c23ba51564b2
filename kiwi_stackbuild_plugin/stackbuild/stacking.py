# SPDX-License-Identifier: GPL-3.0-or-later
"""What each of several stashes brings, and where they contradict each other."""
from __future__ import annotations

import logging
import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo, extras_of
from kiwi_stackbuild_plugin.layer.extras import Extras, amend
from kiwi_stackbuild_plugin.packages.database_files import (
    databases_in, with_whole_database, without_passing
)
from kiwi_stackbuild_plugin.stackbuild.conflicts import StackState
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.lower_layers import store_chain
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import (
    ADDED, CHANGED, Delta, Trust, compare, whole_tree
)
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import TreeReader, scan

log = logging.getLogger('kiwi')

_SHOWN = 10
NOTHING = Delta((), ())


@dataclass(frozen=True)
class StepTrees:
    """The trees of a step: of the stash, of what it is a change of, of the whole stack."""

    source: TreeReader
    ancestor: Optional[TreeReader]
    stack: StackState


@dataclass(frozen=True)
class Step:
    """One stash of a stack; its path and trees are valid in the with block.

    :param shared: how many layers it has in common with one below it
    :param conflicts: paths that it and one below it changed, each differently
    :param moved: directories of it that go where a link below it leads
    """

    image: ImageInfo
    path: str
    shared: int = 0
    delta: Delta = NOTHING
    conflicts: Tuple[bytes, ...] = ()
    moved: Mapping[bytes, bytes] = field(default_factory=dict)
    trees: Optional[StepTrees] = field(default=None, compare=False)

    def describe(self) -> str:
        """Return what comes from this stash, in one line."""
        name = f'{self.image.display_name} ({self.image.image_id[:12]})'
        if self.path and not self.shared and self.delta.is_empty:
            return f'{name}: all of it'
        how = f'its change since layer {self.shared}' if self.shared else (
            'as a union, nothing in common with those below'
        )
        return (
            f'{name}: {how}: {self.delta.count(ADDED)} added, '
            f'{self.delta.count(CHANGED)} changed, {len(self.delta.removed)} '
            f'removed, {len(self.conflicts)} conflicts'
        )

    def describe_moved(self) -> List[str]:
        """Return what goes elsewhere than it is in this stash, in lines."""
        return [
            f'{printable_path(path)} goes to {printable_path(target) or "/"}, '
            'where the link below it leads'
            for path, target in self.moved.items()
        ]


def plan_stack(
    space: Workspace, images: Sequence[ImageInfo], stack: ExitStack
) -> List[Step]:
    """Mount images and find what each brings; nothing is copied.

    :param stack: holds the mounts
    """
    mounts = [
        stack.enter_context(local.tree_of(space, image))
        for image in images
    ]
    base = _opened(mounts[0], stack)
    state = StackState(base)
    steps = [Step(images[0], mounts[0], trees=StepTrees(base, None, state))]
    for number in range(1, len(images)):
        image = images[number]
        shared = max(
            _common_layers(other.layers, image.layers) for other in images[:number]
        )
        ancestor = None
        if shared == len(images[0].layers) == _common_layers(
            images[0].layers, image.layers
        ):
            ancestor = base
        elif shared:
            ancestor = _opened(stack.enter_context(
                local.mounted(space, store_chain(space, image, shared))
            ), stack)
        source = _opened(mounts[number], stack)
        delta = _own_change(
            ancestor.fd if ancestor else None, source.fd, extras_of(image)
        )
        delta = _with_databases(delta, state, ancestor, source)
        placement = state.place(ancestor, source, delta, image.display_name)
        state.apply(source, placement)
        steps.append(Step(
            image, mounts[number], shared, placement.delta, placement.conflicts,
            placement.moved, StepTrees(source, ancestor, state)
        ))
    return steps


def report_conflicts(step: Step) -> None:
    """Name what a stash changes that one below it changed otherwise."""
    if not step.conflicts:
        return
    log.warning(
        '%s replaces %d paths that a stash below it changed too:',
        step.image.display_name, len(step.conflicts)
    )
    for path in step.conflicts[:_SHOWN]:
        log.warning('    %s', printable_path(path))
    for path in step.conflicts[_SHOWN:]:
        log.debug('    %s', printable_path(path))
    if len(step.conflicts) > _SHOWN:
        log.warning(
            '    and %d more (--debug names them)', len(step.conflicts) - _SHOWN
        )


def _with_databases(
    delta: Delta, state: StackState, ancestor: Optional[TreeReader], source: TreeReader
) -> Delta:
    """Have each package data base come from one tree, and not for having been read."""
    if ancestor is not None:
        delta = without_passing(delta, ancestor.entry)
    for directory in databases_in(delta):
        delta = with_whole_database(
            delta, directory, source.entry, source.names(directory),
            {name: found[0] is ancestor for name, found in state.files_in(directory)}
        )
    return delta


def _opened(path: str, stack: ExitStack) -> TreeReader:
    fd = open_tree(path)
    stack.callback(os.close, fd)
    return stack.enter_context(closing(TreeReader(fd)))


def _common_layers(one: Tuple[str, ...], two: Tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(one, two):
        if left != right:
            break
        count += 1
    return count


def _own_change(
    ancestor_fd: Optional[int], source_fd: int, extras: Extras
) -> Delta:
    """Compare with the ancestor, whose extras are as far as is known the same."""
    if ancestor_fd is None:
        return Delta((), tuple(whole_tree(amend(scan(source_fd), extras))))
    return compare(
        amend(scan_ahead(ancestor_fd), extras), amend(scan(source_fd), extras),
        ContentComparer(ancestor_fd, source_fd), Trust()
    )
