# SPDX-License-Identifier: GPL-3.0-or-later
"""stackbuild --stash-as and --root-only, with the real tools."""
from __future__ import annotations

import json
from pathlib import Path
from typing import List

import pytest
from noting import make_noting_root, write_role
from programs import calls
from registries import Registry
from storages import Storage, image_root
from trees import describe, make_root

#: what kiwi itself writes or removes while it creates an image
BY_KIWI = ('image', 'etc/resolv.conf', 'etc/sysconfig', 'dev', 'var/cache/kiwi')


@pytest.fixture
def base(storage: Storage, tmp_path: Path) -> Path:
    """Give a stashed tree with a package manager."""
    root = make_noting_root(tmp_path / 'root')
    storage.kiwi('stash', '--root', str(root))
    return root


def test_root_becomes_a_stash_and_no_image_is_made(
    storage: Storage, base: Path, tmp_path: Path, registry: Registry
) -> None:
    target, archive = tmp_path / 'out', tmp_path / 'web.tar'
    said = storage.kiwi(
        'stackbuild', '--description', write_role(tmp_path / 'web'),
        '--target-dir', str(target), '--root-only', '--stash-as=web:v1',
        f'--export=oci-archive:{archive}', f'--export=docker://{registry.host}/web',
        *registry.options, '--', '--add-package=more'
    ).stdout
    root = image_root(target)
    assert sorted(path.name for path in target.iterdir()) == ['build']
    assert [line for line in calls(root) if '.sh of' in line] == ['config.sh of web']
    installed = [line for line in calls(root, 'apt-get') if ' install ' in line]
    assert [line.split(' install ')[1] for line in installed] == ['web', 'more']
    web = storage.stash('web:v1')
    assert (web['layers'], web['base']['name']) == (2, 'localhost/small:latest')
    assert web['layer_size'] < 64 << 10
    assert archive.is_file() and 'Creating system image' not in said
    offered = storage.kiwi('stash_list', f'--remote={registry.host}', *registry.options)
    assert [one['tag'] for one in json.loads(offered.stdout)['stashes']] == ['v1']


def test_image_can_be_built_from_what_was_stashed(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi(
        'stackbuild', '--description', write_role(tmp_path / 'web'), '--root-only',
        '--target-dir', str(tmp_path / 'one'), '--stash-as=web', options=fast
    )
    storage.kiwi(
        'stackbuild', '--stash=web', '--target-dir', str(tmp_path / 'two'),
        '--stash-as=again', options=fast
    )
    one, two = (describe(image_root(tmp_path / name), BY_KIWI) for name in ('one', 'two'))
    made = two.pop(b'log')
    assert made != one.pop(b'log'), 'images.sh is that of the image'
    assert one == two
    assert list((tmp_path / 'two').glob('web*.tar.xz'))
    assert storage.stash('again')['base']['name'] == 'localhost/web:latest'
    changed = storage.kiwi(
        'stash', '--root', str(image_root(tmp_path / 'two')), '--container-name=again',
        '--dry-run'
    ).stdout
    assert '0 added, 0 changed, 0 removed' in changed


def test_stashes_become_one_that_fails_where_its_copy_fails(
    storage: Storage, tmp_path: Path
) -> None:
    for name in ('one', 'two'):
        root = make_root(tmp_path / name, name)
        (root / name).write_text(name)
        storage.kiwi('stash', '--root', str(root), f'--container-name={name}')
    result = storage.kiwi(
        'stackbuild', '--stash=one', '--stash=two', '--root-only', '--stash-as=both',
        '--target-dir', str(tmp_path / 'out'), '--export=docker://127.0.0.1:1/x', check=False
    )
    assert result.returncode == 1
    assert 'is built, but: both:latest is stored' in result.stderr
    both = storage.mount('both')
    assert [(both / name).read_text() for name in ('one', 'two')] == ['one', 'two']
    assert 'name="two"' in (both / 'image/config.xml').read_text()
    storage.unmount('both')
