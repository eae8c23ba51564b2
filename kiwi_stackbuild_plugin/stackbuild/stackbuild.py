# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stackbuild": build an image from one or more stashes."""
from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Callable, ContextManager, List, Optional, Sequence, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.description.checks import check_architecture
from kiwi_stackbuild_plugin.description.links import check_links, warn_of_links
from kiwi_stackbuild_plugin.host.command import require_tools
from kiwi_stackbuild_plugin.host.guard import guarded
from kiwi_stackbuild_plugin.host.errors import on_one_line
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.host.signals import clean_exit, handled_signals
from kiwi_stackbuild_plugin.host.workspace import Workspace, workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.inputs.inputs import encode_inputs
from kiwi_stackbuild_plugin.inputs.record import (
    Record, Results, find_results, write_record
)
from kiwi_stackbuild_plugin.overlay.hold import Hold, held_layers, let_go_abandoned
from kiwi_stackbuild_plugin.overlay.links import LinkSearch, search_links
from kiwi_stackbuild_plugin.overlay.place import overlay_of
from kiwi_stackbuild_plugin.overlay.root import (
    mount_root, staged_overlay, unmount_root, why_copied
)
from kiwi_stackbuild_plugin.packages.union import PackagePlan
from kiwi_stackbuild_plugin.stackbuild import kiwi_call
from kiwi_stackbuild_plugin.stackbuild.container import container_tool
from kiwi_stackbuild_plugin.stackbuild.derived_from import restore_import
from kiwi_stackbuild_plugin.stackbuild.plan import (
    BuildPlan, StackbuildRequest, make_plan, read_given
)
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import (
    rules_compiled_once, verified_ahead, with_database_links, without_bootstrap, without_import
)
from kiwi_stackbuild_plugin.stackbuild.prepared import prepared
from kiwi_stackbuild_plugin.stackbuild.root_import import (
    import_images, place_beside, place_description, record_origin
)
from kiwi_stackbuild_plugin.stackbuild.stacked_packages import (
    enter_packages, look_at_packages
)
from kiwi_stackbuild_plugin.stackbuild.stacking import Step, plan_stack
from kiwi_stackbuild_plugin.stackbuild.target import (
    Target, check_target, made_directories, mark_finished, publish
)
from kiwi_stackbuild_plugin.stackbuild.unchanged import gather_inputs, reasons_to_build
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.storage.find import (
    Policy, Sources, check_policy, check_registry, find, parse_age
)

log = logging.getLogger('kiwi')

#: what is said, and looked for by who runs many builds, where nothing is built
UNCHANGED = 'Nothing changed since %s was built'


def stackbuild(
    request: StackbuildRequest, finish: Optional[Callable[[str, str], None]] = None
) -> str:
    """Import stashes into a new root and let kiwi build an image from it.

    :param finish: called with the finished root, as long as it is ours, and the
        record of what it was built of
    :returns: text for the user: what a dry run would do, else nothing
    :raises KiwiStackBuildError: before kiwi starts; nothing is left behind
    :raises KiwiError: from kiwi's own build
    """
    started = time.monotonic()
    with handled_signals() if request.overlay else nullcontext(), \
            rules_compiled_once(), ExitStack() as held:
        with clean_exit():
            local.require_storage_tools()
            require_tools(['cp'])
            policy = _make_policy(request)
            target = check_target(request.target_dir, request.if_changed)
            held.enter_context(
                locked('the root tree', os.path.realpath(target.image_root))
            )
            plan = _prepare_root(request, target, policy, held)
        if request.dry_run or plan.is_built:
            return plan.text if request.dry_run else ''
        before = find_results(target.path)
        log.info(
            'The root tree is complete after %.1f s%s', time.monotonic() - started,
            ', kiwi takes over' if plan.call.task else ''
        )
        with without_import(plan.imported is not None), with_database_links(), \
                prepared(plan.preparation), \
                without_bootstrap(plan.skips_bootstrap), _kept_inside(target), \
                container_tool(plan.container):
            if plan.created is not None:
                kiwi_call.label_tree(plan.created, target.image_root)
            kiwi_call.run(plan.call)
        _finish(target, plan, before, finish)
    return ''


@dataclass(frozen=True)
class Making:
    """What a root is made of, all of it checked, and where.

    :param links: the search for those of the first image, if the root is an overlay on it
    """

    space: Workspace
    steps: Sequence[Step]
    packages: PackagePlan
    plan: BuildPlan
    staging: str
    links: Optional[LinkSearch]


def _make_root(
    request: StackbuildRequest, target: Target, making: Making, held: ExitStack
) -> None:
    """Make a root in the staging directory, then give it its name.

    :param held: takes back the mount of an overlay root
    """
    space, steps, plan = making.space, making.steps, making.plan
    images = [step.image for step in steps]
    root = os.path.join(making.staging, 'root')
    hold = None
    with ExitStack() as holding:
        with ExitStack() as mounts:
            if making.links:
                held.callback(unmount_root, target.image_root)
                held.enter_context(verified_ahead(images[0]))
                os.mkdir(overlay_of(root), 0o700)
                hold = holding.enter_context(held_layers(
                    space, images[0], overlay_of(root), target.image_root
                ))
                mounts.enter_context(
                    staged_overlay(images[0], steps[0].path, root, making.links)
                )
            import_images(steps, root, plan.work, bool(hold))
            enter_packages(making.packages, root)
            place_description(plan, root)
            check_links(root, plan.work)
            if plan.imported:
                restore_import(space, plan.imported, root)
            record_origin(root, images)
        _publish(space, target, root, hold, images)


