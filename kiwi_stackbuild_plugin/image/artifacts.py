# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with an image (SBOM, provenance), as artifacts that refer to it.

Sources: OCI image spec v1.1, manifest.md, "Guidelines for Artifact Usage"; OCI
distribution spec v1.1, "Referrers Tag Schema".
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping

from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import MANIFEST_TYPE, Document

INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'
SBOM_TYPE = 'application/spdx+json'
PROVENANCE_TYPE = 'application/vnd.in-toto+json'
#: annotation of the artifacts that are ours: the kind
KIND = labels.STASH_PREFIX + 'artifact'
SBOM, PROVENANCE = 'sbom', 'provenance'
TYPES = {SBOM: SBOM_TYPE, PROVENANCE: PROVENANCE_TYPE}

#: tags that tools make for what goes with an image: that of the referrers,
#: and with a suffix those of cosign
_ATTACHED = re.compile(r'sha256-[0-9a-f]{64}(?:\.[a-z]{1,16})?')


@dataclass(frozen=True)
class Artifact:
    """A document that goes with an image; file_name is what it is called on disk."""

    kind: str
    media_type: str
    file_name: str
    data: bytes


def sbom_artifact(data: bytes) -> Artifact:
    """Return an SBOM (SPDX, JSON) as an artifact."""
    return Artifact(SBOM, SBOM_TYPE, 'sbom.spdx.json', data)


def provenance_artifact(data: bytes) -> Artifact:
    """Return a provenance statement (in-toto) as an artifact."""
    return Artifact(PROVENANCE, PROVENANCE_TYPE, 'provenance.intoto.json', data)


def artifact_manifest(
    artifact: Artifact, config: Document, blob: Document, subject: Document, created: str
) -> Document:
    """Return the manifest of an artifact.

    :param config: descriptor of the empty config
    :param blob: descriptor of the document
    :param subject: descriptor of the manifest it goes with
    :param created: RFC 3339, of the image: the same documents are one artifact
    """
    return {
        'schemaVersion': 2, 'mediaType': MANIFEST_TYPE,
        'artifactType': artifact.media_type, 'config': config, 'layers': [blob],
        'subject': subject, 'annotations': {
            KIND: artifact.kind, labels.TITLE: artifact.file_name,
            **({labels.CREATED: created} if created else {})
        }
    }


def listed(manifest: Document, descriptor: Document) -> Document:
    """Return the entry of an artifact in an index."""
    return {
        **descriptor, 'artifactType': manifest['artifactType'],
        'annotations': manifest['annotations']
    }


def merge_referrers(
    there: Iterable[Mapping[str, Any]], ours: Iterable[Document]
) -> Document:
    """Return an index of referrers: ours take the place of earlier ones of ours.

    :param there: entries of the index so far; those of others stay
    """
    new = list(ours)
    digests = {entry['digest'] for entry in new}
    kept: List[Document] = [
        dict(entry) for entry in there
        if entry.get('digest') not in digests and not kind_of(entry)
    ]
    return {'schemaVersion': 2, 'mediaType': INDEX_TYPE, 'manifests': kept + new}


def kind_of(entry: Mapping[str, Any]) -> str:
    """Return the kind of an artifact of ours, '' for one of others."""
    found = entry.get('annotations')
    return str(found.get(KIND) or '') if isinstance(found, dict) else ''


def referrers_tag(digest: str) -> str:
    """Return the tag by which the referrers of a manifest are found."""
    return digest.replace(':', '-', 1)


def is_attached_tag(tag: str) -> bool:
    """Tell whether a tag is no version of an image, but of what goes with one."""
    return bool(_ATTACHED.fullmatch(tag))
