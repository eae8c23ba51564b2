# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that a run brings in: gone with it, or with a name; where it works."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
from storages import Storage, image_root
from trees import describe, make_root


@pytest.fixture
def archive(storage: Storage, root: Path, tmp_path: Path) -> Path:
    """Give an archive of a stash that is not in the storage any more."""
    path = tmp_path / 'stash.tar'
    storage.kiwi('stash', '--root', str(root), f'--export=oci-archive:{path}')
    storage.run('podman', 'rmi', '--all', '--force')
    return path


def images(storage: Storage) -> Dict[str, Tuple[str, ...]]:
    """Return the names of all images by their short IDs."""
    told = storage.run(
        'podman', 'images', '--all', '--format={{.ID}} {{.Repository}}:{{.Tag}}'
    ).stdout
    found: Dict[str, Tuple[str, ...]] = {}
    for line in told.splitlines():
        image_id, _, name = line.partition(' ')
        found[image_id] = (*found.get(image_id, ()), name)
    return found


def test_dry_run_leaves_no_image(storage: Storage, archive: Path, tmp_path: Path) -> None:
    told = storage.kiwi(
        'stackbuild', f'--stash=oci-archive:{archive}', f'--target-dir={tmp_path}/out',
        '--dry-run'
    )
    assert 'all of it' in told.stdout
    assert images(storage) == {}


def test_dry_run_keeps_an_image_that_was_there(
    storage: Storage, archive: Path, tmp_path: Path
) -> None:
    config = storage.run(
        'skopeo', 'inspect', '--config', '--raw', f'oci-archive:{archive}'
    ).stdout
    image_id = subprocess.run(
        ['sha256sum'], input=config.encode(), capture_output=True, check=True
    ).stdout.decode().split()[0]
    storage.run('skopeo', 'copy', f'oci-archive:{archive}', f'containers-storage:@{image_id}')
    before = images(storage)
    storage.kiwi(
        'stackbuild', f'--stash=oci-archive:{archive}', f'--target-dir={tmp_path}/out',
        '--dry-run'
    )
    assert images(storage) == before != {}


def test_image_that_a_root_came_from_stays_and_is_found(
    storage: Storage, archive: Path, tmp_path: Path, fast: List[str]
) -> None:
    """Else the next stash of that root would store all of it again."""
    other = make_root(tmp_path / 'other', 'other')
    (other / 'etc/other').touch()
    storage.kiwi('stash', '--root', str(other), f'--export=oci-archive:{tmp_path}/other.tar')
    storage.run('podman', 'rmi', '--all', '--force')
    for attempt in ('first', 'again'):
        target = tmp_path / attempt
        storage.kiwi(
            'stackbuild', f'--stash=oci-archive:{archive}',
            f'--stash=oci-archive:{tmp_path}/other.tar', f'--target-dir={target}',
            options=fast
        )
    (image_id, names), = images(storage).items()
    assert names == (f'localhost/kiwi-imported:{image_id[:12]}',)
    assert [stash['name'] for stash in storage.stashes()] == ['kiwi-imported']
    told = storage.kiwi('stash', '--root', str(image_root(target)))
    assert 'as a change of localhost/kiwi-imported' in told.stdout + told.stderr
    storage.run('podman', 'rmi', f'localhost/kiwi-imported:{image_id[:12]}')


def test_base_out_of_an_archive_goes_with_the_run(
    storage: Storage, archive: Path, root: Path
) -> None:
    (root / 'etc/more').touch()
    for words in (('--dry-run',), ()):
        storage.kiwi('stash', '--root', str(root), f'--base=oci-archive:{archive}', *words)
        assert list(images(storage).values()) == (
            [] if words else [('localhost/small:latest',)]
        )
    assert storage.stash('small')['layers'] == 2
    path = storage.mount('localhost/small')
    assert describe(path, ('image/stash.json',)) == describe(root, ('image/stash.json',))
    storage.unmount('localhost/small')


def test_undo_that_fails_is_tried_again(
    storage: Storage, root: Path, archive: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'failing'
    folder.mkdir()
    for tool, pattern in (('skopeo', '*" delete "*'), ('podman', '*" unmount "*')):
        (folder / tool).write_text(
            f'#!/bin/sh\ncase " $* " in {pattern}) echo too busy >&2; exit 1;; esac\n'
            f'exec {shutil.which(tool)} "$@"\n'
        )
        (folder / tool).chmod(0o755)
    words = (
        'stackbuild', f'--stash=oci-archive:{archive}', f'--target-dir={tmp_path}/out',
        '--dry-run'
    )
    for number in range(2):
        told = storage.kiwi(
            *words, env={'PATH': f'{folder}:{os.environ["PATH"]}'}, check=False
        )
        said = told.stdout + told.stderr
        assert re.search('not cleaned up, the next run tries again: .*too busy', said)
        # no finished run vouches for the layer that is left
        assert told.returncode == number
        assert ('is left by an import that did not end' in said) == bool(number)
        assert 'Traceback' not in said
        assert len(images(storage)) == 1
    storage.kiwi('stash', '--root', str(root), '--no-base')
    assert list(images(storage).values()) == [('localhost/small:latest',)]
    assert storage.left_overs() == []


@pytest.mark.parametrize('name', ['a b', 'a:b', 'a\nb', "a'b\"c", 'a%sb', 'a\udcffb'])
def test_temporary_directory_of_any_name(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str], name: str
) -> None:
    """skopeo takes what follows a colon for a tag."""
    storage.temp_dir = tmp_path / name
    storage.temp_dir.mkdir()
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/new').touch()
    storage.kiwi('stash', '--root', str(root), '--verify')
    if name.isprintable() or name.isascii():  # kiwi refuses what is no UTF-8
        storage.kiwi(
            'stackbuild', '--stash=small', f'--target-dir={tmp_path}/out', options=fast
        )
        assert (image_root(tmp_path / 'out') / 'etc/new').exists()


