# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a finished stash to registries, archives and layouts."""
from __future__ import annotations

import logging
import os
from typing import List, Sequence

from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import workspace
from kiwi_stackbuild_plugin.image.reference import check_docker
from kiwi_stackbuild_plugin.storage.access import Access
from kiwi_stackbuild_plugin.storage.cleanup import sweep
from kiwi_stackbuild_plugin.storage.registry import push_image

log = logging.getLogger('kiwi')

_ARCHIVES = ('oci-archive', 'docker-archive')


def export_all(
    name: str, image_id: str, destinations: Sequence[str], access: Access
) -> None:
    """Copy a stash to all destinations; one that fails does not stop the others.

    :param name: name:tag of the stash, for messages; its tag is the default
    :raises KiwiStashToolFailed: naming what failed; the stash stays
    """
    failed: List[KiwiStackBuildError] = []
    for text in destinations:
        log.info('Copying to %s', text)
        try:
            _export(name, image_id, text, access)
        except KiwiStackBuildError as issue:
            failed.append(issue)
            if issue is not failed[0]:
                log.error(issue.summary)
    if failed:
        first = failed[0]
        raise KiwiStashToolFailed(
            f'{name} is stored, {first.summary}',
            first.hint or _repeat(name, destinations)
        )


def _repeat(name: str, destinations: Sequence[str]) -> str:
    plain, _, tag = name.rpartition(':')
    return (
        f'only the copy again: kiwi-ng system stash --export={destinations[0]} '
        f'--container-name={plain} --tag={tag}'
    )


def _export(name: str, image_id: str, text: str, access: Access) -> None:
    transport, _, rest = text.partition(':')
    if transport == 'docker':
        target = check_docker(text, '--export', name.rpartition(':')[2])
        push_image(image_id, f'docker://{target}', access)
    elif transport in _ARCHIVES:
        _export_archive(image_id, transport, rest, access)
    else:
        push_image(image_id, text, access)


def _export_archive(
    image_id: str, transport: str, rest: str, access: Access
) -> None:
    """Write an archive under another name and rename it when it is complete.

    :raises KiwiStashTargetInvalid: if nothing can be written beside it
    """
    path, colon, reference = rest.partition(':')
    path = os.path.abspath(path)
    sweep([os.path.dirname(path)])
    with workspace(os.path.dirname(path)) as space:
        made = os.path.join(space.path, 'archive')
        push_image(
            image_id, f'{transport}:{made}{colon}{reference}', access,
            f'{transport}:{rest}'
        )
        os.replace(made, path)
