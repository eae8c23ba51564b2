# SPDX-License-Identifier: GPL-3.0-or-later
"""What turns one image into another: real trees behind a storage that is a fake."""
from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Optional, Tuple

import pytest
from fake_storage import FakeStorage
from kiwi.defaults import Defaults
from trees import make_root

from kiwi_stackbuild_plugin.packages.changes import PackageChanges
from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError
from kiwi_stackbuild_plugin.host.workspace import Workspace, workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stash import diff
from kiwi_stackbuild_plugin.stash.base import Base
from kiwi_stackbuild_plugin.stash.diff import (
    Difference, compare_images, compare_with_base, difference_document, format_difference,
    format_dry_run
)
from kiwi_stackbuild_plugin.storage.find import DEFAULT_POLICY
from kiwi_stackbuild_plugin.tree.delta import ADDED, CHANGED, Change
from kiwi_stackbuild_plugin.tree.entry import Entry, Status

ONE, TWO = 'a' * 64, 'b' * 64
PACKAGE = 'Package: {}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\n\n'


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStorage:
    """Give a storage with two images whose trees are alike."""
    made = FakeStorage(tmp_path / 'fake', monkeypatch)
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr(
        Defaults, 'get_temp_location', staticmethod(lambda: str(tmp_path / 'tmp'))
    )
    for image_id, name in ((ONE, 'one'), (TWO, 'two')):
        root = make_root(tmp_path / name)
        (root / 'var/lib/dpkg/status').write_text(PACKAGE.format('a', '1'))
        (root / 'dir/sub').mkdir(parents=True)
        (root / 'dir/file').write_text('12345')
        for path in [root, *root.rglob('*')]:
            os.utime(path, (1000, 1000), follow_symlinks=False)
        made.add(image_id, f'localhost/{name}:latest', tree=str(root))
    return made


@pytest.fixture
def space(storage: FakeStorage, tmp_path: Path) -> Iterator[Workspace]:
    """Give a workspace."""
    with workspace(str(tmp_path / 'tmp')) as made:
        yield made


def nothing(root: Path) -> None:
    pass


def add(root: Path) -> None:
    (root / 'new').write_text('x')
    os.utime(root, (1000, 1000))


def rewrite(root: Path) -> None:
    (root / 'dir/file').write_text('abcde')
    os.utime(root / 'dir/file', (1000, 1000))


def lose_a_fraction(root: Path) -> None:
    os.utime(root / 'dir/file', ns=(0, 1000 * 10**9 + 5))


def remove_file(root: Path) -> None:
    (root / 'dir/file').unlink()
    os.utime(root / 'dir', (1000, 1000))


def update_packages(root: Path) -> None:
    (root / 'var/lib/dpkg/status').write_text(PACKAGE.format('a', '2') + PACKAGE.format('b', '1'))
    os.utime(root / 'var/lib/dpkg/status', (1000, 1000))


@pytest.mark.parametrize(('change', 'removed', 'changes', 'packages'), [
    (nothing, [], [], 'none'),
    (add, [], [(ADDED, b'new')], 'none'),
    (rewrite, [], [(CHANGED, b'dir/file')], 'none'),
    # podman keeps whole seconds of what others have stored
    (lose_a_fraction, [], [], 'none'),
    (remove_file, [b'dir/file'], [], 'none'),
    (update_packages, [], [(CHANGED, b'var/lib/dpkg/status')], '+b~a'),
])
def test_two_images(
    storage: FakeStorage, tmp_path: Path, change: Callable[[Path], None],
    removed: List[bytes], changes: List[Tuple[str, bytes]], packages: str
) -> None:
    change(tmp_path / 'two')
    found = compare_images('one', 'two', DEFAULT_POLICY)
    assert (found.before, found.after) == ('one', 'two')
    assert list(found.removed) == removed
    assert [(one.kind, one.entry.path) for one in found.changes
            if one.kind in (ADDED, CHANGED)] == changes
    told = ''.join(
        [f'+{one.name}' for one in found.packages.added]
        + [f'~{one.name}' for one, _ in found.packages.updated]
    )
    assert (told or 'none', found.packages.removed) == (packages, ())
    assert storage.state['mounts'] == {ONE: 0, TWO: 0} and os.listdir(tmp_path / 'tmp') == []


