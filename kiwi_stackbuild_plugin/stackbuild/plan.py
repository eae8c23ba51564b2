# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stackbuild will do: which stashes, which description, which kiwi call."""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from kiwi.exceptions import KiwiError
from kiwi.xml_state import XMLState

from kiwi_stackbuild_plugin.description.checks import check_files, check_packages
from kiwi_stackbuild_plugin.description.description import load_stashed
from kiwi_stackbuild_plugin.description.extended import (
    Extended, built_of, check_stashed, extend
)
from kiwi_stackbuild_plugin.description.extension import (
    Extension, find_description, read_extension
)
from kiwi_stackbuild_plugin.description.facts import join_facts, read_facts
from kiwi_stackbuild_plugin.description.keyed import Built
from kiwi_stackbuild_plugin.description.links import (
    NO_IMAGE, NOTHING, RootWork, read_work
)
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, printable, printable_path
)
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.inputs.inputs import Inputs
from kiwi_stackbuild_plugin.stackbuild import kiwi_call
from kiwi_stackbuild_plugin.stackbuild.container import (
    NO_PLAN, ContainerPlan, check_tool, choose_tool
)
from kiwi_stackbuild_plugin.stackbuild.derived_from import check_container, choose_import
from kiwi_stackbuild_plugin.stackbuild.kiwi_call import KiwiCall
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import skip_bootstrap
from kiwi_stackbuild_plugin.stackbuild.prepared import Preparation
from kiwi_stackbuild_plugin.stackbuild.remembered import (
    built_as, copy_stashed, find_described, last_described, remembered
)
from kiwi_stackbuild_plugin.stackbuild.stacking import Step
from kiwi_stackbuild_plugin.stackbuild.target import Target
from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access
from kiwi_stackbuild_plugin.tree.opening import opened_tree

log = logging.getLogger('kiwi')

#: the full description made with an extension, below the build directory
BUILT_DESCRIPTION = 'description'
_BOOTSTRAPPED = (
    'But packages and deletions, which are done again: the package manager is not there'
)


@dataclass(frozen=True)
class Given:
    """What the user gave: stashes, an extension or another description.

    :param call: kiwi's task for it, that accepted the arguments
    """

    stashes: Tuple[str, ...]
    call: KiwiCall
    extension: Optional[Extension] = None


@dataclass(frozen=True)
class BuildPlan:
    """A stackbuild, checked and not begun.

    :param source: mount of the stash whose own description is built, or empty
    :param imported: the stash whose container (derived_from) kiwi needs
    :param created: kiwi's state of that description, None where kiwi prepares the root
    :param work: what kiwi will write in the root
    :param skips_bootstrap: the package manager in the root does it all
    :param keeps_description: what is in image/ stays: nothing is built of it
    :param inputs: all that the result depends on
    :param is_built: that is what an earlier run built, and it is still there
    :param extended: the description made of that of a stash and an extension
    :param preparation: what kiwi does to the root before it creates the image
    :param container: how it is made if it is one
    """

    call: KiwiCall
    text: str
    work: RootWork
    source: str = ''
    created: Optional[XMLState] = None
    imported: Optional[ImageInfo] = None
    extended: Optional[Extended] = None
    skips_bootstrap: bool = False
    preparation: Optional[Preparation] = None
    keeps_description: bool = False
    container: ContainerPlan = NO_PLAN
    inputs: Inputs = field(default_factory=dict)
    is_built: bool = False


def read_given(
    request: StackbuildRequest, target: Target, work_dir: str
) -> Given:
    """Look at arguments and description, before anything is fetched.

    :raises KiwiStackBuildError: for what is wrong with them
    """
    if check_tool(request.container_tool) and request.root_only:
        log.warning(
            '--container-tool=%s: with --root-only no container is made',
            request.container_tool
        )
    extension = None
    if request.description is not None:
        path = find_description(
            request.description, request.global_args.get('--kiwi-file')
        )
        extension = read_extension(path, work_dir)
    stashes = request.stashes
    if not stashes and extension and extension.reference:
        stashes = (extension.reference,)
    if not stashes:
        raise KiwiStashArgumentInvalid(
            '--stash: none is given',
            'an extension can name one too: <image stashed="name">'
        )
    call = _prepare_call(request, target, request.description, request.global_args)
    if request.description is not None and extension is None:
        kiwi_call.load(
            call, request.description, request.global_args.get('--kiwi-file') or ''
        )
        check_files(call.task.xml_state, call.task.description.description, path)
    return Given(stashes, call, extension)


