# SPDX-License-Identifier: GPL-3.0-or-later
"""A stackbuild whose root is stashed in the same run."""
from __future__ import annotations

from functools import partial

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.runs.stash_as import split_stash_name, stash_finished
from kiwi_stackbuild_plugin.stackbuild import stackbuild as builds
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.stash.export import check_exports


def run_stackbuild(request: StackbuildRequest) -> str:
    """Build an image, or only its root, and stash the root if that is asked for.

    :returns: text for the user: what a dry run would do, else nothing
    :raises KiwiStackBuildError: a stash that fails leaves what was built
    """
    if request.stash_as is None:
        if request.exports:
            raise KiwiStashArgumentInvalid(
                f'--export {request.exports[0]!r}: there is no stash to copy',
                'name one with --stash-as'
            )
        return builds.stackbuild(request)
    name, tag = split_stash_name(request.stash_as)
    check_exports(request.exports)
    text = builds.stackbuild(request, partial(stash_finished, request))
    return f'{text}\n\nStashed as: {name}:{tag}' if text else ''
