# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with an image in a registry: pushed and read by skopeo.

Each artifact is pushed by its digest. The index that lists them is under a tag
made of the image's digest, whatever the registry knows: who asks it for the
referrers of an image finds them as well, and skopeo can only ask for tags.
Source: OCI distribution spec v1.1, "Referrers Tag Schema".
"""
from __future__ import annotations

import os
import secrets
from typing import Any, Collection, Dict, List, Sequence

from kiwi_stackbuild_plugin.host.errors import KiwiStashImageNotFound, KiwiStashToolFailed
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.artifacts import (
    INDEX_TYPE, Artifact, merge_referrers, referrers_tag
)
from kiwi_stackbuild_plugin.image.attached import add_artifact, add_blob, name_entries
from kiwi_stackbuild_plugin.image.image import MANIFEST_TYPE, Document, encode
from kiwi_stackbuild_plugin.image.layout import make_layout
from kiwi_stackbuild_plugin.storage.access import Access, Signing
from kiwi_stackbuild_plugin.storage.parsing import parse_referrers, parse_remote_manifest
from kiwi_stackbuild_plugin.storage.registry import copy_exactly, list_tags, read_raw


def push_artifacts(
    space: Workspace, repository: str, digest: str, artifacts: Sequence[Artifact],
    created: str, access: Access, signing: Signing
) -> None:
    """Push documents that go with an image which is in a registry.

    :param repository: host/name
    :param digest: of the image's manifest there
    :param created: RFC 3339, of the image
    :raises KiwiStashToolFailed: with the reason; the image stays
    """
    try:
        raw = read_raw(f'{repository}@{digest}', access)
        subject: Document = {
            'mediaType': parse_remote_manifest(raw, repository).get('mediaType')
            or MANIFEST_TYPE, 'digest': digest,
            'size': len(raw.encode('utf-8', 'surrogateescape'))
        }
        there = read_referrers(repository, digest, access, list_tags(repository, access))
    except KiwiStashImageNotFound as issue:
        raise KiwiStashToolFailed(
            f'{repository}: the image is there, what goes with it is not: {issue.summary}',
            issue.hint
        ) from issue
    layout = os.path.join(space.path, f'artifacts-{secrets.token_hex(8)}')
    make_layout(layout)
    entries = [add_artifact(layout, one, subject, created) for one in artifacts]
    index = add_blob(layout, INDEX_TYPE, encode(merge_referrers(there, entries)))
    names = {one.kind: entry for one, entry in zip(artifacts, entries)}
    name_entries(layout, {**names, 'index': index})
    for kind, entry in names.items():
        copy_exactly(
            f'oci:{layout}:{kind}', f'{repository}@{entry["digest"]}', access, signing
        )
    copy_exactly(
        f'oci:{layout}:index', f'{repository}:{referrers_tag(digest)}', access
    )


def read_referrers(
    repository: str, digest: str, access: Access, tags: Collection[str]
) -> List[Dict[str, Any]]:
    """Return the entries of the index that lists what goes with an image.

    :param tags: those of the repository
    :raises KiwiStashImageNotFound: if it cannot be read
    """
    tag = referrers_tag(digest)
    if tag not in tags:
        return []
    return parse_referrers(read_raw(f'{repository}:{tag}', access), repository)