def make_plan(
    request: StackbuildRequest, target: Target, given: Given,
    steps: Sequence[Step], work_dir: str, notes: Sequence[str] = ()
) -> BuildPlan:
    """Choose what is built from the stashes, and check that it fits them.

    :param notes: lines on the stashes, for a dry run
    """
    lines = [*_describe(steps), *(f'  {line}' for line in notes)]
    if request.description is None and request.root_only:
        return _said(_as_it_is(request, given.call, steps), lines)
    if request.description is None:
        return _plan_of_stashed(request, target, steps, work_dir, lines)
    if given.extension is None:
        call = given.call
        lines += [f'Built: {request.description}, nothing of the stashed one']
        return _said(_for(request, _fitting(call, steps, request.dry_run), steps), lines)
    call, extended = _extend(request, target, given.extension, steps, work_dir)
    plan = _for(request, _fitting(call, steps, request.dry_run, extended), steps)
    lines += [
        f'Built: {given.extension.path} on the description of '
        + find_described(steps).image.display_name,
        *(f'  {line}' for line in (*extended.scripts, *extended.applied)),
        *_named(extended.missing),
        *(() if plan.skips_bootstrap else (f'  {_BOOTSTRAPPED}',)),
        '', extended.result, '', extended.difference()
    ]
    return _said(plan, lines)


def _plan_of_stashed(
    request: StackbuildRequest, target: Target, steps: Sequence[Step], work_dir: str,
    lines: List[str]
) -> BuildPlan:
    """Plan to build the description that a stash carries."""
    source = find_described(steps)
    directory = copy_stashed(source, work_dir)
    known = remembered(source, request.global_args)
    state, image = load_stashed(
        directory, known.get('--profile'), known.get('--type')
    )
    lines += _named(check_stashed(directory, state, image))
    call = _prepare_call(request, target, None, known)
    lines += ['Built: the description of ' + source.image.display_name]
    imported = choose_import(state, steps[0].image, source.path)
    work = read_work(state, builds=False)
    container = choose_tool(request.container_tool, state, steps[0].image, imported)
    return _said(BuildPlan(
        call, '', work, source.path, state, imported, container=container
    ), lines)


def _as_it_is(
    request: StackbuildRequest, call: KiwiCall, steps: Sequence[Step]
) -> BuildPlan:
    """Plan a root that is the stashes and nothing else: kiwi has nothing to do."""
    given = [
        f'{name}={value}' for name in ('--profile', '--type')
        for value in (request.global_args.get(name),) if value
    ]
    if given:
        log.warning(
            'Without --description nothing is done to the root: %s says nothing here',
            ' '.join(given)
        )
    described = last_described(steps)
    return BuildPlan(
        call, '', NOTHING, described.path if described else '',
        keeps_description=described is None
    )


def _describe(steps: Sequence[Step]) -> List[str]:
    return [
        'From the stashes:', *(f'  {step.describe()}' for step in steps),
        *(
            f'    conflict: {printable_path(path)}' for step in steps
            for path in step.conflicts[:10]
        ),
        *(f'    {line}' for step in steps for line in step.describe_moved())
    ]


def _said(plan: BuildPlan, lines: Sequence[str]) -> BuildPlan:
    told = [f'Container: {plan.container.text}'] if plan.container.text else []
    # before the result of an extension
    place = list(lines).index('') if '' in lines else len(lines)
    return replace(plan, text=printable('\n'.join([*lines[:place], *told, *lines[place:]])))


def _for(
    request: StackbuildRequest, plan: BuildPlan, steps: Sequence[Step]
) -> BuildPlan:
    """Plan the container; leave out what only concerns the image, where none is made."""
    if request.root_only:
        return replace(plan, work=replace(plan.work, image=NO_IMAGE))
    return replace(plan, container=choose_tool(
        request.container_tool, plan.call.task.xml_state, steps[0].image, plan.imported
    ))


