# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that speaks to podman and skopeo about images elsewhere.

Their own configuration holds: registries.conf, auth.json, certs.d, policy.json.
"""
from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.graph.notes import forget_import, note_import
from kiwi_stackbuild_plugin.host.command import run_command
from kiwi_stackbuild_plugin.host.durable import sync_filesystem
from kiwi_stackbuild_plugin.host.errors import KiwiStashImageNotFound, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo, info_from_config, oci_architecture
from kiwi_stackbuild_plugin.image.layout import REFERENCE, make_layout, write_layout
from kiwi_stackbuild_plugin.storage.access import NOT_SIGNED, Access, Signing
from kiwi_stackbuild_plugin.storage.documents import packed_layout, write_archive
from kiwi_stackbuild_plugin.storage.directories import graph_root
from kiwi_stackbuild_plugin.storage.local import (
    find_image, import_image, network_timeout
)
from kiwi_stackbuild_plugin.storage.messages import explain, without_secrets
from kiwi_stackbuild_plugin.storage.parsing import (
    parse_remote_config, parse_remote_manifest, parse_tags
)

log = logging.getLogger('kiwi')

#: skopeo waits 1 s and 2 s in between; podman has retries of its own
_RETRIES = ['--retry-times=2']
_VARIANTS = {'armv6l': 'v6', 'armv7l': 'v7'}
_CATALOG_LIMIT = 10000
#: host/name; what else a catalog says is no name that could be asked for
_REPOSITORY = re.compile(r'[A-Za-z0-9.:\[\]-]+(?:/[a-z0-9][a-z0-9._-]*)+')


@dataclass(frozen=True)
class Offer:
    """What stands behind a reference, before its layers are fetched.

    created is RFC 3339, architecture as OCI names it, layers are diff IDs.
    """

    image_id: str
    created: str
    architecture: str
    layers: Tuple[str, ...] = ()


def inspect_offer(reference: str, access: Access) -> Offer:
    """Look what a reference offers for kiwi's architecture; a small transfer.

    :param reference: any of skopeo's
    :raises KiwiStashImageNotFound: with the reason
    """
    text = _skopeo(
        [*_platform('--override-'), 'inspect', '--config', '--raw'],
        reference, access, 'cannot be read'
    )
    config = parse_remote_config(text, reference)
    return Offer(
        _digest(text), config.get('created') or '', config.get('architecture') or '',
        tuple(config['rootfs']['diff_ids'])
    )


def pull_image(name: str, access: Access, offer: Optional[Offer] = None) -> str:
    """Pull an image from its registry into the storage and return its ID.

    Layers that the storage has are not fetched again. podman names it before
    its files are on the disk.

    :param name: host/name:tag, host/name@digest, or a short name of podman's
    :param offer: what stands behind the name, if that is known
    :raises KiwiStashImageNotFound: with the reason the registry gave
    """
    graph = graph_root()
    # what is stored already (and pulled for its signature) must not go with a note
    if offer is not None and find_image(offer.image_id) is None:
        note_import(graph, offer.image_id, offer.layers, is_pulled=True)
    result = run_command(
        ['podman', 'pull', '--quiet', *_platform('--'), *access.options(), name],
        check=False, timeout=network_timeout()
    )
    # a podman that ended by itself lists no layer that is not whole: those that
    # came before a cut of the line need not come again
    if result.returncode >= 0:
        sync_filesystem(graph.path)
        if offer is not None:
            forget_import(graph, offer.image_id)
    if result.returncode:
        reason, hint = explain(result.stderr)
        raise KiwiStashImageNotFound(f'{name}: cannot be pulled: {reason}', hint)
    return result.stdout.split()[-1]


def copy_in(
    space: Workspace, reference: str, offer: Offer, access: Access
) -> str:
    """Bring an image of any skopeo transport into the storage, return its ID.

    It gets no name: a name written in an archive must not move one of ours. It
    goes with the workspace, unless store.keep_added() is asked to keep it.

    :param offer: what inspect_offer() found behind the reference
    """
    import_image(
        space, reference, offer.image_id, _platform('--override-'),
        access.options('src-'), network_timeout(), layers=offer.layers
    )
    return offer.image_id


def push_image(
    image_id: str, destination: str, access: Access, shown: str = '',
    signing: Signing = NOT_SIGNED, digest_file: str = ''
) -> str:
    """Copy a stored image to a registry, or where its layers stay as they are.

    A registry gets only the layers it lacks: those it may have are compressed
    first and asked for by digest. skopeo remembers what each was packed to, and
    packs none again for a registry that it knows to have it.

    Signatures are copied where the destination can hold them.

    :param shown: the destination as the user knows it
    :param digest_file: file to be made, in a workspace
    :returns: digest of the manifest there, if there was a file for it
    :raises KiwiStashToolFailed: with the reason
    """
    shown = without_secrets(shown or destination)
    remote = destination.startswith('docker://')
    more = [
        '--dest-precompute-digests', *access.options('dest-'), *signing.options()
    ] if remote else []
    if digest_file:
        more.append(f'--digestfile={digest_file}')
    _push([
        'skopeo', *_registries(), 'copy', '--quiet', *_RETRIES, *more,
        f'containers-storage:@{image_id}', destination
    ], shown, signing.key is None)
    return _read_digest(digest_file) if digest_file else ''


def copy_packed(
    space: Workspace, image_id: str, destination: str, shown: str = '',
    digest_file: str = ''
) -> str:
    """Copy a stored image to an oci-archive or a layout, with packed layers.

    :param destination: with its transport
    :param shown: the destination as the user knows it
    :param digest_file: see push_image, for a layout
    :returns: digest of the manifest there, if there was a file for it
    :raises KiwiStashToolFailed: with the reason
    """
    shown = shown or destination
    more = [f'--digestfile={digest_file}'] if digest_file else []
    transport, _, rest = destination.partition(':')
    path, colon, reference = rest.partition(':')

    def copy(source: str, target: str) -> None:
        _push(['skopeo', 'copy', '--quiet', *more, source, target], shown, True)

    if transport == 'oci-archive':
        write_archive(space, image_id, path, reference, copy, shown)
        return ''
    with packed_layout(space, image_id, reference, copy) as layout:
        copy(f'oci:{layout}{colon}{reference}', destination)
    return _read_digest(digest_file) if digest_file else ''


def _push(words: List[str], shown: str, may_be_unsigned: bool) -> None:
    result = run_command(words, check=False, timeout=network_timeout())
    if result.returncode and may_be_unsigned and re.search(
        'signature|is signed', result.stderr
    ):
        unsigned = run_command(
            [*words, '--remove-signatures'], check=False, timeout=network_timeout()
        )
        if not unsigned.returncode:
            log.warning(
                '%s: copied without its signature, for which there is no room: %s',
                shown, explain(result.stderr)[0]
            )
            return
    if result.returncode:
        reason, hint = explain(result.stderr)
        raise KiwiStashToolFailed(f'copying to {shown} failed: {reason}', hint)


def _read_digest(path: str) -> str:
    with open(path, encoding='ascii') as told:
        return told.read().strip()


def copy_exactly(
    source: str, name: str, access: Access, signing: Signing = NOT_SIGNED
) -> None:
    """Copy an artifact, or an index without what it lists, to a registry as it is.

    :param source: skopeo's reference
    :param name: host/name@digest of an artifact, host/name:tag of an index
    :raises KiwiStashToolFailed: with the reason
    """
    how = '--preserve-digests' if '@' in name else '--multi-arch=index-only'
    result = run_command(
        [
            'skopeo', *_registries(), 'copy', '--quiet', *_RETRIES, how,
            *access.options('dest-'), *signing.options(), source, f'docker://{name}'
        ], check=False, timeout=network_timeout()
    )
    if result.returncode:
        reason, hint = explain(result.stderr)
        raise KiwiStashToolFailed(f'copying to {name} failed: {reason}', hint)


def try_signing(space: Workspace, signing: Signing) -> None:
    """Sign something small, of no use: skopeo signs after it has pushed.

    :raises KiwiStashToolFailed: if the key does not do it
    """
    if signing.key is None:
        return
    layout = os.path.join(space.path, 'to-sign')
    make_layout(layout)
    write_layout(layout, {
        'architecture': 'amd64', 'os': 'linux', 'rootfs': {'type': 'layers', 'diff_ids': []}
    }, [], None, {})
    result = run_command(
        [
            'skopeo', *_registries(), 'copy', '--quiet', *signing.options(),
            '--sign-identity=localhost/test:test', f'oci:{layout}:{REFERENCE}',
            f'dir:{space.path}/signed'
        ], check=False, timeout=network_timeout()
    )
    if result.returncode:
        reason, hint = explain(result.stderr)
        raise KiwiStashToolFailed(f'--sign-by: nothing can be signed: {reason}', hint)


def read_remote(name: str, access: Access) -> Tuple[ImageInfo, List[int]]:
    """Return an image in a registry, and the bytes of its layers there.

    Of a manifest list it is the one for kiwi's architecture.

    :param name: host/name:tag
    :raises KiwiStashImageNotFound: with the reason
    """
    text = read_raw(name, access)
    manifest = parse_remote_manifest(text, name)
    for entry in manifest.get('manifests') or []:
        if (entry.get('platform') or {}).get('architecture') == wanted_architecture():
            name = f'{name.rpartition(":")[0]}@{entry["digest"]}'
            text = read_raw(name, access)
            manifest = parse_remote_manifest(text, name)
            break
    config = _skopeo(
        [*_platform('--override-'), 'inspect', '--config', '--raw'],
        f'docker://{name}', access, 'cannot be read'
    )
    sizes = [layer['size'] for layer in manifest.get('layers') or []]
    return info_from_config(
        parse_remote_config(config, name), _digest(config), f'sha256:{_digest(text)}', sum(sizes)
    ), sizes


def read_raw(name: str, access: Access) -> str:
    """Return a manifest as it is.

    :param name: host/name:tag or host/name@digest
    :raises KiwiStashImageNotFound: with the reason
    """
    return _skopeo(
        ['inspect', '--raw'], f'docker://{name}', access, 'cannot be read'
    )


def list_tags(name: str, access: Access) -> List[str]:
    """Return the tags of a repository.

    :param name: host/name
    :raises KiwiStashImageNotFound: with the reason
    """
    text = _skopeo(['list-tags'], f'docker://{name}', access, 'cannot be listed')
    return parse_tags(text, name)


def list_repositories(host: str, access: Access) -> List[str]:
    """Return the repositories in a registry's catalog, as host/name.

    :raises KiwiStashImageNotFound: if the registry does not tell
    """
    options = [
        word for word in access.options() if not word.startswith('--cert-dir')
    ]
    result = run_command(
        [
            'podman', 'search', f'--limit={_CATALOG_LIMIT}', '--format={{.Name}}',
            *options, f'{host}/'
        ], check=False, timeout=network_timeout(), env=_certificates(access)
    )
    if result.returncode:
        reason, hint = explain(result.stderr)
        raise KiwiStashImageNotFound(f'{host}: cannot be listed: {reason}', hint)
    return sorted(filter(_REPOSITORY.fullmatch, set(result.stdout.split())))


def wanted_architecture() -> str:
    """Return the architecture kiwi builds for, --target-arch, as OCI names it."""
    return oci_architecture(Defaults.get_platform_name())


def _certificates(access: Access) -> Optional[Dict[str, str]]:
    """Podman 4's search takes no --cert-dir; a directory of CAs it does take."""
    if access.cert_dir is None:
        return None
    return {'SSL_CERT_DIR': f'{access.cert_dir}:/etc/ssl/certs'}


def _registries() -> List[str]:
    """Have skopeo read the registries.conf that podman reads."""
    path = os.environ.get('CONTAINERS_REGISTRIES_CONF')
    return [f'--registries-conf={path}'] if path else []


def _platform(prefix: str) -> List[str]:
    variant = _VARIANTS.get(Defaults.get_platform_name())
    return [f'{prefix}arch={wanted_architecture()}'] + (
        [f'{prefix}variant={variant}'] if variant else []
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


def _skopeo(
    words: List[str], reference: str, access: Access, failure: str
) -> str:
    more = access.options() if reference.startswith('docker://') else []
    result = run_command(
        ['skopeo', *_registries(), *words, *_RETRIES, *more, reference], check=False,
        timeout=network_timeout()
    )
    if result.returncode:
        reason, hint = explain(result.stderr)
        raise KiwiStashImageNotFound(f'{reference}: {failure}: {reason}', hint)
    return result.stdout
