# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed, in packages: between images, by layer, in a dry run."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Set

import pytest
from registries import Registry
from rpms import build_rpm, change_database, require_rpm
from storages import Storage

from kiwi_stackbuild_plugin.packages.database import read_packages
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.tree.layered import LayeredTree


def install(root: Path, **packages: str) -> None:
    """Write the dpkg data base of a root anew."""
    (root / 'var/lib/dpkg/status').write_text('\n'.join(
        f'Package: {name}\nStatus: install ok installed\nArchitecture: all\n'
        f'Version: {version}\n' for name, version in packages.items()
    ))


def told(document: Dict[str, Any]) -> List[str]:
    """Package changes in short."""
    return sorted([
        *(f'+{one["name"]} {one["version"]}' for one in document['added']),
        *(f'-{one["name"]} {one["version"]}' for one in document['removed']),
        *(f'~{one["name"]} {one["from"]} {one["to"]}' for one in document['updated'])
    ])


def diff(storage: Storage, before: str, after: str, *more: str) -> Dict[str, Any]:
    """Return what --diff tells."""
    document: Dict[str, Any] = json.loads(storage.kiwi(
        'stash_list', '--format=json', f'--diff={before}', after, *more
    ).stdout)
    return document


def _images(storage: Storage) -> str:
    return storage.run(
        'podman', 'images', '--all', '--no-trunc', '--format', '{{.ID}} {{.Repository}}:{{.Tag}}'
    ).stdout


@pytest.fixture
def three(storage: Storage, root: Path) -> Path:
    """Three stashes of a root, of one layer each."""
    install(root, one='1', two='1')
    storage.kiwi('stash', '--root', str(root), '--tag=v1')
    install(root, one='2', three='1')
    (root / 'usr/bin/tool').write_bytes(b'new')
    (root / 'usr/bin/large').write_bytes(bytes(5000))
    storage.kiwi('stash', '--root', str(root), '--tag=v2')
    (root / 'etc/os-release').unlink()
    storage.kiwi('stash', '--root', str(root), '--tag=v3')
    return root


def test_what_changed_between_images(storage: Storage, three: Path) -> None:
    found = diff(storage, 'small:v1', 'small:v2')
    assert (found['from'], found['to']) == ('small:v1', 'small:v2')
    assert told(found['packages']) == ['+three 1', '-two 1', '~one 1 2']
    files = found['files']
    assert (files['added'], files['removed']) == (1, 0)
    assert files['largest'][0] == {'path': 'usr/bin/large', 'size': 5000}
    back = diff(storage, 'small:v3', 'small:v1')
    assert told(back['packages']) == ['+two 1', '-three 1', '~one 2 1']
    assert (back['files']['added'], back['files']['removed']) == (1, 1)
    same = diff(storage, 'small:v2', 'small:v2')
    assert told(same['packages']) == [] and same['files']['bytes'] == 0
    table = storage.kiwi(
        'stash_list', '--format=table', '--diff=small:v1', 'small:v2'
    ).stdout.splitlines()
    assert [line.split() for line in table if line[:1] in '+-~' and line] == [
        ['~', 'one', 'all', '1', '2'], ['+', 'three', 'all', '-', '1'],
        ['-', 'two', 'all', '1', '-']
    ]
    assert table.index('packages: 1 added, 1 removed, 1 updated') < next(
        number for number, line in enumerate(table) if 'DIRECTORY' in line
    )


def test_content_counts_where_metadata_agree(storage: Storage, root: Path) -> None:
    """A rebuilt package keeps size and time; unpacked apart, no inode is shared."""
    storage.kiwi('stash', '--root', str(root), '--tag=v1')
    status = os.stat(root / 'usr/bin/tool')
    data = (root / 'usr/bin/tool').read_bytes()
    (root / 'usr/bin/tool').write_bytes(data[:-1] + b'X')
    os.utime(root / 'usr/bin/tool', ns=(status.st_atime_ns, status.st_mtime_ns))
    storage.kiwi('stash', '--root', str(root), '--tag=v2', '--no-base')
    files = diff(storage, 'small:v1', 'small:v2')['files']
    assert (files['added'], files['changed'], files['removed']) == (0, 2, 0)


