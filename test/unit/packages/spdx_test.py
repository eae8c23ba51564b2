# SPDX-License-Identifier: GPL-3.0-or-later
"""The SBOM of a tree: SPDX's own tools find no fault in it, whatever the names are."""
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict, List

import pytest
from in_time import within
from sboms import check_sbom

from kiwi_stackbuild_plugin.packages.database import Details, Package, Packages
from kiwi_stackbuild_plugin.packages.purl import Distribution
from kiwi_stackbuild_plugin.packages.spdx import DescribedImage, make_sbom

IMAGE = DescribedImage(
    'team/small', 'v1', 'a' * 64, '2026-01-02T03:04:05Z',
    ('kiwi-10.3.11', 'kiwi_stackbuild_plugin-2.0.0'), 'localhost/base:v1', f'sha256:{"b" * 64}'
)
DEBIAN = Distribution('debian', '12')
SHA1 = 'Q1q6urq6urq6urq6urq6urq6urq6s='


def made(*packages: Package, image: DescribedImage = IMAGE, **unread: str) -> Dict[str, Any]:
    """Return a document that SPDX's own tools have looked at."""
    data = make_sbom(image, Packages(frozenset(packages), unread), DEBIAN)
    check_sbom(data)
    found: Dict[str, Any] = json.loads(data)
    return found


def package(**details: Any) -> Dict[str, Any]:
    """Return the entry of a package with some details."""
    kind = details.pop('kind', 'deb')
    entry: Dict[str, Any] = made(Package(kind, 'a', 'all', '1', Details(**details)))['packages'][-1]
    return entry


def test_image_base_and_packages_are_related() -> None:
    document = made(Package('deb', 'two', 'all', '2'), Package('deb', 'one', 'amd64', '1'))
    assert [one['name'] for one in document['packages']] == [
        'team/small', 'localhost/base:v1', 'one', 'two'
    ]
    assert document['packages'][0]['checksums'][0]['checksumValue'] == 'a' * 64
    assert document['packages'][1]['checksums'][0]['checksumValue'] == 'b' * 64
    told = {(one['relationshipType'], one['relatedSpdxElement'].rpartition('-')[0])
            for one in document['relationships']}
    assert told == {
        ('DESCRIBES', 'SPDXRef'), ('DESCENDANT_OF', 'SPDXRef'),
        ('CONTAINS', 'SPDXRef-deb-one'), ('CONTAINS', 'SPDXRef-deb-two')
    }
    assert document['creationInfo']['created'] == '2026-01-02T03:04:05Z'


def test_same_again_and_another_name_for_another() -> None:
    packages = [Package('deb', f'p{number}', 'all', '1') for number in range(50)]
    one, two = (
        make_sbom(IMAGE, Packages(frozenset(order)), DEBIAN)
        for order in (packages, packages[::-1])
    )
    assert one == two
    names = {made(image=image)['documentNamespace'] for image in (
        IMAGE, replace(IMAGE, tag='v2'), replace(IMAGE, image_id='c' * 64)
    )}
    assert len(names) == 3


def test_image_without_a_base() -> None:
    document = made(image=replace(IMAGE, base_digest=''))
    assert [one['name'] for one in document['packages']] == ['team/small']


@pytest.mark.parametrize(('details', 'field', 'value'), [
    ({'licenses': ('MIT',)}, 'licenseDeclared', 'MIT'),
    ({'licenses': ()}, 'licenseDeclared', 'NOASSERTION'),
    ({'licenses': ('LicenseRef-Fedora-Public-Domain',)}, 'licenseDeclared',
     'LicenseRef-Fedora-Public-Domain'),
    ({'supplier': 'A Team <a@b.org>'}, 'supplier', 'Person: A Team (a@b.org)'),
    ({'supplier': 'openSUSE'}, 'supplier', 'Organization: openSUSE'),
    ({'supplier': '(x'}, 'supplier', None), ({'supplier': ''}, 'supplier', None),
    ({'supplier': 'a\nb'}, 'supplier', None), ({'supplier': '<a@b>'}, 'supplier', None),
    ({'supplier': 'A <a@b> x'}, 'supplier', None), ({'supplier': 'A <a b@c>'}, 'supplier', None),
    ({'supplier': 'A <a@>'}, 'supplier', None), ({'supplier': 'A <<a@b>'}, 'supplier', None),
    ({'supplier': f'A{" " * 40000}x'}, 'supplier', f'Organization: A{" " * 40000}x'),
    ({'supplier': f'A <{"@" * 40000}'}, 'supplier', None),
    ({'homepage': 'https://x.org/a?b=c'}, 'homepage', 'https://x.org/a?b=c'),
    ({'homepage': 'https://x'}, 'homepage', None), ({'homepage': 'a b'}, 'homepage', None),
    ({'homepage': 'https://x.org/\x1b[2J'}, 'homepage', None),
    ({'source': 'glibc (2.36)'}, 'sourceInfo', 'built from the source package glibc (2.36)'),
    ({'kind': 'rpm', 'checksum': 'c' * 64}, 'checksums',
     [{'algorithm': 'SHA256', 'checksumValue': 'c' * 64}]),
    ({'kind': 'rpm', 'checksum': 'x'}, 'checksums', None),
    ({'kind': 'apk', 'checksum': SHA1}, 'checksums',
     [{'algorithm': 'SHA1', 'checksumValue': 'ab' * 20}]),
    ({'kind': 'apk', 'checksum': 'Q1!!'}, 'checksums', None),
    ({'kind': 'apk', 'checksum': 'Q1YQ=='}, 'checksums', None),
])
def test_details(details: Dict[str, Any], field: str, value: object) -> None:
    with within(5):
        assert package(**details).get(field) == value


HOSTILE: List[str] = [
    'a\x1b[2J', 'a\nb', '../../x', 'ä€\u202e', '#"\\', ' ', 'x' * 5000, '\ufffd', '%s', '@?&#'
]


@pytest.mark.parametrize('text', HOSTILE)
def test_names_of_strangers(text: str) -> None:
    document = made(*(
        Package(kind, text, text, text, Details((text,), text, text, text, text))
        for kind in ('deb', 'rpm', 'apk', 'pacman')
    ))
    assert len({one['SPDXID'] for one in document['packages']}) == 6
    assert [one['name'] for one in document['packages'][2:]] == [text] * 4
    for one in document['packages'][2:]:
        assert one['externalRefs'][0]['referenceLocator'].isascii()
        assert one['externalRefs'][0]['referenceLocator'].isprintable()


def test_what_is_not_known_is_said() -> None:
    document = made(rpm='damaged')
    assert document['creationInfo']['comment'] == 'packages that could not be read: rpm: damaged'
