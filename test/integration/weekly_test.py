# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees prepared anew, under another tag each time: only what changed is stored."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from storages import Storage
from trees import make_root


def prepared(where: Path, week: str) -> Path:
    """Make a tree anew, as kiwi would: no record of an earlier stash."""
    if where.exists():
        shutil.rmtree(where)
    root = make_root(where, 'weekly')
    (root / 'usr/share/data').write_bytes(bytes(range(256)) * 2000)
    (root / 'etc/week').write_text(f'{week}\n')
    return root


def stash(storage: Storage, root: Path, tag: str, when: int, *words: str) -> str:
    return storage.kiwi(
        'stash', '--root', str(root), '--tag', tag, *words,
        env={'SOURCE_DATE_EPOCH': str(1_700_000_000 + when)}
    ).stdout


def base_of(storage: Storage, tag: str) -> str:
    base = storage.stash(f'weekly:{tag}')['base']
    return str(base['name']).rpartition('/')[2] if base else ''


@pytest.mark.parametrize(('stored', 'tag', 'base'), [
    # what is stored, oldest first; the tag stashed then; the base it has
    (('week-1',), 'week-2', 'weekly:week-1'),
    (('week-1',), 'latest', 'weekly:week-1'),
    (('week-9', 'week-10'), 'week-11', 'weekly:week-10'),
    (('week-2', 'week-1'), 'week-3', 'weekly:week-1'),
    (('latest', 'week-1'), 'latest', 'weekly:latest'),
])
def test_a_tree_prepared_anew_is_a_change_of_the_newest(
    storage: Storage, tmp_path: Path, stored: tuple[str, ...], tag: str, base: str
) -> None:
    for when, earlier in enumerate(stored):
        stash(
            storage, prepared(tmp_path / 'root', earlier), earlier, when, '--no-base'
        )
    said = stash(storage, prepared(tmp_path / 'root', 'now'), tag, 100)
    assert base_of(storage, tag) == base
    one = storage.stash(f'weekly:{tag}')
    assert (one['layers'], one['layer_size'] < 100_000) == (2, True)
    if tag not in stored:
        assert f'as a change of localhost/{base} (the newest stash of the same ' \
            f'name, there is none of weekly:{tag})' in said
    # and it is what the next starts from
    root = prepared(tmp_path / 'root', 'later')
    assert f'as a change of localhost/weekly:{tag}' in stash(
        storage, root, 'after', 200, '--dry-run'
    ) + stash(storage, root, 'after', 200)


def test_what_is_no_base_of_the_same_name(storage: Storage, tmp_path: Path) -> None:
    """Other names that begin alike, foreign machines, images that are no stash."""
    root = prepared(tmp_path / 'root', '1')
    for name in ('weekly-more', 'more/weekly'):
        storage.kiwi('stash', '--root', str(root), '--container-name', name, '--no-base')
        (root / 'image/stash.json').unlink()
    archive = tmp_path / 'other.tar'
    storage.run('tar', '-cf', str(archive), '-C', str(root), '.')
    mark = 'LABEL io.osinside.kiwi.meta=KIWI'
    storage.run(
        'podman', 'import', '--arch', 'ppc64le', '--change', mark, str(archive),
        'localhost/weekly:foreign'
    )
    storage.run('podman', 'import', str(archive), 'localhost/weekly:plain')
    stash(storage, root, 'now', 1)
    assert base_of(storage, 'now') == ''
    assert storage.stash('weekly:now')['layers'] == 1