@pytest.mark.parametrize('call', ['image mount ' + TWO, 'image inspect -- localhost/two'])
def test_nothing_stays_mounted_when_the_second_fails(
    storage: FakeStorage, tmp_path: Path, call: str
) -> None:
    storage.fail(call, 'Error: broken\n')
    with pytest.raises(KiwiStackBuildError, match='broken'):
        compare_images('one', 'two', DEFAULT_POLICY)
    assert not any(storage.state['mounts'].values()) and os.listdir(tmp_path / 'tmp') == []


@pytest.mark.parametrize(('other', 'same'), [
    ({}, True), ({'st_ctime_ns': 1}, False), ({'st_ino': 1}, False), ({'path': b'x'}, False),
    (None, False)
])
def test_a_file_of_a_layer_that_both_have_is_not_read(
    tmp_path: Path, other: Any, same: bool
) -> None:
    """Told by inode and ctime; here the contents differ, so that a look tells."""
    sides: Any = []
    for name, given in (('one', {}), ('two', other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'f').write_text(name)
        stat = {'st_ino': 7, 'st_ctime_ns': 7, **(given or {})}
        newest = SimpleNamespace(path=stat.pop('path', b'f'), stat=SimpleNamespace(**stat))
        sides.append(SimpleNamespace(
            fd=os.open(tmp_path / name, os.O_RDONLY), newest=None if given is None else newest
        ))
    assert diff._SameContent(*sides)(b'f') is same
    for side in sides:
        os.close(side.fd)


def change_of(root: Path, path: str, kind: str = CHANGED) -> Change:
    return Change(kind, Entry(os.fsencode(path), Status.of(os.lstat(root / path))))


@pytest.mark.parametrize(('path', 'removed', 'base', 'packages', 'mounted'), [
    ('dir/file', (), True, '', False),
    ('var/lib/dpkg/status', (), True, '~a', True),
    # with what was above them
    ('dir/file', (b'var',), True, '~a', True),
    ('dir/file', (), False, '', False), ('var/lib/dpkg/status', (), False, '+a', False),
])
def test_what_a_stash_would_store(
    storage: FakeStorage, space: Workspace, tmp_path: Path, path: str,
    removed: Tuple[bytes, ...], base: bool, packages: str, mounted: bool
) -> None:
    """A base is mounted only for its packages."""
    (tmp_path / 'two/var/lib/dpkg/status').write_text(PACKAGE.format('a', '2'))
    below: Optional[Base] = Base(ImageInfo(ONE, ('localhost/one:latest',)), '') if base else None
    fd = os.open(tmp_path / 'two', os.O_RDONLY)
    found = compare_with_base(
        space, 'two:v2', fd, below, removed, (change_of(tmp_path / 'two', path),)
    )
    os.close(fd)
    assert (found.before, found.after) == ('localhost/one:latest' if base else '', 'two:v2')
    told = ''.join([f'+{one.name}' for one in found.packages.added]
                   + [f'~{one.name}' for one, _ in found.packages.updated])
    assert (told, storage.state['mounts']) == (packages, {ONE: 0} if mounted else {})
    shown = format_dry_run(found, below).splitlines()
    assert shown[0].startswith('two:v2: a change of' if base else 'two:v2: the whole tree')


def test_difference_in_words_and_as_json(tmp_path: Path) -> None:
    (tmp_path / 'a\udcff\x1b').write_bytes(b'12345')
    found = Difference('', 'after', PackageChanges(unread={'rpm': 'why'}), (b'gone',), (
        change_of(tmp_path, 'a\udcff\x1b', ADDED),
    ), 12)
    told = format_difference(found)
    assert told.startswith('from  to after\n\nthe rpm packages are not known\npackages: 0 added')
    assert told.endswith('1 added, 0 changed, 1 removed, 5 B of content')
    assert '\x1b' not in told and told.isascii() and '\n\n\n' not in told
    document = json.loads(difference_document(found))
    assert (document['from'], document['to']) == (None, 'after')
    assert document['packages']['unread'] == {'rpm': 'why'}
    assert document['files'] == {
        'added': 1, 'changed': 0, 'removed': 1, 'bytes': 5,
        'largest': [{'path': 'a\udcff\x1b', 'size': 5}], 'kept_times': 12
    }


def test_no_difference_in_words() -> None:
    assert format_difference(Difference('x', 'y', PackageChanges(), (), ())).splitlines() == [
        'from x to y', '', 'packages: 0 added, 0 removed, 0 updated', '',
        '0 added, 0 changed, 0 removed, 0 B of content'
    ]
