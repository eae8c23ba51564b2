# SPDX-License-Identifier: GPL-3.0-or-later
"""What stashes remember of how they were built: description, profiles, type."""
from __future__ import annotations

import logging
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.description.description import (
    CONFIG, EXCLUDE_FILES, PROFILE, copy_description, parse_profile, read_excludes,
    read_file
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.stackbuild.stacking import Step
from kiwi_stackbuild_plugin.tree.opening import opened_tree

log = logging.getLogger('kiwi')


def find_described(steps: Sequence[Step]) -> Step:
    """Return the stash whose description is built: the last that has one."""
    found = last_described(steps)
    if found is not None:
        return found
    names = ', '.join(step.image.display_name for step in steps)
    raise KiwiStashDescriptionInvalid(
        f'{names}: no image description (image/config.xml) in it',
        'give a full one with --description'
    )


def last_described(steps: Sequence[Step]) -> Optional[Step]:
    """Return the last stash that has a description, None if there is none."""
    for step in reversed(steps):
        with opened_tree(step.path) as fd:
            if read_file(fd, CONFIG) is not None:
                return step
    return None


def copy_stashed(source: Step, work_dir: str) -> str:
    """Copy the description of a stash and return the directory.

    :raises KiwiStashDescriptionInvalid: for a file that kiwi would stumble over
    """
    directory = os.path.join(work_dir, 'stashed')
    with opened_tree(source.path) as fd:
        for path in EXCLUDE_FILES:
            read_excludes(fd, path)
        copy_description(fd, directory)
    return directory


def remembered(source: Step, global_args: Mapping[str, Any]) -> Dict[str, Any]:
    """Add profiles and type that a stash was built with, unless given.

    Stashes of the older plugin have no labels that tell, but the tree does.
    """
    profiles, build_type = built_as(source)
    merged = dict(global_args)
    if profiles and not merged.get('--profile'):
        merged['--profile'] = profiles
        log.info('Building with the profiles of the stash: %s', ', '.join(profiles))
    if build_type and not merged.get('--type'):
        merged['--type'] = build_type
        log.info('Building the type of the stash: %s', build_type)
    return merged


def built_as(source: Step) -> Tuple[List[str], str]:
    """Return profiles and type that a stash says it was built with."""
    with opened_tree(source.path) as fd:
        profile = parse_profile(read_file(fd, PROFILE) or b'')
    told = source.image.stash_labels
    profiles = [
        word for word in profile.get('kiwi_profiles', '').split(',') if word
    ] if told.profiles is None else list(told.profiles)
    return profiles, (
        profile.get('kiwi_type', '') if told.build_type is None else told.build_type
    )
