# SPDX-License-Identifier: GPL-3.0-or-later
"""The provenance statement: what an image says of itself, and nothing else."""
from __future__ import annotations

import json
from typing import Any, Dict

from stored_images import LAYER, own_labels

from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.provenance import PREDICATE, STATEMENT, make_provenance

DIGEST = f'sha256:{"d" * 64}'


def statement(told: Dict[str, str], **more: Any) -> Dict[str, Any]:
    """Return what is said of an image with labels."""
    values = {'created': '2026-01-02T03:04:05Z', 'layers': (LAYER,), **more}
    info = ImageInfo('a' * 64, labels=told, **values)
    found: Dict[str, Any] = json.loads(make_provenance(info, 'small:v1', DIGEST))
    assert (found['_type'], found['predicateType']) == (STATEMENT, PREDICATE)
    assert found['subject'] == [{'name': 'small:v1', 'digest': {'sha256': 'd' * 64}}]
    return found


OWN = {
    **own_labels(), labels.BASE_NAME: 'base:v1', labels.BASE_DIGEST: f'sha256:{"b" * 64}',
    labels.DESCRIPTION_DIGEST: f'sha256:{"c" * 64}', labels.KIWI_VERSION: '10.3.11',
    labels.PLUGIN_VERSION: '2.0.0', labels.TYPE: 'oem', labels.PROFILES: 'a,b'
}


def test_what_an_image_was_made_of() -> None:
    predicate = statement(OWN)['predicate']
    build = predicate['buildDefinition']
    assert [(one['name'], one['digest']['sha256'][0]) for one in build['resolvedDependencies']] == [
        ('base:v1', 'b'), ('image/', 'c')
    ]
    assert build['externalParameters']['profiles'] == ['a', 'b']
    run = predicate['runDetails']
    assert run['builder']['version'] == {'kiwi': '10.3.11', 'kiwi_stackbuild_plugin': '2.0.0'}
    assert run['metadata'] == {'finishedOn': '2026-01-02T03:04:05Z'}
    assert run['byproducts'][0]['digest'] == {'sha256': 'a' * 64}


def test_image_that_only_inherited_the_labels() -> None:
    predicate = statement(OWN, layers=(LAYER, LAYER[:-1] + 'b'))['predicate']
    assert predicate['buildDefinition']['resolvedDependencies'] == []
    assert 'version' not in predicate['runDetails']['builder']


def test_what_is_not_known_is_left_out() -> None:
    text = json.dumps(statement(
        {**OWN, labels.BASE_DIGEST: '', labels.DESCRIPTION_DIGEST: 'x', labels.KIWI_VERSION: ''},
        created='0001-01-01T00:00:00Z'
    ))
    assert 'finishedOn' not in text and '"kiwi":' not in text
    assert 'resolvedDependencies": []' in text
