# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash --export" without a root tree: copy a stored stash."""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Iterable, List, Sequence, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.durable import replace, sync_filesystem
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid, KiwiStashImageNotFound,
    KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.workspace import workspace
from kiwi_stackbuild_plugin.image.reference import (
    check_docker, check_stash_name, parse_reference, refuse_login
)
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.storage.registry import push_image

log = logging.getLogger('kiwi')

_ARCHIVES = ('oci-archive', 'docker-archive')
_FORMS = 'docker://host/name:tag, oci-archive:file.tar or oci:directory:tag'


@dataclass(frozen=True)
class ExportRequest:
    """What "system stash" without --root was asked for; fields are its options."""

    container_name: str
    tag: str = 'latest'
    exports: Tuple[str, ...] = ()
    access: Access = DEFAULT_ACCESS


@clean_exit()
def export(request: ExportRequest) -> None:
    """Copy a stored stash to registries, archives and layouts.

    :raises KiwiStackBuildError: if there is no such stash, or a copy failed
    """
    check_stash_name(request.container_name, request.tag, '--container-name')
    check_exports(request.exports)
    local.require_storage_tools()
    name = f'{request.container_name}:{request.tag}'
    temp_dir = Defaults.get_temp_location()
    sweep([temp_dir])
    info = local.find_image(f'{local.LOCAL}/{name}')
    if info is None or not info.told.is_stash:
        raise KiwiStashImageNotFound(
            f'--container-name {name!r}: no such stash',
            'those there are: kiwi-ng system stash_list'
        )
    with open_space(temp_dir):
        export_all(name, info.image_id, request.exports, request.access)
    log.info('%s is copied', name)


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
        # a layout is written in its place, and may itself be where a disk is mounted
        path = os.path.abspath(rest.partition(':')[0])
        sync_filesystem(path if os.path.isdir(path) else os.path.dirname(path))


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
        replace(made, path)


def check_exports(texts: Iterable[str]) -> None:
    """Check what --export says as far as that can be known in advance.

    :raises KiwiStashArgumentInvalid: with the reason
    """
    for text in texts:
        refuse_login(text, '--export')
        try:
            reference = parse_reference(text, '--export')
        except KiwiStashArgumentInvalid as issue:
            if 'transport' in issue.summary:
                raise
            raise _no_transport(text) from None
        if reference.kind != 'transport' or text.startswith('containers-storage:'):
            raise _no_transport(text)
        if text.startswith('docker://'):
            if '@' in check_docker(text, '--export'):
                raise KiwiStashArgumentInvalid(
                    f'--export {text!r}: a digest is what a copy has, not where it goes',
                    'docker://host/name:tag'
                )
        else:
            _check_path(text)


def _no_transport(text: str) -> KiwiStashArgumentInvalid:
    return KiwiStashArgumentInvalid(
        f'--export {text!r} names no transport to copy to', f'it is {_FORMS}'
    )


def _check_path(text: str) -> None:
    """Look whether a file or layout can be made where an archive is to go."""
    transport, _, rest = text.partition(':')
    path = os.path.abspath(rest.partition(':')[0])
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise KiwiStashArgumentInvalid(
            f'--export {text!r}: the directory {parent!r} is not there',
            'make it first'
        )
    if transport.endswith('archive') and os.path.isdir(path):
        raise KiwiStashArgumentInvalid(f'--export {text!r}: {path!r} is a directory')
    if not os.access(path if os.path.exists(path) else parent, os.W_OK):
        raise KiwiStashArgumentInvalid(
            f'--export {text!r}: {path!r} cannot be written to'
        )
