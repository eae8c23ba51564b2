# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a root tree of one or more images."""
from __future__ import annotations

import logging
import os
import shutil
from contextlib import ExitStack
from typing import Sequence

from kiwi_stackbuild_plugin.description.description import EXCLUDE_FILES
from kiwi_stackbuild_plugin.description.extended import kept_extension
from kiwi_stackbuild_plugin.description.links import EVERYTHING, RootWork, check_links
from kiwi_stackbuild_plugin.description.origin import take_moment, write_origin
from kiwi_stackbuild_plugin.host.command import remove_tree, run_command
from kiwi_stackbuild_plugin.host.errors import printable
from kiwi_stackbuild_plugin.image.image import ImageInfo, extras_of
from kiwi_stackbuild_plugin.layer.extras import ROOT, Extra
from kiwi_stackbuild_plugin.layer.restore import report_lost, restore_extras, restore_root
from kiwi_stackbuild_plugin.stackbuild.plan import BUILT_DESCRIPTION, BuildPlan
from kiwi_stackbuild_plugin.stackbuild.stacking import Step, report_conflicts
from kiwi_stackbuild_plugin.storage.directories import open_layers
from kiwi_stackbuild_plugin.tree.ahead import read_ahead
from kiwi_stackbuild_plugin.tree.apply import apply_delta
from kiwi_stackbuild_plugin.tree.delta import place_of
from kiwi_stackbuild_plugin.tree.layered import Unreadable
from kiwi_stackbuild_plugin.tree.merged_copy import can_clone, copy_layers
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

log = logging.getLogger('kiwi')

#: bytes
_LARGE = 1 << 30


def import_images(
    steps: Sequence[Step], root: str, work: RootWork = EVERYTHING, is_there: bool = False
) -> None:
    """Make a root of the first image and the own changes of the others.

    :param steps: see stacking.plan_stack
    :param root: directory to be made
    :param work: what kiwi will write in it
    :param is_there: the root is an overlay mount on the first image
    :raises KiwiStashRootInvalid: for a tree that would lead kiwi out of it
    """
    if len(steps) == 1:
        # one of several may have a directory where a lower one has a link
        check_links(steps[0].path, work)
    first = steps[0]
    log.info('Importing %s', first.describe())
    if not is_there:
        _copy_image(first, root)
    with opened_tree(root) as root_fd:
        restore_extras(root_fd, extras_of(first.image))
        for step in steps[1:]:
            log.info('Stacking %s', step.describe())
            for line in step.describe_moved():
                log.info('    %s', line)
            report_conflicts(step)
            _stack(root_fd, step)
        _restore_root(root_fd, first.image)
    check_links(root, work)


def _copy_image(step: Step, root: str) -> None:
    """Copy an image from its layers' directories, or from its mount."""
    with opened_tree(step.path) as fd:
        if not _copy_from_layers(step, root):
            with read_ahead([fd]):
                copy_tree(step.path, root, _has_large_hole(step))
        report_lost(fd, root)


def _copy_from_layers(step: Step, root: str) -> bool:
    """Copy what the layers of an image make.

    :returns: False where that cannot be done here; then there is no root
    """
    with open_layers(step.image) as layers:
        if not layers:
            return False
        os.mkdir(root)
        sparse = frozenset(
            path for path, extra in extras_of(step.image).items() if extra.sparse
        )
        try:
            with opened_tree(root) as root_fd, ExitStack() as stack:
                if can_clone(layers[0], root_fd):
                    log.info('The root tree shares blocks with the storage')
                else:
                    stack.enter_context(read_ahead(layers[::-1]))
                copy_layers(layers[::-1], root_fd, sparse)
        except Unreadable as issue:
            log.info('Copied from the mount, the storage has other layers: %s', issue)
            remove_tree(root)
            return False
    return True


