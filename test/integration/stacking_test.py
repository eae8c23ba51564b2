# SPDX-License-Identifier: GPL-3.0-or-later
"""Several stashes: each brings its own change, the later one wins."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest
from storages import Storage
from trees import describe, make_root


def variant(storage: Storage, root: Path, name: str, base: str = 'base') -> Path:
    """Make a copy of a root that is known to come from a stash."""
    copy = root.parent / name
    subprocess.run(['cp', '-a', '-T', root, copy], check=True)
    return copy


def store(storage: Storage, root: Path, name: str, base: str = '') -> None:
    words = ['--base', base] if base else ['--no-base']
    storage.kiwi('stash', '--root', str(root), '--container-name', name, *words)


def build(
    storage: Storage, tmp_path: Path, fast: List[str], *names: str
) -> subprocess.CompletedProcess[str]:
    return storage.kiwi(
        'stackbuild', *(word for name in names for word in ('--stash', name)),
        '--target-dir', str(tmp_path / 'out'), options=fast
    )


def made(tmp_path: Path) -> Path:
    return tmp_path / 'out/build/image-root'


@pytest.fixture
def base(storage: Storage, root: Path) -> Path:
    """Give a root with something to change, stashed as "base"."""
    for name in ('gone', 'kept', 'both', 'status'):
        (root / 'etc' / name).write_text(f'{name} of base\n')
    (root / 'opt/old/deep').mkdir(parents=True)
    (root / 'opt/old/deep/file').write_text('old\n')
    store(storage, root, 'base')
    return root


def test_three_stashes_with_a_common_base(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    web, log = variant(storage, base, 'web'), variant(storage, base, 'log')
    (web / 'etc/web').write_text('web\n')
    (web / 'etc/both').write_text('both of web\n')
    (web / 'usr/bin').chmod(0o751)
    (log / 'etc/log').write_text('log\n')
    (log / 'etc/gone').unlink()
    shutil.rmtree(log / 'opt/old')
    (log / 'etc/both').write_text('both of log\n')
    with open(log / 'usr/bin/link2', 'w', encoding='ascii') as new:
        new.write('beside\n')
    store(storage, web, 'web', 'base')
    store(storage, log, 'log', 'base')
    said = build(storage, tmp_path, fast, 'base', 'web', 'log').stdout
    tree = made(tmp_path)
    assert (tree / 'etc/web').is_file() and (tree / 'etc/log').is_file()
    assert (tree / 'etc/kept').is_file()
    assert not (tree / 'etc/gone').exists()
    assert sorted(path.name for path in (tree / 'opt').iterdir()) == []
    assert (tree / 'etc/both').read_text() == 'both of log\n'
    assert 'log:latest replaces 1 paths' in said and '    etc/both' in said
    assert 'etc/log' not in said and 'etc/web' not in said


def test_second_stash_of_a_stack_is_a_delta_on_the_first(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    web = variant(storage, base, 'web')
    (web / 'etc/web').write_text('web\n')
    store(storage, web, 'web', 'base')
    other = make_root(tmp_path / 'other', 'other')
    (other / 'etc/other').write_text('other\n')
    store(storage, other, 'other')
    build(storage, tmp_path, fast, 'web', 'other')
    storage.kiwi('stash', '--root', str(made(tmp_path)), '--container-name', 'both')
    both, first = storage.stash('both'), storage.stash('web')
    assert both['base']['name'] == 'localhost/web:latest'
    assert (first['layers'], both['layers']) == (2, 3)
    layers = [
        storage.run(
            'podman', 'image', 'inspect', '--format', '{{json .RootFS.Layers}}', name
        ).stdout.strip('[]\n').split(',') for name in ('web', 'both')
    ]
    assert layers[1][:2] == layers[0]


def test_deletion_meets_change(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    one, two = variant(storage, base, 'one'), variant(storage, base, 'two')
    (one / 'opt/old/deep/file').write_text('changed by one\n')
    (one / 'etc/gone').unlink()
    shutil.rmtree(two / 'opt/old')
    (two / 'etc/gone').write_text('changed by two\n')
    store(storage, one, 'one', 'base')
    store(storage, two, 'two', 'base')
    said = build(storage, tmp_path, fast, 'one', 'two').stdout
    assert not (made(tmp_path) / 'opt/old').exists()
    assert (made(tmp_path) / 'etc/gone').read_text() == 'changed by two\n'
    assert 'replaces 2 paths' in said
    assert '    opt/old/deep/file' in said and '    etc/gone' in said


def test_a_file_changed_below_a_directory_that_is_gone(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    one, two = variant(storage, base, 'one'), variant(storage, base, 'two')
    shutil.rmtree(one / 'opt/old')
    (one / 'opt/old').symlink_to('/etc')
    (two / 'opt/old/deep/file').write_text('changed by two\n')
    store(storage, one, 'one', 'base')
    store(storage, two, 'two', 'base')
    outside = describe('/etc')
    build(storage, tmp_path, fast, 'one', 'two')
    tree = made(tmp_path)
    assert not (tree / 'opt/old').is_symlink()
    assert (tree / 'opt/old/deep/file').read_text() == 'changed by two\n'
    assert not (tree / 'etc/deep').exists()
    assert describe('/etc') == outside


def test_hard_links_in_the_root_keep_what_they_had(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    one, two = variant(storage, base, 'one'), variant(storage, base, 'two')
    os.link(one / 'etc/kept', one / 'etc/kept-too')
    (two / 'etc/kept').write_text('kept of two\n')
    store(storage, one, 'one', 'base')
    store(storage, two, 'two', 'base')
    build(storage, tmp_path, fast, 'one', 'two')
    assert (made(tmp_path) / 'etc/kept').read_text() == 'kept of two\n'
    assert (made(tmp_path) / 'etc/kept-too').read_text() == 'kept of base\n'


def test_unrelated_stashes_are_a_union(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    other = make_root(tmp_path / 'other', 'other')
    (other / 'var/lib/dpkg').mkdir(exist_ok=True)
    (other / 'var/lib/dpkg/status').write_text('Package: other\n')
    (other / 'etc/hostname').write_text('other\n')
    (base / 'var/lib/dpkg').mkdir(exist_ok=True)
    (base / 'var/lib/dpkg/status').write_text('Package: base\nStatus: install ok installed\n')
    for number in range(12):
        (other / f'etc/many{number:02}').write_text('other')
        (base / f'etc/many{number:02}').write_text('base')
    store(storage, base, 'base')
    store(storage, other, 'other')
    result = build(storage, tmp_path, fast, 'base', 'other')
    tree = made(tmp_path)
    assert (tree / 'etc/kept').is_file()
    assert (tree / 'etc/hostname').read_text() == 'other\n'
    assert list((tmp_path / 'out').glob('other*.tar.xz'))
    said = result.stdout
    assert 'as a union' in said
    assert 'etc/many08' in said and 'etc/many09' not in said
    assert 'more (--debug names them)' in said
    assert 'The package data base of the result does not know (1):' in said


def test_dry_run_shows_the_plan_and_touches_nothing(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    web, log = variant(storage, base, 'web'), variant(storage, base, 'log')
    (web / 'etc/both').write_text('both of web\n')
    (log / 'etc/both').write_text('both of log, longer\n')
    (log / 'etc/gone').unlink()
    store(storage, web, 'web', 'base')
    store(storage, log, 'log', 'base')
    told = storage.kiwi(
        'stackbuild', '--stash', 'web', '--stash', 'log', '--dry-run',
        '--target-dir', str(tmp_path / 'out')
    ).stdout
    assert 'localhost/web:latest' in told and ': all of it' in told
    assert (
        'its change since layer 1: 0 added, 2 changed, 1 removed, 1 conflicts'
    ) in told
    assert 'conflict: etc/both' in told
    assert 'Built: the description of localhost/log:latest' in told
    assert not (tmp_path / 'out').exists()


def test_a_container_with_a_directory_where_the_base_has_a_link(
    storage: Storage, base: Path, tmp_path: Path, fast: List[str]
) -> None:
    (base / 'usr/lib').mkdir(exist_ok=True)
    (base / 'usr/lib/ld.so').write_text('ld\n')
    (base / 'lib').symlink_to('usr/lib')
    store(storage, base, 'base')
    other = tmp_path / 'other'
    (other / 'lib/firmware').mkdir(parents=True)
    (other / 'lib/firmware/x').write_text('blob\n')
    archive = tmp_path / 'other.tar'
    storage.run('tar', '-cf', str(archive), '-C', str(other), '.')
    storage.run('podman', 'import', str(archive), 'localhost/firmware:latest')
    words = ('stackbuild', '--target-dir', str(tmp_path / 'out'))
    told = storage.kiwi(
        *words, '--stash', 'base', '--stash', 'firmware', '--dry-run'
    ).stdout
    assert 'lib goes to usr/lib, where the link below it leads' in told
    refused = storage.kiwi(*words, '--stash', 'firmware', '--stash', 'base', check=False)
    assert refused.returncode == 1
    assert '--stash localhost/base:latest: lib is a link to usr/lib' in refused.stderr
    assert not (tmp_path / 'out').exists()
    build(storage, tmp_path, fast, 'base', 'firmware')
    tree = made(tmp_path)
    assert os.readlink(tree / 'lib') == 'usr/lib'
    assert (tree / 'lib/ld.so').read_text() == 'ld\n'
    assert (tree / 'usr/lib/firmware/x').read_text() == 'blob\n'
