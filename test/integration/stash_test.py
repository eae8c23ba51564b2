# SPDX-License-Identifier: GPL-3.0-or-later
"""system stash and stash_list on small trees, with the real podman and skopeo."""
from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from storages import Storage
from trees import describe

KEPT_BACK = ('image/stash.json',)


def stored(storage: Storage, name: str) -> Dict[bytes, Any]:
    """Describe what podman mounts for a stash."""
    tree = describe(storage.mount(f'localhost/{name}'))
    storage.unmount(f'localhost/{name}')
    return tree


def labels_of(storage: Storage, name: str) -> Dict[str, str]:
    inspected = storage.run('podman', 'image', 'inspect', f'localhost/{name}')
    labels: Dict[str, str] = json.loads(inspected.stdout)[0]['Labels']
    return labels


def images(storage: Storage) -> List[str]:
    return storage.run('podman', 'images', '--all', '--quiet').stdout.split()


def summary(result: subprocess.CompletedProcess[str]) -> str:
    return (result.stdout + result.stderr).strip().splitlines()[-1]


@pytest.fixture(params=['index', 'mount'], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find changes both ways, by the base's index and in the mounted base."""
    if request.param == 'mount':
        monkeypatch.setattr(Storage, 'INDEXES', False)


def test_first_stash_holds_the_tree(storage: Storage, root: Path) -> None:
    before = describe(root)
    result = storage.kiwi('stash', '--root', str(root))
    assert re.search(
        r'small:latest is [0-9a-f]{12}: layer .*B, \d+ added, 0 changed, 0 removed, '
        r'no base, \d+\.\d s$', summary(result)
    )
    assert stored(storage, 'small:latest') == before
    assert describe(root, KEPT_BACK) == before


def test_labels_tell_how_the_tree_was_built(storage: Storage, root: Path) -> None:
    (root / '.profile').write_text(
        "kiwi_profiles='one,two'\nkiwi_type='oci'\nevil=$(touch /tmp/evil)\n"
    )
    root.chmod(0o711)
    storage.kiwi('stash', '--root', str(root), '--label', 'a=b', '--label', 'c=d=e')
    labels = labels_of(storage, 'small')
    own = 'io.osinside.kiwi.stash.'
    assert labels[own + 'profiles'] == 'one,two'
    assert labels[own + 'type'] == 'oci'
    assert labels[own + 'packagemanager'] == 'apt'
    assert labels[own + 'root-mode'] == '0711'
    assert labels['org.opencontainers.image.title'] == 'small'
    assert labels['org.opencontainers.image.authors'] == 'Test Author'
    assert labels['io.osinside.kiwi.maintainer'] == 'Test Author'
    assert (labels['a'], labels['c']) == ('b', 'd=e')
    stash = storage.stash('small')
    assert stash['profiles'] == ['one', 'two']
    assert (stash['type'], stash['packagemanager']) == ('oci', 'apt')


def test_second_stash_is_a_small_layer_on_the_first(
    storage: Storage, root: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    first = storage.stash('small')
    (root / 'etc/motd').write_text('hi\n')
    (root / 'etc/hostname').unlink()
    result = storage.kiwi('stash', '--root', str(root))
    assert '1 added, 1 changed, 1 removed' in summary(result)
    second = storage.stash('small')
    assert (first['layers'], second['layers']) == (1, 2)
    assert second['layer_size'] <= 1024
    assert second['base'] == {
        'name': 'localhost/small:latest', 'digest': first['digest']
    }
    assert stored(storage, 'small') == describe(root, KEPT_BACK)


def test_nothing_changed_adds_no_layer(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    before = images(storage)
    result = storage.kiwi('stash', '--root', str(root))
    assert 'nothing changed, no new layer' in summary(result)
    assert images(storage) == before


def test_second_tag_is_the_same_image(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    storage.kiwi('stash', '--root', str(root), '--tag', 'other')
    one, two = storage.stashes()
    assert one['id'] == two['id']
    assert {one['tag'], two['tag']} == {'latest', 'other'}


def test_changed_name_is_a_delta_on_the_same_base(
    storage: Storage, root: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/role').write_text('web\n')
    storage.kiwi('stash', '--root', str(root), '--container-name', 'web')
    assert storage.stash('web')['layers'] == 2
    assert storage.stash('small')['layers'] == 1


def test_changed_label_alone_makes_an_image_without_a_layer(
    storage: Storage, root: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    storage.kiwi('stash', '--root', str(root), '--label', 'stage=two')
    assert labels_of(storage, 'small')['stage'] == 'two'
    assert storage.stash('small')['layers'] == 1
    (root / 'etc/more').write_text('more\n')
    storage.kiwi('stash', '--root', str(root))
    assert storage.stash('small')['layers'] == 2


def test_same_size_and_time_with_other_content_is_stored(
    storage: Storage, root: Path
) -> None:
    tool = root / 'usr/bin/tool'
    storage.kiwi('stash', '--root', str(root))
    status = tool.stat()
    content = bytearray(tool.read_bytes())
    content[100] ^= 1
    tool.write_bytes(content)
    os.utime(tool, ns=(status.st_atime_ns, status.st_mtime_ns))
    storage.kiwi('stash', '--root', str(root))
    assert stored(storage, 'small') == describe(root, KEPT_BACK)


@pytest.mark.parametrize('forget', ['record', 'copy'])
def test_without_a_record_contents_are_compared(
    storage: Storage, root: Path, tmp_path: Path, forget: str
) -> None:
    storage.kiwi('stash', '--root', str(root))
    tool = root / 'usr/bin/tool'
    status = tool.stat()
    tool.write_bytes(tool.read_bytes()[::-1])
    os.utime(tool, ns=(status.st_atime_ns, status.st_mtime_ns))
    if forget == 'record':
        (root / 'image/stash.json').unlink()
    else:
        subprocess.run(['cp', '-a', root, tmp_path / 'copy'], check=True)
        root = tmp_path / 'copy'
    result = storage.kiwi('stash', '--root', str(root))
    assert '0 added' in summary(result)
    assert stored(storage, 'small') == describe(root, KEPT_BACK)
    assert storage.stash('small')['layers'] == 2


def test_base_by_name_and_no_base(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root), '--container-name', 'a')
    (root / 'image/stash.json').unlink()
    storage.kiwi('stash', '--root', str(root), '--container-name', 'b', '--base', 'a')
    assert storage.stash('b')['base']['digest'] == storage.stash('a')['digest']
    (root / 'etc/x').touch()
    storage.kiwi('stash', '--root', str(root), '--container-name', 'c', '--no-base')
    assert storage.stash('c')['layers'] == 1
    assert storage.stash('c')['base'] is None


def test_lost_base_is_said_and_the_stash_goes_on(
    storage: Storage, root: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    storage.run('podman', 'rmi', 'localhost/small')
    result = storage.kiwi('stash', '--root', str(root))
    assert 'no longer stored' in result.stdout + result.stderr
    assert stored(storage, 'small') == describe(root, KEPT_BACK)


def test_chain_is_bounded(storage: Storage, root: Path) -> None:
    for number in range(3):
        (root / f'etc/{number}').touch()
        result = storage.kiwi(
            'stash', '--root', str(root), env={'KIWI_STASH_MAX_LAYERS': '2'}
        )
    assert 'starting a new single layer' in result.stdout + result.stderr
    assert storage.stash('small')['layers'] == 1
    assert stored(storage, 'small') == describe(root, KEPT_BACK)


def test_dry_run_stores_nothing(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/motd').write_text('hello')
    (root / 'etc/hostname').unlink()
    before = describe(root)
    output = storage.kiwi('stash', '--root', str(root), '--dry-run').stdout
    assert re.search(r'^A +5 etc/motd$', output, re.MULTILINE)
    assert re.search(r'^D +- etc/hostname$', output, re.MULTILINE)
    assert re.search(r'^C +0 etc$', output, re.MULTILINE)
    assert storage.stash('small')['layers'] == 1
    assert describe(root) == before


def test_source_date_epoch_fixes_the_dates(storage: Storage, root: Path) -> None:
    for name in ('a', 'b'):
        storage.kiwi(
            'stash', '--root', str(root), '--container-name', 'same', '--tag', name,
            '--no-base', env={'SOURCE_DATE_EPOCH': '1000000000'}
        )
        time.sleep(0.01)
    one, two = storage.stashes('same')
    assert one['created'] == '2001-09-09T01:46:40Z'
    assert one['size'] == two['size']
