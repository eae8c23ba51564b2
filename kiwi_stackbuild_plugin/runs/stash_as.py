# SPDX-License-Identifier: GPL-3.0-or-later
"""Stash the root of a stackbuild: its name, and the deed."""
from __future__ import annotations

from typing import Tuple

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid
)
from kiwi_stackbuild_plugin.image.reference import name_problem, tag_problem
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.stash import stash as stashes
from kiwi_stackbuild_plugin.stash.stash import StashRequest


def split_stash_name(text: str, option: str = '--stash-as') -> Tuple[str, str]:
    """Take name[:tag] apart; the tag is latest where there is none.

    :raises KiwiStashArgumentInvalid: naming the rule that it breaks
    """
    name, colon, tag = text.partition(':')
    tag = tag if colon else 'latest'
    problem = name_problem(name) or tag_problem(tag)
    if problem:
        raise KiwiStashArgumentInvalid(
            f'{option} {text!r} cannot name a stash: {problem}',
            f'{option} takes name or name:tag'
        )
    return name, tag


def stash_finished(request: StackbuildRequest, root: str, inputs: str) -> None:
    """Stash the finished root of a stackbuild, whose lock is held.

    :param inputs: the record of what it was built of
    :raises KiwiStackBuildError: what was built stays
    """
    name, tag = split_stash_name(request.stash_as or '')
    try:
        stashes.stash(StashRequest(
            root, name, tag, exports=request.exports, inputs=inputs,
            access=request.access
        ), root_is_ours=True)
    except KiwiStackBuildError as issue:
        raise type(issue)(
            f'{root!r} is built, but: {issue.summary}',
            issue.hint or 'only the stash again: kiwi-ng system stash '
            f'--root={root} --container-name={name} --tag={tag}'
        ) from issue