def test_images_of_others_stored_or_not(
    storage: Storage, three: Path, tmp_path: Path, registry: Registry
) -> None:
    """What is fetched for a diff is gone after it, but not what was there."""
    tar = tmp_path / 'tree.tar'
    subprocess.run(['tar', '-cf', tar, '-C', three, '.'], check=True)
    storage.run('podman', 'import', str(tar), 'localhost/foreign')
    archive, remote = f'oci-archive:{tmp_path}/copy.tar', f'docker://{registry.host}/far:v1'
    more = list(registry.options)
    storage.kiwi(
        'stash', '--container-name=small', '--tag=v1', f'--export={archive}',
        f'--export={remote}', *more
    )
    foreign = diff(storage, 'small:v1', 'foreign')
    assert told(foreign['packages']) == ['+three 1', '-two 1', '~one 1 2']
    storage.run('podman', 'rmi', '--no-prune', 'localhost/small:v1')
    before = _images(storage)
    for text in (archive, remote, f'{registry.host}/far:v1'):
        found = diff(storage, text, 'small:v2', *more)
        assert told(found['packages']) == ['+three 1', '-two 1', '~one 1 2'], text
        assert _images(storage) == before
    found = diff(storage, 'far:v1', 'localhost/small:v2', f'--remote={registry.host}', *more)
    assert told(found['packages']) == ['+three 1', '-two 1', '~one 1 2']


def test_rpm_data_base(storage: Storage, root: Path, tmp_path: Path) -> None:
    require_rpm()
    database = root / 'usr/lib/sysimage/rpm'
    build = tmp_path / 'build'
    old = [build_rpm(build, name, '1') for name in ('one', 'two')]
    new = [build_rpm(build, 'one', '2', '7'), build_rpm(build, 'three', '1')]
    (root / 'var/lib/rpm').symlink_to('../../usr/lib/sysimage/rpm')
    change_database(database, '-U', *old)
    storage.kiwi('stash', '--root', str(root), '--tag=v1')
    change_database(database, '-U', *new)
    change_database(database, '-e', 'two')
    expected = ['+three 1-1', '-two 1-1', '~one 1-1 7:2-1']
    planned = json.loads(storage.kiwi(
        'stash', '--root', str(root), '--tag=v2', '--dry-run', '--format=json'
    ).stdout)
    assert told(planned['packages']) == expected
    storage.kiwi('stash', '--root', str(root), '--tag=v2')
    assert told(diff(storage, 'small:v1', 'small:v2')['packages']) == expected
    assert told(storage.stash('small:v2')['chain'][1]['packages']) == expected


def test_debian_root(storage: Storage, debian_root: Path) -> None:
    """Held against what dpkg itself says in the root."""
    before = _installed(debian_root)
    storage.kiwi('stash', '--root', str(debian_root), '--container-name=deb', '--tag=v1')
    gone = sorted(before)[0].partition('=')[0]
    subprocess.run([
        'chroot', debian_root, 'dpkg', '--remove', '--force-all', gone
    ], check=True, capture_output=True)
    after = _installed(debian_root)
    storage.kiwi('stash', '--root', str(debian_root), '--container-name=deb', '--tag=v2')
    found = diff(storage, 'deb:v1', 'deb:v2')
    removed = sorted(before - after)
    assert removed
    assert told(found['packages']) == [f'-{line.replace("=", " ")}' for line in removed]
    first = storage.stash('deb:v1')['chain'][0]['packages']
    assert told(first) == sorted(f'+{line.replace("=", " ")}' for line in before)


def _installed(root: Path) -> Set[str]:
    listed = subprocess.run([
        'chroot', root, 'dpkg-query', '-W', '-f', '${db:Status-Status} ${Package}=${Version}\n'
    ], check=True, capture_output=True, text=True).stdout
    return {
        line.partition(' ')[2] for line in listed.splitlines() if line.startswith('installed ')
    }


