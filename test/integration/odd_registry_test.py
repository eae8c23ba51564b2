# SPDX-License-Identifier: GPL-3.0-or-later
"""Odd replies of a registry: named, and the list goes on with the others."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest
from fake_registry import FakeRegistry
from storages import Storage

STASH = 'io.osinside.kiwi.stash.'
LAYER = f'sha256:{"a" * 64}'


def config(labels: Any = None, **more: Any) -> Dict[str, Any]:
    """Return the config of a stash."""
    return {
        'architecture': 'amd64', 'os': 'linux', 'created': '2026-01-02T03:04:05Z',
        'rootfs': {'type': 'layers', 'diff_ids': []},
        'config': {'Labels': {'io.osinside.kiwi.meta': 'KIWI', **(labels or {})}}, **more
    }


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """Give a registry with a stash 'good' and one 'odd', which tests change."""
    registry = FakeRegistry()
    registry.offer('good', config())
    registry.replies['_catalog'] = json.dumps({'repositories': ['good', 'odd']}).encode()
    yield registry
    registry.close()


#: what makes the repository odd; whether it is still listed
ODD: Dict[str, Callable[[FakeRegistry], Any]] = {
    'no tags': lambda it: it.offer('odd', config(), tags=None),
    'not there': lambda it: None,
    'no permission': lambda it: it.replies.update(
        {'odd/tags/list': (403, b'{"errors": [{"code": "DENIED", "message": "no"}]}')}
    ),
    'tags of another kind': lambda it: it.offer('odd', config(), tags={'a': 1}),
    'a tag that is none': lambda it: it.offer('odd', config(), tags=['../x', '\x1b[2J']),
    'server fails': lambda it: it.replies.update({'odd/tags/list': (500, b'oops')}),
    'no JSON': lambda it: it.replies.update({'odd/tags/list': b'<html>'}),
    'config is null': lambda it: it.offer('odd', None),
    'config is a list': lambda it: it.offer('odd', []),
    'config is deep': lambda it: it.offer('odd', b'[' * 100_000),
    'layers are numbers': lambda it: it.offer('odd', config(rootfs={'diff_ids': [5]})),
    'no layers': lambda it: it.offer('odd', config(rootfs=None)),
    'history is text': lambda it: it.offer('odd', config(history='x')),
    'created is a number': lambda it: it.offer('odd', config(created=5)),
    'size is huge': lambda it: it.offer('odd', config(), layers=[
        {'mediaType': 'x', 'digest': LAYER, 'size': 10**400}
    ]),
    'size is text': lambda it: it.offer('odd', config(), layers=[
        {'mediaType': 'x', 'digest': LAYER, 'size': '5'}
    ]),
    'digest is none': lambda it: it.offer('odd', config(), layers=[
        {'mediaType': 'x', 'digest': 'x', 'size': 5}
    ])
}


@pytest.mark.parametrize('what', ODD)
def test_list_goes_on_with_the_others(storage: Storage, fake: FakeRegistry, what: str) -> None:
    ODD[what](fake)
    told = storage.kiwi(
        'stash_list', f'--remote={fake.host}', '--tls-verify=false', '--format=json'
    )
    assert [stash['name'] for stash in json.loads(told.stdout)['stashes']] == [f'{fake.host}/good']
    assert 'Traceback' not in told.stderr
    # an empty list of tags is no fault
    if what not in ('no tags', 'a tag that is none'):
        lines = [line for line in told.stderr.splitlines() if 'WARNING' in line]
        assert len(lines) == 1 and f'{fake.host}/odd' in lines[0]


@pytest.mark.parametrize(('labels', 'more'), [
    ({STASH + 'schema': '1', STASH + 'layer-size': '9' * 5000}, {}),
    ({STASH + 'root-owner': '9999999999:0', STASH + 'type': '\x1b[2J'}, {}),
    ({}, {'created': '0001-01-01T00:00:00Z'}), ({}, {'created': '\x1b[2J'}),
    ({'io.osinside.kiwi.maintainer': 'a\nb\x1b[2J\u202e'}, {'author': '\ud800'})
])
def test_odd_values_are_listed(
    storage: Storage, fake: FakeRegistry, labels: Dict[str, str], more: Dict[str, Any]
) -> None:
    fake.offer('good', config(labels, **more))
    words = ('stash_list', f'--remote={fake.host}', '--tls-verify=false', 'good')
    for form in ('json', 'table'):
        told = storage.kiwi(*words, f'--format={form}')
        shown = told.stdout + told.stderr
        assert 'Traceback' not in shown and shown.replace('\n', '').isprintable()
    document = json.loads(storage.kiwi(*words, '--format=json').stdout)
    json.dumps(document, ensure_ascii=False).encode('utf-8')


def test_one_repository_that_is_asked_for_must_be_there(
    storage: Storage, fake: FakeRegistry, tmp_path: Path
) -> None:
    told = storage.kiwi(
        'stash_list', f'--remote={fake.host}', '--tls-verify=false', 'odd', check=False
    )
    assert told.returncode == 1 and 'cannot be listed' in told.stderr
    fake.offer('odd', [])
    told = storage.kiwi(
        'stackbuild', f'--stash={fake.host}/odd:v1', '--tls-verify=false',
        f'--target-dir={tmp_path}/target', check=False
    )
    assert told.returncode == 1 and 'Traceback' not in told.stderr
    assert 'what is there is no image' in told.stderr
    assert not (tmp_path / 'target').exists()
