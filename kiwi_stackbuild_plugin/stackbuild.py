# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stackbuild": build an image from one or more stashes."""
from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin import kiwi_call, labels, store
from kiwi_stackbuild_plugin.base_facts import BaseFacts, join_facts, read_facts
from kiwi_stackbuild_plugin.bootstrap import skip_bootstrap
from kiwi_stackbuild_plugin.checks import check_architecture, check_packages
from kiwi_stackbuild_plugin.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.command import require_tools
from kiwi_stackbuild_plugin.description import CONFIG, read_file
from kiwi_stackbuild_plugin.errors import (
    KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid
)
from kiwi_stackbuild_plugin.image import ImageInfo
from kiwi_stackbuild_plugin.kiwi_call import KiwiCall
from kiwi_stackbuild_plugin.locks import locked
from kiwi_stackbuild_plugin.resolve import check_registry, resolve_image
from kiwi_stackbuild_plugin.root_import import (
    import_images, record_origin, wipe_description
)
from kiwi_stackbuild_plugin.signals import clean_exit
from kiwi_stackbuild_plugin.target import (
    Target, check_target, made_directories, mark_finished, publish
)
from kiwi_stackbuild_plugin.tree import open_tree
from kiwi_stackbuild_plugin.workspace import Workspace, workspace

log = logging.getLogger('kiwi')


@dataclass(frozen=True)
class StackbuildRequest:
    """What "system stackbuild" was asked for; fields are its options.

    global_args is kiwi's own dictionary of its global options.
    """

    stashes: Tuple[str, ...]
    target_dir: str
    description: Optional[str] = None
    from_registry: Optional[str] = None
    kiwi_args: Tuple[str, ...] = ()
    global_args: Mapping[str, Any] = field(default_factory=dict)


def stackbuild(request: StackbuildRequest) -> None:
    """Import stashes into a new root and let kiwi build an image from it.

    :raises KiwiStackBuildError: before kiwi starts; nothing is left behind
    :raises KiwiError: from kiwi's own build
    """
    started = time.monotonic()
    if not request.stashes:
        raise KiwiStashArgumentInvalid('--stash: none is given')
    store.require_storage_tools()
    require_tools(['cp'])
    if request.from_registry is not None:
        check_registry(request.from_registry)
    target = check_target(request.target_dir)
    with locked('the root tree', os.path.realpath(target.image_root)):
        with clean_exit():
            call = _prepare_root(request, target)
        log.info(
            'The root tree is complete after %.1f s, kiwi takes over',
            time.monotonic() - started
        )
        kiwi_call.run(call)
        mark_finished(target)


def _prepare_root(request: StackbuildRequest, target: Target) -> KiwiCall:
    """Check all there is to check, then make the root; return kiwi's task."""
    call = _prepare_call(request, target, request.global_args)
    if request.description is not None:
        _check_description(call, request)
    with ExitStack() as stack:
        temp_dir = Defaults.get_temp_location()
        sweep([temp_dir, target.build_dir])
        space = stack.enter_context(open_space(temp_dir))
        images = [
            resolve_image(space, text, '--stash', request.from_registry)
            for text in request.stashes
        ]
        check_architecture(images, request.global_args)
        if request.description is not None:
            facts = join_facts(_facts(space, image) for image in images)
            if check_packages(call.task.xml_state, facts, images[0].display_name):
                skip_bootstrap(call.task)
        else:
            source = _find_description(space, images)
            call = _prepare_call(
                request, target, _remembered(source, request.global_args)
            )
        stack.enter_context(made_directories(target))
        staging = stack.enter_context(workspace(target.build_dir))
        root = os.path.join(staging.path, 'root')
        import_images(space, images, root)
        if request.description is not None:
            wipe_description(root)
        record_origin(root, images)
        publish(target, root)
    return call


def _prepare_call(
    request: StackbuildRequest, target: Target, global_args: Mapping[str, Any]
) -> KiwiCall:
    if request.description is None:
        return kiwi_call.prepare_create(
            target.image_root, target.path, global_args, request.kiwi_args
        )
    return kiwi_call.prepare_build(
        request.description, target.path, global_args, request.kiwi_args
    )


def _check_description(call: KiwiCall, request: StackbuildRequest) -> None:
    """Let kiwi read and validate the user's description.

    :raises KiwiStashDescriptionInvalid: if there is none, or it is no XML
    :raises KiwiError: what kiwi has against it
    """
    directory = request.description or ''
    if not os.path.isdir(directory):
        raise KiwiStashDescriptionInvalid(
            f'--description {directory!r}: no such directory'
        )
    call.task.load_xml_description(
        directory, request.global_args.get('--kiwi-file') or ''
    )


def _facts(space: Workspace, image: ImageInfo) -> BaseFacts:
    with store.mounted(space, image.image_id) as path:
        fd = open_tree(path)
        try:
            return read_facts(fd)
        finally:
            os.close(fd)


def _find_description(
    space: Workspace, images: Sequence[ImageInfo]
) -> ImageInfo:
    """Return the image whose description is built: the last that has one."""
    for image in reversed(images):
        with store.mounted(space, image.image_id) as path:
            fd = open_tree(path)
            try:
                if read_file(fd, CONFIG) is not None:
                    return image
            finally:
                os.close(fd)
    names = ', '.join(image.display_name for image in images)
    raise KiwiStashDescriptionInvalid(
        f'{names}: no image description (image/config.xml) in it',
        'give one with --description'
    )


def _remembered(
    source: ImageInfo, global_args: Mapping[str, Any]
) -> Dict[str, Any]:
    """Add profiles and type that a stash was built with, unless given."""
    merged = dict(global_args)
    profiles: List[str] = [
        word for word in source.labels.get(labels.PROFILES, '').split(',') if word
    ]
    if profiles and not merged.get('--profile'):
        merged['--profile'] = profiles
        log.info('Building with the profiles of the stash: %s', ', '.join(profiles))
    build_type = source.labels.get(labels.TYPE)
    if build_type and not merged.get('--type'):
        merged['--type'] = build_type
        log.info('Building the type of the stash: %s', build_type)
    return merged