def test_fetched_image_that_another_run_has_mounted_stays(
    storage: Storage, three: Path, tmp_path: Path
) -> None:
    """As when two runs look at the same image: the first must not take it away."""
    archive = f'oci-archive:{tmp_path}/copy.tar'
    storage.kiwi('stash', '--container-name=small', '--tag=v1', f'--export={archive}')
    image_id = storage.stash('small:v1')['id']
    storage.run('podman', 'rmi', '--no-prune', 'localhost/small:v1')
    holder = subprocess.Popen(
        [sys.executable, '-c', (
            'import sys; from kiwi_stackbuild_plugin.host.locks import in_use\n'
            'from kiwi_stackbuild_plugin.storage import local\n'
            'from kiwi_stackbuild_plugin.storage.directories import storage_key\n'
            'with in_use(local._MOUNTED, sys.argv[1], storage_key()):\n'
            '    print(1, flush=True); sys.stdin.read()'
        ), image_id], env=storage.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    try:
        holder.stdout.readline()
        diff(storage, archive, 'small:v2')
        assert image_id in _images(storage)
    finally:
        holder.communicate()
    # what could not be undone then is by the next run
    diff(storage, 'small:v2', 'small:v2')
    assert image_id not in _images(storage)


def test_layers_of_a_stash(storage: Storage, three: Path) -> None:
    """Read from the layers, it is what the mounted images have."""
    chain = storage.stash('small:v3')['chain']
    assert [told(link['packages']) for link in chain] == [
        ['+one 1', '+two 1'], ['+three 1', '-two 1', '~one 1 2'], []
    ]
    assert chain[1]['largest'][0] == {'path': 'usr/bin/large', 'size': 5000}
    mounted = os.open(storage.mount('localhost/small:v3'), os.O_RDONLY)
    try:
        packages = read_packages(
            LayeredTree([mounted]), RpmDatabase(lambda: pytest.fail('no rpm'))
        )
    finally:
        os.close(mounted)
        storage.unmount('localhost/small:v3')
    assert {one.name for one in packages.found} == {'one', 'three'}
    table = storage.kiwi('stash_list', '--format=table', 'small:v3').stdout
    assert ' +1 -1 ~1 ' in table
    assert table.count('packages: 1 added, 1 removed, 1 updated') == 1
    assert ' 5.0 kB  usr/bin/large' in table


def test_ten_layers_take_little_longer(storage: Storage, root: Path) -> None:
    for number in range(10):
        install(root, **{f'p{one}': str(number) for one in range(500)})
        storage.kiwi('stash', '--root', str(root))
    started = time.monotonic()
    storage.kiwi('stash_list', '--format=json')
    plain = time.monotonic() - started
    chain = storage.stash('small')['chain']
    assert len(chain) == 10
    assert all(len(link['packages']['updated']) == 500 for link in chain[1:])
    assert time.monotonic() - started - plain < plain + 2


def test_dry_run(storage: Storage, three: Path) -> None:
    install(three, one='3')
    words = ('stash', '--root', str(three), '--dry-run')
    lines = storage.kiwi(*words).stdout.splitlines()
    packages = next(number for number, line in enumerate(lines) if 'PACKAGE' in line)
    assert [line.split() for line in lines[packages + 1:packages + 4]] == [
        ['~', 'one', 'all', '2', '3'], ['-', 'three', 'all', '1', '-'],
        ['packages:', '0', 'added,', '1', 'removed,', '1', 'updated']
    ]
    assert packages < next(n for n, line in enumerate(lines) if line.startswith('C '))
    document = json.loads(storage.kiwi(*words, '--format=json').stdout)
    assert told(document['packages']) == ['-three 1', '~one 2 3']
    assert document['files']['changed'] == 1
    whole = json.loads(storage.kiwi(*words, '--format=json', '--no-base').stdout)
    assert whole['from'] is None and told(whole['packages']) == ['+one 3']


def test_dry_run_mounts_nothing_where_no_data_base_changed(
    storage: Storage, three: Path
) -> None:
    (three / 'etc/motd').write_text('hello')
    found = storage.kiwi('stash', '--root', str(three), '--dry-run', options=['--debug'])
    assert 'packages: 0 added, 0 removed, 0 updated' in found.stdout
    assert ' mount ' not in found.stdout + found.stderr


@pytest.mark.parametrize('words, said', [
    (['--diff=small:v1'], 'with which image'),
    (['--diff=nowhere', 'small:v1'], "--diff 'nowhere': no such stash"),
    (['--diff=small:v1', 'nowhere'], "<name> 'nowhere': no such stash"),
    (['--diff=A', 'small:v1'], "--diff 'A' is not an image reference"),
    (['--diff=small:v1', '--format=xml', 'small:v1'], "--format 'xml' is not known"),
])
def test_wrong_words(storage: Storage, three: Path, words: List[str], said: str) -> None:
    found = storage.kiwi('stash_list', *words, check=False)
    assert found.returncode == 1
    assert said in found.stdout + found.stderr
    assert 'Traceback' not in found.stdout + found.stderr
