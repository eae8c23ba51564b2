# SPDX-License-Identifier: GPL-3.0-or-later
"""Old stashes go, and nothing that something needs goes with them."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Set

import pytest
from storages import Storage, image_root
from trees import describe, make_root

#: bytes of a file in each layer
SIZE = 1 << 20


@pytest.fixture
def five(storage: Storage, root: Path) -> Path:
    """Stashes v0 to v4 of a root, each a layer on the one before it, a week apart."""
    for number in range(5):
        (root / f'file{number}').write_bytes(os.urandom(SIZE))
        storage.kiwi('stash', '--root', str(root), f'--tag=v{number}', env={
            'SOURCE_DATE_EPOCH': str(1_700_000_000 + number * 7 * 86400)
        })
    return root


def tags(storage: Storage) -> List[str]:
    """Names and tags that are left."""
    return [f'{stash["name"]}:{stash["tag"]}' for stash in storage.stashes()]


def images(storage: Storage) -> Set[str]:
    """IDs of all images."""
    return set(storage.run('podman', 'images', '--all', '-q', '--no-trunc').stdout.split())


def disk(storage: Storage) -> int:
    """Bytes that the layers take."""
    told = subprocess.run(
        ['du', '-s', '--block-size=1', storage.where / 'graph/overlay'],
        check=True, capture_output=True, text=True
    )
    return int(told.stdout.split()[0])


def indexes(storage: Storage) -> Set[str]:
    """IDs of the images that have an index."""
    return set(os.listdir(storage.environment['KIWI_STASH_CACHE']))


def test_newest_ones_stay_and_can_be_built_from(
    storage: Storage, five: Path, tmp_path: Path, fast: List[str]
) -> None:
    ids = {stash['tag']: stash['id'] for stash in storage.stashes()}
    planned = storage.kiwi('stash', '--prune', '--keep-last=2', '--dry-run').stdout
    assert '3 stashes and 0 images without a name would be removed' in planned
    assert len(tags(storage)) == 5
    done = storage.kiwi('stash', '--prune', '--keep-last=2').stdout
    assert re.findall(r'^(keep|remove) +small +(v\d) ', done, re.MULTILINE) == [
        ('keep', 'v4'), ('keep', 'v3'), ('remove', 'v2'), ('remove', 'v1'), ('remove', 'v0')
    ]
    # their layers are below those that stay
    assert '3 stashes and 0 images without a name removed, 0 B freed' in done
    assert tags(storage) == ['small:v3', 'small:v4']
    assert indexes(storage) == {ids['v3'], ids['v4']}
    storage.forget_indexes()
    whole = storage.kiwi('stash', '--root', str(five), '--tag=v5')
    assert 'nothing changed, no new layer' in whole.stdout + whole.stderr
    target = tmp_path / 'target'
    storage.kiwi('stackbuild', '--stash=small:v3', f'--target-dir={target}', options=fast)
    left = ('image', '.profile', '.kconfig', 'dev', 'proc', 'sys', 'var', 'run', 'tmp', 'etc')
    expected = describe(five, (*left, 'file4'))
    assert describe(image_root(target), left).keys() >= expected.keys()


def test_what_is_freed_is_freed(storage: Storage, five: Path) -> None:
    storage.kiwi('stash', '--root', str(five), '--tag=v9', '--no-base')
    before = disk(storage)
    done = storage.kiwi('stash', '--prune', '--keep-last=1').stdout
    assert tags(storage) == ['small:v9']
    found = re.search(r'5 stashes and 0 images .* removed, ([\d.]+) MB freed', done)
    assert found
    freed = before - disk(storage)
    assert freed > 5 * SIZE
    # directories and what the storage notes are not counted
    assert abs(float(found[1]) * 10**6 - freed) < SIZE


def test_weeks(storage: Storage, five: Path) -> None:
    storage.kiwi('stash', '--root', str(make_root(five.parent / 'other', 'other')))
    storage.kiwi('stash', '--prune', '--keep-weekly=3', '--container-name=small')
    assert tags(storage) == ['other:latest', 'small:v2', 'small:v3', 'small:v4']


def test_superseded_ones_go(storage: Storage, root: Path) -> None:
    for number in range(3):
        (root / 'etc/motd').write_text(str(number))
        storage.kiwi('stash', '--root', str(root))
    storage.run('podman', 'import', '--change', 'LABEL a=b', str(_tar(root)))
    assert len(images(storage)) == 4
    done = storage.kiwi('stash', '--prune', '--keep-last=5').stdout
    assert '0 stashes and 2 images without a name removed' in done
    assert tags(storage) == ['small:latest']
    # that of somebody else stays
    assert len(images(storage)) == 2


def _tar(root: Path) -> Path:
    archive = root.parent / 'tree.tar'
    subprocess.run(['tar', '-cf', archive, '-C', root, '.'], check=True)
    return archive


def test_what_is_needed_stays(storage: Storage, five: Path) -> None:
    ids: Dict[str, str] = {stash['tag']: stash['id'] for stash in storage.stashes()}
    container = storage.run('podman', 'create', 'localhost/small:v0', 'true').stdout.strip()
    storage.mount('localhost/small:v1')
    storage.run('podman', 'tag', ids['v2'], 'localhost/small:again', 'localhost/mine:v2')
    try:
        done = storage.kiwi('stash', '--prune', '--keep-last=1', '--container-name=small').stdout
    finally:
        storage.unmount(ids['v1'])
        storage.run('podman', 'rm', container)
    assert re.search(r'keep +small +v0 .*a container needs it', done)
    assert re.search(r'keep +small +v1 .*it is mounted', done)
    # a name of another stash stays, and the image with it
    assert tags(storage) == ['mine:v2', 'small:v0', 'small:v1', 'small:v4']
    assert images(storage) == {f'sha256:{ids[tag]}' for tag in ('v0', 'v1', 'v2', 'v4')}
    storage.kiwi('stash', '--prune', '--keep-last=1')
    assert tags(storage) == ['mine:v2', 'small:v4']


def test_not_while_another_run_works_with_the_storage(
    storage: Storage, five: Path, tmp_path: Path
) -> None:
    """A run that holds its lock: here one that waits within its workspace."""
    holder = subprocess.Popen(
        [sys.executable, '-c', (
            'import sys; from kiwi_stackbuild_plugin.storage.cleanup import open_space\n'
            'with open_space(sys.argv[1]): print(1, flush=True); sys.stdin.read()'
        ), str(storage.temp_dir)], env=storage.environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE
    )
    assert holder.stdin and holder.stdout
    try:
        holder.stdout.readline()
        refused = storage.kiwi('stash', '--prune', '--keep-last=1', check=False)
        assert refused.returncode == 1
        assert 'another run works with the stashes' in refused.stdout + refused.stderr
        assert len(tags(storage)) == 5
        planned = storage.kiwi('stash', '--prune', '--keep-last=1', '--dry-run').stdout
        assert '4 stashes' in planned
        # others may go on beside one another
        storage.kiwi('stash', '--root', str(five), '--tag=v4')
    finally:
        holder.communicate()
    storage.kiwi('stash', '--prune', '--keep-last=1')
    assert tags(storage) == ['small:v4']


def test_tree_of_a_base_that_went_is_stashed_whole_or_on_its_name(
    storage: Storage, five: Path, tmp_path: Path
) -> None:
    copy = tmp_path / 'copy'
    subprocess.run(['cp', '-a', five, copy], check=True)
    (five / 'more').write_text('x')
    storage.kiwi('stash', '--root', str(five), '--tag=v5')
    storage.kiwi('stash', '--prune', '--keep-last=1')
    found = storage.kiwi('stash', '--root', str(copy), '--container-name=new')
    assert 'is no longer stored' in found.stdout + found.stderr
    assert storage.stash('new')['layers'] == 1


def test_one_that_cannot_go_does_not_stop_the_others(
    storage: Storage, five: Path, tmp_path: Path
) -> None:
    ids = {stash['tag']: stash['id'] for stash in storage.stashes()}
    fake = tmp_path / 'bin/skopeo'
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in delete*{ids["v1"]}*) echo "no way" >&2; exit 1;; esac\n'
        f'PATH={os.environ["PATH"]} exec skopeo "$@"\n'
    )
    fake.chmod(0o755)
    found = storage.kiwi(
        'stash', '--prune', '--keep-last=1', check=False,
        env={'PATH': f'{fake.parent}:{os.environ["PATH"]}'}
    )
    assert found.returncode == 1
    assert f'image {ids["v1"][:12]} is not removed: no way' in found.stdout + found.stderr
    assert tags(storage) == ['small:v1', 'small:v4']
    assert indexes(storage) == {ids['v1'], ids['v4']}


@pytest.mark.parametrize('words, said', [
    (['--prune'], 'nothing says what is kept'),
    (['--prune', '--keep-last=x'], "--keep-last 'x': not a number above 0"),
    (['--prune', '--keep-last=1', '--container-name=nope'], "'nope': no such stash"),
])
def test_wrong_words(storage: Storage, root: Path, words: List[str], said: str) -> None:
    storage.kiwi('stash', '--root', str(root))
    found = storage.kiwi('stash', *words, check=False)
    assert found.returncode == 1
    assert said in found.stdout + found.stderr
    assert 'Traceback' not in found.stdout + found.stderr
    assert tags(storage) == ['small:latest']