def _stack(root_fd: int, step: Step) -> None:
    """Make the changes of a stash, with what the storage did not keep of them."""
    with opened_tree(step.path) as source_fd:
        apply_delta(root_fd, source_fd, step.delta, step.moved)
    changed = {change.entry.path for change in step.delta.changes}
    restore_extras(root_fd, {
        place_of(path, step.moved): extra
        for path, extra in extras_of(step.image).items() if path in changed
    })


def _has_large_hole(step: Step) -> bool:
    """Tell whether a sparse file is too large to be copied with its zeros."""
    with opened_tree(step.path) as fd:
        return any(
            extra.sparse and _size(fd, path) >= _LARGE
            for path, extra in extras_of(step.image).items()
        )


def _size(root_fd: int, path: bytes) -> int:
    try:
        fd = open_below(root_fd, path, os.O_PATH)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def copy_tree(source: str, target: str, make_holes: bool = False) -> None:
    """Copy a tree with all metadata, as cp(1) does it; target must not exist.

    From inside of the source, so that a path may be as long as it is there.

    :param make_holes: for all zeros, instead of sharing blocks
    """
    os.mkdir(target)
    how = '--sparse=always' if make_holes else '--reflink=auto'
    # not --archive, which keeps what it says of extended attributes to itself
    result = run_command([
        'env', f'--chdir={source}', 'cp', '--recursive', '--no-dereference',
        '--preserve=all', how, '.', target
    ])
    for line in result.stderr.splitlines():
        log.warning('%s', printable(line))


def _restore_root(root_fd: int, image: ImageInfo) -> None:
    told = image.stash_labels
    restore_root(
        root_fd, 0o755 if told.root_mode is None else told.root_mode,
        *(told.root_owner or (0, 0)), extras_of(image).get(ROOT, Extra())
    )


def place_description(plan: BuildPlan, root: str) -> None:
    """Make image/ of a new root what kiwi is to find there."""
    if plan.source:
        replace_description(root, plan.source)
        return
    if plan.keeps_description:
        return
    wipe_description(root)
    extended = plan.extended
    if extended is None:
        return
    for path in extended.overlays:
        copy = copy_tree if os.path.isdir(path) else shutil.copyfile
        copy(path, os.path.join(root, 'image', os.path.basename(path)))
    # what leaves files out of images was perhaps written by a script, or is of an overlay
    lists = [os.path.basename(os.fsdecode(name)) for name in EXCLUDE_FILES]
    for name in (kept_extension(extended.directory), *lists):
        if name and os.path.isfile(os.path.join(extended.directory, name)):
            shutil.copyfile(
                os.path.join(extended.directory, name), os.path.join(root, 'image', name)
            )


def place_beside(plan: BuildPlan, build_dir: str) -> None:
    """Put the description that an extension makes where kiwi will read it."""
    if plan.extended:
        place = os.path.join(build_dir, BUILT_DESCRIPTION)
        if os.path.lexists(place):
            shutil.rmtree(place)
        shutil.copytree(plan.extended.top, place, symlinks=True)


def wipe_description(root: str) -> None:
    """Empty image/, so that nothing of the stashed description is left."""
    path = os.path.join(root, 'image')
    if os.path.lexists(path):
        remove_tree(path)
    os.mkdir(path, 0o755)


def replace_description(root: str, source: str) -> None:
    """Make image/ that of another tree; nothing of another description stays.

    :param source: root of the other tree, whose image/ is a directory
    """
    path = os.path.join(root, 'image')
    if os.path.lexists(path):
        remove_tree(path)
    copy_tree(os.path.join(source, 'image'), path)


def record_origin(root: str, images: Sequence[ImageInfo]) -> None:
    """Origin which image a new root came from, as the last thing done to it.

    Of several it is the first; the others changed files behind its back, so
    that no content is known to agree.
    """
    origin = images[0]
    with opened_tree(root) as root_fd:
        if not os.path.lexists(os.path.join(root, 'image')):
            os.mkdir('image', 0o755, dir_fd=root_fd)
        write_origin(
            root_fd, origin.image_id, origin.display_name, origin.digest,
            take_moment(root_fd) if len(images) == 1 else None
        )
