# SPDX-License-Identifier: GPL-3.0-or-later
"""An SBOM of an image: its packages as an SPDX 2.3 document in JSON.

The same image gives the same document, byte for byte. Source: SPDX 2.3,
chapters 6 to 11.
"""
from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import quote

from kiwi_stackbuild_plugin.host.text import FULL_ID
from kiwi_stackbuild_plugin.packages.database import Package, Packages
from kiwi_stackbuild_plugin.packages.licenses import NOTHING_SAID, Licenses
from kiwi_stackbuild_plugin.packages.purl import Distribution, package_url

_ROOT = 'SPDXRef-Image'
_BASE = 'SPDXRef-Base'
_DOCUMENT = 'SPDXRef-DOCUMENT'
#: where SPDX lets documents without a place of their own be
_NAMESPACE = 'https://spdx.org/spdxdocs'
_HOMEPAGE = re.compile(
    r'(?:https?|ftp)://[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?::[0-9]{1,5})?'
    r"(?:/[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?", re.IGNORECASE
)
_PLAIN = re.compile(r'[^()<>\s][^()<>]*')
_APK_CHECKSUMS = {'Q1': ('SHA1', 20), 'Q2': ('SHA256', 32)}


@dataclass(frozen=True)
class DescribedImage:
    """What a document says of the image itself.

    created: RFC 3339 in UTC, in seconds; tools: name-version; base_name and
    base_digest (sha256:...) empty where there is none
    """

    name: str
    tag: str
    image_id: str
    created: str
    tools: Tuple[str, ...]
    base_name: str = ''
    base_digest: str = ''


def make_sbom(
    image: DescribedImage, packages: Packages, distribution: Distribution
) -> bytes:
    """Return the document; it says which data bases could not be read."""
    licenses = Licenses()
    ordered = sorted(packages.found)
    entries = [_image(image), *_base(image)]
    entries += [_package(one, distribution, licenses) for one in ordered]
    document: Dict[str, Any] = {
        'spdxVersion': 'SPDX-2.3', 'dataLicense': 'CC0-1.0', 'SPDXID': _DOCUMENT,
        'name': f'{image.name}:{image.tag}',
        'creationInfo': {
            'created': image.created, 'creators': [f'Tool: {tool}' for tool in image.tools],
            **_unread(packages)
        },
        'packages': entries,
        'relationships': [
            _related(_DOCUMENT, 'DESCRIBES', _ROOT),
            *(_related(_ROOT, 'DESCENDANT_OF', _BASE) for _ in _base(image)),
            *(_related(_ROOT, 'CONTAINS', _identifier(one)) for one in ordered)
        ],
        'hasExtractedLicensingInfos': [
            {'licenseId': key, 'name': NOTHING_SAID if text == key else text,
             'extractedText': text} for key, text in sorted(licenses.texts.items())
        ]
    }
    # unique for what it says, and the same for the same
    digest = hashlib.sha256(_encode(document)).hexdigest()
    place = quote(image.name.replace('/', '-'), safe='')
    document['documentNamespace'] = f'{_NAMESPACE}/{place}-{digest}'
    return _encode(document)


def _encode(document: Dict[str, Any]) -> bytes:
    # ASCII: a lone surrogate stays an escape
    return json.dumps(document, indent=1, sort_keys=True).encode('ascii') + b'\n'


def _unread(packages: Packages) -> Dict[str, str]:
    told = '; '.join(f'{kind}: {why}' for kind, why in sorted(packages.unread.items()))
    return {'comment': f'packages that could not be read: {told}'} if told else {}


def _related(one: str, how: str, other: str) -> Dict[str, str]:
    return {
        'spdxElementId': one, 'relationshipType': how, 'relatedSpdxElement': other
    }


def _entry(identifier: str, name: str, version: str) -> Dict[str, Any]:
    return {
        'SPDXID': identifier, 'name': name, 'downloadLocation': NOTHING_SAID,
        'filesAnalyzed': False, 'copyrightText': NOTHING_SAID,
        'licenseConcluded': NOTHING_SAID, 'licenseDeclared': NOTHING_SAID,
        **({'versionInfo': version} if version else {})
    }


def _image(image: DescribedImage) -> Dict[str, Any]:
    return {
        **_entry(_ROOT, image.name, image.tag), 'primaryPackagePurpose': 'CONTAINER',
        'checksums': [{'algorithm': 'SHA256', 'checksumValue': image.image_id}],
        'comment': 'the checksum is the image ID: the digest of its config'
    }


def _base(image: DescribedImage) -> List[Dict[str, Any]]:
    digest = image.base_digest.partition(':')[2]
    if not digest:
        return []
    return [{
        **_entry(_BASE, image.base_name or digest, ''), 'primaryPackagePurpose': 'CONTAINER',
        'checksums': [{'algorithm': 'SHA256', 'checksumValue': digest}],
        'comment': 'the checksum is the digest of the manifest'
    }]


def _package(
    one: Package, distribution: Distribution, licenses: Licenses
) -> Dict[str, Any]:
    details = one.details
    entry = {
        **_entry(_identifier(one), one.name, one.version),
        'licenseDeclared': licenses.expression(details.licenses),
        'externalRefs': [{
            'referenceCategory': 'PACKAGE-MANAGER', 'referenceType': 'purl',
            'referenceLocator': package_url(one, distribution)
        }]
    }
    supplier = _supplier(details.supplier)
    if supplier:
        entry['supplier'] = supplier
    if _HOMEPAGE.fullmatch(details.homepage):
        entry['homepage'] = details.homepage
    if details.source:
        entry['sourceInfo'] = f'built from the source package {details.source}'
    checksum = _checksum(one)
    if checksum:
        algorithm, value, what = checksum
        entry['checksums'] = [{'algorithm': algorithm, 'checksumValue': value}]
        entry['comment'] = f'the checksum is that of the {what} of the package'
    return entry


def _identifier(one: Package) -> str:
    """Return an identifier that no other package of the image has."""
    words = (one.format, one.name, one.architecture, one.version)
    digest = hashlib.sha256('\0'.join(words).encode('utf-8', 'replace')).hexdigest()
    plain = re.sub(r'[^A-Za-z0-9.-]+', '-', one.name)[:64]
    return f'SPDXRef-{one.format}-{plain}-{digest[:16]}'


def _supplier(text: str) -> str:
    # "Name <mail@host>" of deb, apk and pacman
    name, _, rest = text.partition('<')
    mail = rest[:-1]
    if name.strip() and rest.endswith('>') and '@' in mail[1:-1] and not (
        set('<>()') & set(name + mail) or any(map(str.isspace, mail))
    ):
        return f'Person: {name.rstrip()} ({mail})'
    return f'Organization: {text}' if _PLAIN.fullmatch(text) and text.isprintable() else ''


def _checksum(one: Package) -> Optional[Tuple[str, str, str]]:
    """Return algorithm, hexadecimal value, and what it is of; of apk and rpm."""
    told = one.details.checksum
    if one.format == 'rpm' and FULL_ID.fullmatch(told):
        return 'SHA256', told, 'header'
    algorithm, length = _APK_CHECKSUMS.get(told[:2], ('', 0))
    try:
        value = base64.b64decode(told[2:], validate=True)
    except (binascii.Error, ValueError):
        return None
    return (algorithm, value.hex(), 'control segment') if length and len(value) == length else None
