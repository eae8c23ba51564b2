# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts in an OCI image layout: written, listed in its index, packed.

A layout may be another program's: nothing is written through a link, and
entries of others stay as they are. Source: OCI image spec v1.1, image-layout.md.
"""
from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import tarfile
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, Mapping, Sequence

from kiwi_stackbuild_plugin.host.durable import replace
from kiwi_stackbuild_plugin.host.errors import KiwiStashRootInvalid, KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.image.artifacts import (
    EMPTY_TYPE, INDEX_TYPE, Artifact, artifact_manifest, kind_of, listed
)
from kiwi_stackbuild_plugin.image.image import MANIFEST_TYPE, Document, encode
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

#: the annotation that is a name
REF_NAME = 'org.opencontainers.image.ref.name'
_BLOBS = b'blobs/sha256'
_INDEX = 'index.json'
#: bytes of an index or manifest; registries take 4 MiB
_LIMIT = 4 << 20
_READ = os.O_RDONLY | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def add_artifact(
    directory: str, artifact: Artifact, subject: Document, created: str
) -> Document:
    """Write an artifact into a layout; return its entry for an index."""
    manifest = artifact_manifest(
        artifact, add_blob(directory, EMPTY_TYPE, b'{}'),
        add_blob(directory, artifact.media_type, artifact.data), subject, created
    )
    return listed(manifest, add_blob(directory, MANIFEST_TYPE, encode(manifest)))


def add_blob(directory: str, media_type: str, data: bytes) -> Document:
    """Write a blob into a layout and return its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    with _opened(directory, _BLOBS) as fd:
        _replace(fd, digest, data)
    return {'mediaType': media_type, 'digest': f'sha256:{digest}', 'size': len(data)}


def name_entries(directory: str, named: Mapping[str, Document]) -> None:
    """Make some blobs all that the index of a layout lists, by name."""
    with _opened(directory, b'') as fd:
        _replace(fd, _INDEX, encode({'schemaVersion': 2, 'manifests': [
            {**entry, 'annotations': {REF_NAME: name}} for name, entry in named.items()
        ]}))


def attach(
    directory: str, reference: str, artifacts: Sequence[Artifact], created: str
) -> None:
    """Add artifacts of an image to the layout that it was copied to.

    Earlier ones of ours go, with those of images that are no longer listed.

    :param reference: name of the image in the layout
    :raises KiwiStashTargetInvalid: if it is not in the index
    """
    entries = _entries(directory)
    found = [one for one in entries if _annotations(one).get(REF_NAME) == reference]
    if not found:
        raise KiwiStashTargetInvalid(f'{directory!r}: there is no {reference!r} in the layout')
    subject = {key: found[-1][key] for key in ('mediaType', 'digest', 'size')}
    new = [add_artifact(directory, one, subject, created) for one in artifacts]
    digests = {str(entry.get('digest')) for entry in entries if not kind_of(entry)}
    kept = [entry for entry in entries if not kind_of(entry) or _subject(
        directory, entry
    ) in digests - {subject['digest']}]
    with _opened(directory, b'') as fd:
        _replace(fd, _INDEX, encode({
            'schemaVersion': 2, 'mediaType': INDEX_TYPE, 'manifests': kept + new
        }))


def complete_reference(text: str) -> str:
    """Return skopeo's reference with the name of the one image that it means.

    Where artifacts are listed as well, skopeo does not know which is the image.

    :param text: any reference of skopeo
    """
    transport, _, rest = text.partition(':')
    path, colon, _ = rest.partition(':')
    if colon or transport not in ('oci', 'oci-archive'):
        return text
    try:
        if transport == 'oci':
            index = _read(path, _INDEX.encode())
        else:
            with tarfile.open(path, 'r:') as archive:
                member = archive.extractfile(_INDEX)
                index = member.read(_LIMIT) if member else b''
    except (OSError, KeyError, tarfile.TarError, KiwiStashRootInvalid):
        # skopeo will say what is wrong with it
        return text
    names = image_names(index)
    return f'{text}:{names[0]}' if len(names) == 1 else text


def image_names(index: bytes) -> List[str]:
    """Return the names of the images in an index that has artifacts as well.

    :returns: none where there are no artifacts, or it is no index
    """
    try:
        entries = json.loads(index)['manifests']
        kinds = [(bool(one.get('artifactType')), _annotations(one)) for one in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    if not any(artifact for artifact, _ in kinds):
        return []
    return [
        str(told[REF_NAME]) for artifact, told in kinds if not artifact and told.get(REF_NAME)
    ]


def pack_layout(directory: str, path: str) -> None:
    """Write a layout as an archive: the same layout gives the same archive."""
    names: List[str] = []
    for where, folders, files in os.walk(directory):
        folders.sort()
        names += [os.path.relpath(os.path.join(where, name), directory) for name in files]
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(names, key=lambda name: (name != 'oci-layout', name)):
            with open(os.path.join(directory, name), 'rb') as source:
                member = tarfile.TarInfo(name)
                member.size = os.fstat(source.fileno()).st_size
                member.mode = 0o644
                archive.addfile(member, source)


@contextmanager
def _opened(directory: str, below: bytes) -> Iterator[int]:
    with opened_tree(directory) as root:
        fd = open_below(root, below)
        try:
            yield fd
        finally:
            os.close(fd)


def _replace(fd: int, name: str, data: bytes) -> None:
    """Write a file of a directory, whole or not at all."""
    new = f'.{secrets.token_hex(8)}'
    try:
        with open(os.open(new, _NEW, 0o644, dir_fd=fd), 'wb') as out:
            out.write(data)
        replace(new, name, source_fd=fd, target_fd=fd)
    except OSError:
        with suppress(OSError):
            os.unlink(new, dir_fd=fd)
        raise


def _entries(directory: str) -> List[Dict[str, Any]]:
    try:
        entries = json.loads(_read(directory, _INDEX.encode()))['manifests']
        if not all(isinstance(one, dict) for one in entries):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise KiwiStashTargetInvalid(f'{directory!r}: its index.json is none') from None
    return list(entries)


def _subject(directory: str, entry: Mapping[str, Any]) -> str:
    """Return the digest of the image that an artifact goes with, '' if none."""
    digest = str(entry.get('digest') or '').partition(':')[2]
    try:
        found = json.loads(_read(directory, _BLOBS + b'/' + digest.encode()))
        return str(found['subject']['digest'])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ''


def _read(directory: str, path: bytes) -> bytes:
    with opened_tree(directory) as root:
        fd = open_below(root, path, _READ)
        with open(fd, 'rb') as source:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
                raise OSError(0, 'no index or manifest')
            return source.read()


def _annotations(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get('annotations')
    return found if isinstance(found, dict) else {}

