# SPDX-License-Identifier: GPL-3.0-or-later
"""stash --verify and --dry-run: what is told, and that nothing else happens."""
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import List

import pytest
from kiwi_stackbuild_plugin.tasks import system_stash
from storages import Storage
from trees import describe


def images(storage: Storage) -> List[str]:
    return sorted(storage.run(
        'podman', 'images', '--all', '--no-trunc', '--format',
        '{{.ID}} {{.Repository}}:{{.Tag}}'
    ).stdout.splitlines())


def stored_file(storage: Storage, path: str) -> Path:
    found = list((storage.where / 'graph/overlay').glob(f'*/diff/{path}'))
    assert len(found) == 1
    return found[0]


def rot(path: Path) -> None:
    """Turn one bit of a file; size and mtime stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_verify_finds_what_the_storage_lost(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root), '--verify')
    record = (root / 'image/stash.json').read_bytes()
    rot(stored_file(storage, 'usr/bin/tool'))
    before = images(storage)
    (root / 'etc/new').write_text('new')
    result = storage.kiwi('stash', '--root', str(root), '--verify', check=False)
    assert result.returncode == 1
    told = result.stdout + result.stderr
    assert 'KiwiStashVerifyFailed: small:latest: ' in told
    assert "2 paths in the storage differ from the tree, the first is 'usr/bin/tool'" in told
    assert 'Traceback' not in told
    assert images(storage) == before, 'neither named nor left behind'
    assert (root / 'image/stash.json').read_bytes() == record
    storage.kiwi('stash', '--root', str(root), '--verify', '--no-base')


def test_without_verify_an_untouched_file_is_not_read(
    storage: Storage, root: Path
) -> None:
    """That it is not is the point of the record; the test above needs it."""
    storage.kiwi('stash', '--root', str(root))
    rot(stored_file(storage, 'usr/bin/tool'))
    result = storage.kiwi('stash', '--root', str(root))
    assert 'nothing changed' in result.stdout + result.stderr


@pytest.mark.parametrize('damage', ['mode', 'missing', 'more', 'time'])
def test_damage_that_the_comparison_sees_is_mended(
    storage: Storage, root: Path, damage: str
) -> None:
    storage.kiwi('stash', '--root', str(root))
    stored = stored_file(storage, 'etc/os-release')
    (root / 'etc/new').write_text('new')
    # the base is compared first: damage that this sees is mended by the layer
    result = storage.kiwi('stash', '--root', str(root), '--dry-run')
    assert '1 added, 1 changed, 0 removed' in result.stdout
    if damage == 'mode':
        stored.chmod(0o600)
    elif damage == 'missing':
        stored.unlink()
    elif damage == 'more':
        (stored.parent / 'more').write_text('more')
    else:
        os.utime(stored, (1, 1))
    result = storage.kiwi('stash', '--root', str(root), '--verify')
    assert 'Verified: what is stored equals the tree' in result.stdout + result.stderr
    tree = describe(storage.mount('localhost/small'))
    storage.unmount('localhost/small')
    assert tree == describe(root, ('image/stash.json',))


def test_verify_of_nothing_changed(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    result = storage.kiwi('stash', '--root', str(root), '--verify')
    told = result.stdout + result.stderr
    assert told.index('Verified: what is stored') < told.index('nothing changed')


def test_dry_run_tells_and_writes_nothing(storage: Storage, root: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    before, stored = describe(root), images(storage)
    times = {path: os.lstat(root / path).st_ctime_ns for path in ('', 'etc')}
    (root / 'etc/new').write_text('12345')
    (root / 'etc/line\nfeed').write_text('')
    (root / 'etc/hostname').write_text('changed')
    (root / 'usr/bin/tool2').unlink()
    (root / 'usr/bin/link').unlink()
    changed = describe(root)
    result = storage.kiwi('stash', '--root', str(root), '--dry-run')
    lines = result.stdout.splitlines()
    start = next(
        number for number, line in enumerate(lines) if 'nothing is stored' in line
    )
    assert [re.sub(' +', ' ', line) for line in lines[start:]] == [
        'small:latest: a change of localhost/small:latest, nothing is stored',
        'packages: 0 added, 0 removed, 0 updated',
        'D - usr/bin/link', 'D - usr/bin/tool2',
        'C 0 etc', 'C 7 etc/hostname', 'A 0 etc/line\\nfeed', 'A 5 etc/new',
        'C 0 usr/bin',
        '', ' ADDED CHANGED REMOVED SIZE DIRECTORY',
        ' 2 1 0 12 B etc', ' 0 0 2 0 B usr/bin', ' 0 1 0 0 B /', ' 0 1 0 0 B usr', '',
        ' SIZE LARGEST FILES', ' 7 B etc/hostname', ' 5 B etc/new', '',
        '2 added, 3 changed, 2 removed, 12 B of content'
    ]
    assert describe(root) == changed != before
    assert images(storage) == stored
    assert os.lstat(root).st_ctime_ns == times['']


def test_dry_run_of_a_first_stash(storage: Storage, root: Path) -> None:
    before = describe(root)
    result = storage.kiwi('stash', '--root', str(root), '--dry-run')
    count = len(before) - 0
    assert f'{count} added, 0 changed, 0 removed' in result.stdout
    assert 'small:latest: the whole tree, nothing is stored' in result.stdout
    assert re.search(r'^A +10244 usr/bin/tool$', result.stdout, re.MULTILINE)
    assert re.search(r'^A +0 usr/bin/tool2$', result.stdout, re.MULTILINE)
    assert describe(root) == before
    assert images(storage) == []


def test_help_says_what_verify_does() -> None:
    text = re.sub(r'\s+', ' ', system_stash.__doc__ or '')
    assert 'mount what was stored and compare it with the tree, content included' in text
