# SPDX-License-Identifier: GPL-3.0-or-later
"""system stash and stash_list on small trees, with the real podman and skopeo."""
from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from storages import Storage
from trees import describe, make_root

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


def test_what_no_layer_can_hold_is_named(storage: Storage, root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / 'var/sock\x1b[31m'))
    (root / 'etc/.wh.gone').touch()
    os.mknod(root / 'var/null', stat.S_IFCHR | 0o600, os.makedev(0, 0))
    refused = storage.kiwi('stash', '--root', str(root), '--strict', check=False)
    assert refused.returncode == 1
    assert not storage.stashes()
    result = storage.kiwi('stash', '--root', str(root))
    told = result.stdout + result.stderr
    assert 'etc/.wh.gone' in told and 'var/null' in told
    assert 'a socket' in told and '\x1b[31m' not in told
    names = stored(storage, 'small')
    assert b'etc/.wh.gone' not in names and b'etc/hostname' in names


def test_left_out_are_other_file_systems_and_what_kiwi_leaves_out(
    storage: Storage, root: Path
) -> None:
    (root / 'mnt').mkdir()
    (root / 'run/pid').write_text('1')
    (root / 'srv/run').mkdir(parents=True)
    (root / 'srv/run/kept').write_text('1')
    (root / 'var/cache/kiwi').mkdir(parents=True)
    subprocess.run(['mount', '-t', 'tmpfs', 'none', root / 'mnt'], check=True)
    try:
        (root / 'mnt/foreign').touch()
        (root / 'dev/null').touch()
        storage.kiwi('stash', '--root', str(root))
    finally:
        subprocess.run(['umount', root / 'mnt'], check=True)
    names = stored(storage, 'small')
    assert b'srv/run/kept' in names and b'mnt' in names
    assert not {
        b'mnt/foreign', b'dev/null', b'run/pid', b'var/cache/kiwi',
        b'image/stash.json'
    } & set(names)


def test_list_is_empty_at_first(storage: Storage) -> None:
    assert storage.stashes() == []
    assert storage.kiwi('stash', '--list').stdout == storage.kiwi('stash_list').stdout
    assert 'NAME' in storage.kiwi('stash_list', '--format=table').stdout


def test_list_has_what_the_contract_says(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    stash = storage.stash('small')
    assert list(stash) == [
        'name', 'tag', 'id', 'digest', 'created', 'size', 'layer_size', 'layers',
        'base', 'description', 'type', 'profiles', 'packagemanager', 'author'
    ]
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', stash['created'])
    assert stash['description'] is True
    assert stash['author'] == 'Test Author'
    table = storage.kiwi('stash_list', '--format=table', 'small:latest').stdout
    assert re.search(r'^small +latest +' + stash['id'][:12], table, re.MULTILINE)


def test_list_knows_the_older_plugin_and_not_descendants(
    storage: Storage, root: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    for name, label in (('older', 'io.osinside.kiwi.meta=KIWI'), ('foreign', 'a=b')):
        storage.run(
            'podman', 'import', '--change', f'LABEL {label}',
            str(_tar(root)), f'localhost/{name}'
        )
    names = [stash['name'] for stash in storage.stashes()]
    assert names == ['older', 'small']
    assert storage.stash('older')['layer_size'] > 0


def _tar(root: Path) -> Path:
    archive = root.parent / 'tree.tar'
    subprocess.run(['tar', '-cf', archive, '-C', root, '.'], check=True)
    return archive


def test_hundred_stashes_are_listed_in_two_calls(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    storage.run('podman', 'tag', 'localhost/small', *(
        f'localhost/small:v{number}' for number in range(100)
    ))
    log = tmp_path / 'calls'
    fake = tmp_path / 'bin'
    fake.mkdir()
    for tool in ('podman', 'skopeo'):
        real = subprocess.run(
            ['which', tool], check=True, capture_output=True, text=True
        ).stdout.strip()
        (fake / tool).write_text(f'#!/bin/sh\necho {tool} >> {log}\nexec {real} "$@"\n')
        (fake / tool).chmod(0o755)
    found = storage.kiwi(
        'stash_list', '--format=json', env={'PATH': f'{fake}:{os.environ["PATH"]}'}
    )
    assert len(json.loads(found.stdout)['stashes']) == 101
    assert len(log.read_text().splitlines()) <= 2


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


def test_two_roots_share_a_storage(storage: Storage, tmp_path: Path) -> None:
    for name in ('one', 'two'):
        storage.kiwi('stash', '--root', str(make_root(tmp_path / name, name)))
    assert [stash['name'] for stash in storage.stashes()] == ['one', 'two']
