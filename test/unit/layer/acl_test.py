# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain ACLs of a layer, by the kernel's own eyes: set, and there are none."""
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from kiwi_stackbuild_plugin.layer.acl import ACCESS, DEFAULT, with_plain_acls
from kiwi_stackbuild_plugin.tree.delta import ADDED, PARENT, Change
from kiwi_stackbuild_plugin.tree.entry import Entry, Status, Xattrs
from zoo import acl

GIVEN = acl((7, 6))
Row = Tuple[str, int, Xattrs]


def entry(path: str, mode: int, xattrs: Xattrs = ()) -> Entry:
    return Entry(os.fsencode(path), Status(mode, *[0] * 10), xattrs)


def directory(path: str, *xattrs: Tuple[str, bytes]) -> Entry:
    return entry(path, stat.S_IFDIR | 0o755, xattrs)


def told(*entries: Entry) -> Dict[str, List[str]]:
    """Return the names of the attributes that each entry of a layer gets."""
    found = list(with_plain_acls(Change(ADDED, one) for one in entries))
    assert [change.entry.path for change in found] == [one.path for one in entries]
    for change, before in zip(found, entries):
        assert set(before.xattrs) <= set(change.entry.xattrs), 'its own ones stay'
        assert change.entry.xattrs == tuple(sorted(change.entry.xattrs))
        assert change.entry.stat == before.stat
    return {
        os.fsdecode(change.entry.path): [key for key, _ in change.entry.xattrs]
        for change in found
    }


def test_only_what_is_right_below_inherits() -> None:
    above = directory('d', (DEFAULT, GIVEN))
    names = ('a', 'd/f', 'd/s/f', 'dd/f', 'd2', 'other/d/f')
    files = [entry(name, stat.S_IFREG | 0o644) for name in names]
    assert told(above, *files) == {
        'd': [DEFAULT], **{name: [] for name in names}, 'd/f': [ACCESS]
    }


@pytest.mark.parametrize(('mode', 'keys'), [
    (stat.S_IFREG | 0o644, [ACCESS]), (stat.S_IFIFO | 0o600, [ACCESS]),
    (stat.S_IFCHR | 0o666, [ACCESS]), (stat.S_IFLNK | 0o777, []),
    (stat.S_IFDIR | 0o755, [ACCESS, DEFAULT])
])
def test_kinds_of_files(mode: int, keys: List[str]) -> None:
    """A link has no ACL; a directory would hand its own on."""
    assert told(directory('d', (DEFAULT, GIVEN)), entry('d/x', mode))['d/x'] == keys


@pytest.mark.parametrize('own', [
    ((ACCESS, GIVEN),), ((DEFAULT, GIVEN),), ((ACCESS, GIVEN), (DEFAULT, GIVEN)),
    (('security.capability', b'x'), ('user.z', b'y'))
])
def test_own_attributes_stay(own: Xattrs) -> None:
    found = told(directory('d', (DEFAULT, GIVEN)), directory('d/x', *own), directory('d/x/y'))
    assert set(found['d/x']) == {ACCESS, DEFAULT, *dict(own)}
    assert found['d/x/y'] == ([ACCESS, DEFAULT] if DEFAULT in dict(own) else [])


def test_nothing_is_told_where_nothing_is_inherited() -> None:
    changes = [
        Change(PARENT, directory('d', (ACCESS, GIVEN))),
        Change(ADDED, entry('d/f', stat.S_IFREG | 0o644, (('user.a', b'x'),)), b'hard')
    ]
    assert list(with_plain_acls(changes)) == changes


def test_kind_and_link_of_a_change_stay() -> None:
    changes = [
        Change(PARENT, directory('d', (DEFAULT, GIVEN))),
        Change(ADDED, entry('d/f', stat.S_IFREG | 0o644), b'hard')
    ]
    below = list(with_plain_acls(changes))[1]
    assert (below.kind, below.link, len(below.entry.xattrs)) == (ADDED, b'hard', 1)


@pytest.mark.parametrize('mode', [0o000, 0o644, 0o4751, 0o2070, 0o1777, 0o070, 0o007])
@pytest.mark.parametrize('kind', [stat.S_IFREG, stat.S_IFDIR])
def test_kernel_stores_neither(tmp_path: Path, mode: int, kind: int) -> None:
    """Made as a tool unpacks it: the entry, its mode, its attributes."""
    (tmp_path / 'd').mkdir()
    os.setxattr(tmp_path / 'd', DEFAULT, GIVEN)
    path = tmp_path / 'd/x'
    path.mkdir() if kind == stat.S_IFDIR else path.touch()
    assert ACCESS in os.listxattr(path), 'it has been inherited'
    path.chmod(mode)
    below = list(with_plain_acls([
        Change(ADDED, directory('d', (DEFAULT, GIVEN))), Change(ADDED, entry('d/x', kind | mode))
    ]))[1].entry
    for key, value in below.xattrs:
        os.setxattr(path, key, value)
    assert os.listxattr(path) == []
    assert stat.S_IMODE(path.stat().st_mode) == mode