def _named(missing: Sequence[str]) -> List[str]:
    """Warn of files that a description names and that are not there."""
    for line in missing:
        log.warning('The description names %s', printable(line))
    return [f'  named in it: {line}' for line in missing]


def _prepare_call(
    request: StackbuildRequest, target: Target, description: Optional[str],
    global_args: Mapping[str, Any]
) -> KiwiCall:
    if request.root_only:
        return kiwi_call.prepare_root(
            description, target.image_root, global_args, request.kiwi_args
        )
    if description is None:
        return kiwi_call.prepare_create(
            target.image_root, target.path, global_args, request.kiwi_args
        )
    return kiwi_call.prepare_build(
        description, target.path, global_args, request.kiwi_args
    )


def _extend(
    request: StackbuildRequest, target: Target, extension: Extension,
    steps: Sequence[Step], work_dir: str
) -> Tuple[KiwiCall, Extended]:
    """Make the full description, and kiwi's task that accepts it."""
    source = find_described(steps)
    known = remembered(source, request.global_args)
    state, image = load_stashed(
        copy_stashed(source, work_dir), known.get('--profile'), known.get('--type')
    )
    extended = extend(
        os.path.join(work_dir, 'stashed'), state, image, extension,
        os.path.join(work_dir, BUILT_DESCRIPTION), request.keep_scripts,
        _built_then(source, state)
    )
    for line in extended.scripts:
        log.info('Script %s', line)
    for line in extended.applied:
        log.info(line)
    if extension.build_type and not request.global_args.get('--type'):
        known['--type'] = extension.build_type
    known['--kiwi-file'] = None
    place = os.path.relpath(extended.directory, work_dir)
    call = _prepare_call(request, target, os.path.join(target.build_dir, place), known)
    kiwi_call.load(call, extended.directory)
    return call, extended


def _built_then(source: Step, state: Any) -> Built:
    """Return how a stash was built, as far as its description knows that."""
    try:
        return built_of(XMLState(state.xml_data, *built_as(source)))
    except KiwiError:
        return built_of(state)


def _fitting(
    call: KiwiCall, steps: Sequence[Step], dry_run: bool,
    extended: Optional[Extended] = None
) -> BuildPlan:
    """Check a task that installs packages against the stashes."""
    facts = []
    for step in steps:
        with opened_tree(step.path) as fd:
            facts.append(read_facts(fd))
    state = call.task.xml_state
    described = state.build_type.get_derived_from() or ''
    kiwi_call.apply_options(call.task)
    kiwi_call.check_repositories(call.task, dry_run)
    skips = check_packages(state, join_facts(facts), steps[0].image.display_name)
    imported = choose_import(state, steps[0].image)
    if imported:
        check_container(state, imported, described, steps[0].path)
    if skips:
        skip_bootstrap(call.task)
    elif extended:
        log.info(_BOOTSTRAPPED)
    preparation = Preparation(
        extended.done, extended.instead, skips, extended.has_id
    ) if extended else Preparation()
    preparation.follow(call.task)
    return BuildPlan(
        call, '', read_work(state, True, not skips), skips_bootstrap=skips,
        extended=extended, preparation=preparation, imported=imported
    )


@dataclass(frozen=True)
class StackbuildRequest:
    """What "system stackbuild" was asked for; fields are its options.

    global_args is kiwi's own dictionary of its global options.
    """

    stashes: Tuple[str, ...]
    target_dir: str
    description: Optional[str] = None
    from_registry: Optional[str] = None
    dry_run: bool = False
    keep_scripts: bool = False
    merge_packages: bool = False
    kiwi_args: Tuple[str, ...] = ()
    global_args: Mapping[str, Any] = field(default_factory=dict)
    pull: Optional[str] = None
    max_age: Optional[str] = None
    container_tool: Optional[str] = None
    access: Access = DEFAULT_ACCESS
    root_only: bool = False
    stash_as: Optional[str] = None
    exports: Tuple[str, ...] = ()
    if_changed: bool = False
    overlay: bool = False