def _publish(
    space: Workspace, target: Target, root: str, hold: Optional[Hold],
    images: Sequence[ImageInfo]
) -> None:
    """Give a staged root its name; an overlay is mounted there.

    :param hold: what holds the layers below an overlay
    """
    if hold:
        hold.wait()
    publish(target, root)
    if hold:
        log.info(
            'The layers below %s are held by the image %s: until the root tree is gone and '
            'another stackbuild runs, or until podman rmi --force %s', target.image_root,
            hold.image, hold.image
        )
        mount_root(target.image_root, images[0])
        # another mount is another device: the record must name this one
        record_origin(target.image_root, images)
    local.keep_added(space, images[0])


def _finish(
    target: Target, plan: BuildPlan, before: Results,
    finish: Optional[Callable[[str, str], None]]
) -> None:
    """Say that the root is whole; write down what was built of what, as the last thing."""
    with clean_exit():
        mark_finished(target)
    if finish:
        finish(target.image_root, encode_inputs(plan.inputs))
    write_record(target.build_dir, Record(plan.inputs, {
        name: told for name, told in find_results(target.path).items()
        if before.get(name) != told
    }))


def _with_inputs(
    request: StackbuildRequest, target: Target, plan: BuildPlan,
    images: Sequence[ImageInfo]
) -> BuildPlan:
    """Find out what is built of, and with --if-changed whether it has to be."""
    if request.dry_run and not request.if_changed:
        # nobody asks: each repository would have to tell its state
        return plan
    inputs = gather_inputs(request, target, plan.call, images, plan.imported is not None)
    plan = replace(plan, inputs=inputs)
    if not request.if_changed:
        return plan
    names = {f'stash {n}': f' ({one.display_name})' for n, one in enumerate(images, 1)}
    reasons = [
        reason + names.get(' '.join(reason.split(' ')[:2]), '')
        for reason in reasons_to_build(request, target, inputs)
    ]
    for reason in reasons:
        log.info('To be built: %s', reason)
    if not reasons:
        log.info(UNCHANGED, target.path)
    told = reasons or ['nothing: it is built, and nothing has changed']
    return replace(plan, is_built=not reasons, text='\n'.join([
        plan.text, '', 'To be built:', *(f'  {on_one_line(line)}' for line in told)
    ]))


def _kept_inside(target: Target) -> ContextManager[None]:
    """Hold kiwi, for a block, in what it makes here, copies of the root too."""
    anything = ('',)
    return guarded([
        (target.build_dir, anything), (target.path, anything),
        (Defaults.get_temp_location(), ('kiwi_', 'efi_'))
    ], target.image_root)


def _make_policy(request: StackbuildRequest) -> Policy:
    """Check what says where stashes come from."""
    if request.from_registry is not None:
        check_registry(request.from_registry)
    return Policy(
        request.from_registry, check_policy(request.pull),
        parse_age(request.max_age), request.access
    )


def _choose_overlay(
    request: StackbuildRequest, target: Target, step: Step
) -> Tuple[bool, List[str]]:
    """Tell whether the root will be an overlay, with a line on it for a dry run."""
    if not request.overlay:
        return False, []
    reason = why_copied(step.image, step.path, target.build_dir)
    if reason:
        log.warning('--overlay: the root tree is copied: %s', reason)
        return False, [f'the root tree is copied, it is no overlay: {reason}']
    return True, [f'the root tree is an overlay on {step.image.display_name}']


def _prepare_root(
    request: StackbuildRequest, target: Target, policy: Policy, held: ExitStack
) -> BuildPlan:
    """Check all there is to check, then make the root.

    :param held: takes back the mount of an overlay root, and lets go what is not needed
    """
    with ExitStack() as stack:
        temp_dir = Defaults.get_temp_location()
        sweep([temp_dir, target.build_dir])
        space = stack.enter_context(open_space(temp_dir))
        given = read_given(request, target, space.path)
        images = [find(text, '--stash', Sources(space, policy)) for text in given.stashes]
        check_architecture(images, request.global_args)
        steps = plan_stack(space, images, stack)
        packages = look_at_packages(space, steps, request.merge_packages)
        is_overlay, notes = _choose_overlay(request, target, steps[0])
        links = stack.enter_context(
            search_links(images[0])
        ) if is_overlay and not request.dry_run else None
        plan = make_plan(
            request, target, given, steps, space.path, [*packages.lines, *notes]
        )
        plan = _with_inputs(request, target, plan, images)
        if plan.is_built and not request.dry_run:
            return plan
        if request.dry_run:
            for step in steps:
                warn_of_links(step.image.display_name, step.path, plan.work)
            return plan
        # also what is held for a root that is not finished here, or replaced
        held.callback(let_go_abandoned)
        stack.enter_context(made_directories(target))
        staging = stack.enter_context(workspace(target.build_dir))
        _make_root(request, target, Making(
            space, steps, packages, plan, staging.path, links
        ), held)
        place_beside(plan, target.build_dir)
    return plan
