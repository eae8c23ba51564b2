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
from kiwi_stackbuild_plugin.host.text import utc
from kiwi_stackbuild_plugin.host.workspace import Workspace, workspace
from kiwi_stackbuild_plugin.image.attached import attach, pack_layout
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.reference import (
    check_docker, check_stash_name, parse_reference, refuse_login
)
from kiwi_stackbuild_plugin.stash.sbom import keep_documents, make_artifacts
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.access import (
    DEFAULT_ACCESS, NOT_SIGNED, Access, Signing
)
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.storage.referrers import push_artifacts
from kiwi_stackbuild_plugin.storage.registry import copy_packed, push_image, try_signing

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
    signing: Signing = NOT_SIGNED
    sbom: bool = False


@dataclass(frozen=True)
class Copying:
    """How copies are made, over and above where to; space is where to work.

    sbom: SBOM and provenance go with them
    """

    space: Workspace
    access: Access = DEFAULT_ACCESS
    signing: Signing = NOT_SIGNED
    sbom: bool = False


@clean_exit()
def export(request: ExportRequest) -> None:
    """Copy a stored stash to registries, archives and layouts.

    :raises KiwiStackBuildError: if there is no such stash, or a copy failed
    """
    check_stash_name(request.container_name, request.tag, '--container-name')
    check_exports(request.exports)
    check_signing(request.signing, request.exports)
    local.require_storage_tools()
    name = f'{request.container_name}:{request.tag}'
    temp_dir = Defaults.get_temp_location()
    sweep([temp_dir])
    info = local.find_image(f'{local.LOCAL}/{name}')
    if info is None or not info.stash_labels.is_stash:
        raise KiwiStashImageNotFound(
            f'--container-name {name!r}: no such stash',
            'those there are: kiwi-ng system stash_list'
        )
    with open_space(temp_dir) as space:
        if request.sbom:
            keep_documents(space, info.image_id, name)
        export_all(name, info, request.exports, Copying(
            space, request.access, request.signing, request.sbom
        ))
    log.info('%s is copied', name)


def export_all(
    name: str, info: ImageInfo, destinations: Sequence[str], how: Copying
) -> None:
    """Copy a stash to all destinations; one that fails does not stop the others.

    :param name: name:tag of the stash, for messages; its tag is the default
    :raises KiwiStashToolFailed: naming what failed; the stash stays
    """
    failed: List[KiwiStackBuildError] = []
    if destinations:
        try_signing(how.space, how.signing)
    for text in destinations:
        log.info('Copying to %s', text)
        try:
            _export(name, info, text, how)
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


def _export(name: str, info: ImageInfo, text: str, how: Copying) -> None:
    transport, _, rest = text.partition(':')
    tag = name.rpartition(':')[2]
    if transport == 'docker':
        _export_to_registry(info, check_docker(text, '--export', tag), how)
    elif transport in _ARCHIVES:
        _export_archive(info, transport, rest, tag, how)
    elif transport == 'oci' and how.sbom:
        _export_layout(info, rest, tag, how, text)
        _sync_layout(rest)
    else:
        _warn_of_no_room(text, how)
        _copy(info, text, text, how)
        _sync_layout(rest)


def _copy(info: ImageInfo, destination: str, shown: str, how: Copying) -> None:
    """Copy to a file or a directory, with packed layers where that form has such."""
    if destination.startswith(('oci:', 'oci-archive:')):
        copy_packed(how.space, info.image_id, destination, shown)
    else:
        push_image(info.image_id, destination, how.access, shown)


def _export_to_registry(info: ImageInfo, target: str, how: Copying) -> None:
    digest = push_image(
        info.image_id, f'docker://{target}', how.access, signing=how.signing,
        digest_file=os.path.join(how.space.path, 'exported') if how.sbom else ''
    )
    if how.sbom:
        push_artifacts(
            how.space, target.rpartition(':')[0], digest,
            make_artifacts(how.space, info, target, digest), utc(info.created),
            how.access, how.signing
        )


def _export_layout(
    info: ImageInfo, rest: str, tag: str, how: Copying, shown: str
) -> None:
    """Copy to an OCI layout, and list there what goes with the image.

    The image gets a name: without one it must be alone in an index.
    """
    path, _, reference = rest.partition(':')
    if not reference:
        reference = tag
        log.info('%s: the image in it is called %s', shown, reference)
    digest = copy_packed(
        how.space, info.image_id, f'oci:{path}:{reference}', shown,
        os.path.join(how.space.path, 'exported')
    )
    attach(path, reference, make_artifacts(
        how.space, info, f'{info.stash_labels.title or "stash"}:{reference}', digest
    ), utc(info.created))


def _warn_of_no_room(text: str, how: Copying) -> None:
    if how.sbom:
        log.warning(
            '%s: no SBOM and no provenance go there, that form has no room for them', text
        )


def _sync_layout(rest: str) -> None:
    """Bring a layout to the disk: it is written in its place, which may be a mount point."""
    path = os.path.abspath(rest.partition(':')[0])
    sync_filesystem(path if os.path.isdir(path) else os.path.dirname(path))


def _export_archive(
    info: ImageInfo, transport: str, rest: str, tag: str, how: Copying
) -> None:
    """Write an archive under another name and rename it when it is complete.

    :raises KiwiStashTargetInvalid: if nothing can be written beside it
    """
    path, colon, reference = rest.partition(':')
    path = os.path.abspath(path)
    sweep([os.path.dirname(path)])
    with workspace(os.path.dirname(path)) as space:
        made = os.path.join(space.path, 'archive')
        if how.sbom and transport == 'oci-archive':
            layout = os.path.join(space.path, 'layout')
            _export_layout(
                info, f'{layout}:{reference}', tag, how, f'{transport}:{rest}'
            )
            pack_layout(layout, made)
        else:
            _warn_of_no_room(f'{transport}:{rest}', how)
            _copy(
                info, f'{transport}:{made}{colon}{reference}', f'{transport}:{rest}', how
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


def check_signing(signing: Signing, exports: Sequence[str]) -> None:
    """Check that what is to be signed goes where signatures are kept.

    :raises KiwiStashArgumentInvalid: naming the destination that has no room
    """
    if signing.key is None:
        return
    if not exports:
        raise KiwiStashArgumentInvalid(
            '--sign-by signs what --export copies', 'add --export=docker://host/name:tag'
        )
    for text in exports:
        if not text.startswith('docker://'):
            raise KiwiStashArgumentInvalid(
                f'--export {text!r}: only copies in registries are signed (--sign-by)',
                'one call for each kind of destination'
            )


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
