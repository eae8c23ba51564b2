# SPDX-License-Identifier: GPL-3.0-or-later
"""What a label keeps of a tree: found, written, read, and there again."""
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from kiwi_stackbuild_plugin.layer import extras as module
from kiwi_stackbuild_plugin.layer.extras import (
    ROOT, Extra, Extras, amend, decode, encode, find_root_extra, holes_left,
    split_xattrs, watch, with_holes, with_times
)
from kiwi_stackbuild_plugin.layer.restore import restore_extras
from kiwi_stackbuild_plugin.tree.delta import ADDED, CHANGED, PARENT, Change
from kiwi_stackbuild_plugin.tree.entry import Entry, Status
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan
from trees import describe
from zoo import MOMENTS, holes, make_sparse, set_time, write

AFTER_2262 = MOMENTS['after-2262']


def fill(root: Path) -> Path:
    write(root / 'd/plain', b'x')
    set_time(write(root / 'd/\udcff\n', b'x'), -1)
    os.symlink('plain', root / 'd/late')
    set_time(root / 'd/late', AFTER_2262)
    os.setxattr(write(root / 'd/xattr', b'x'), 'user.a=b', b'\0\xff')
    os.setxattr(root / 'd/xattr', 'user.empty', b'')
    os.setxattr(root / 'd/xattr', 'user.usual', b'u')
    make_sparse(root / 'd/sparse', 2 << 20, {4096: b'x'})
    set_time(root / 'd', -5)
    os.setxattr(root, 'user.root', b'root')
    return root


WANTED: Extras = {
    b'd': Extra(-5), b'd/\xff\n': Extra(-1), b'd/late': Extra(AFTER_2262),
    b'd/xattr': Extra(None, (('user.a=b', b'\0\xff'), ('user.empty', b'')))
}


def find(root: Path) -> Extras:
    found: Extras = {}
    fd = open_tree(str(root))
    try:
        entries = list(scan(fd))
        assert list(watch(entries, found)) == entries
        return {**found, **find_root_extra(fd)}
    finally:
        os.close(fd)


def label_of(extras: Extras) -> str:
    lost: List[Tuple[bytes, str]] = []
    text = encode(extras, lambda path, why: lost.append((path, why)))
    assert not lost
    return text


def test_what_a_layer_does_not_hold_is_found(tmp_path: Path) -> None:
    root = fill(tmp_path / 'root')
    status = os.lstat(root)
    assert find(root) == {
        **WANTED, ROOT: Extra(status.st_mtime_ns, (('user.root', b'root'),))
    }


def test_label_is_read_back(tmp_path: Path) -> None:
    found = find(fill(tmp_path / 'root'))
    assert decode(label_of(found)) == found
    assert label_of(dict(reversed(list(found.items())))) == label_of(found)
    assert label_of(found).isascii()


def test_label_does_not_depend_on_the_locale() -> None:
    program = (
        'from kiwi_stackbuild_plugin.layer.extras import *;'
        "print(encode({b'\\xc3\\xbc': Extra(-1), b'\\xff': Extra(-1)}, print))"
    )
    answers = {
        subprocess.run(
            [sys.executable, '-X', 'utf8=0', '-c', program], check=True,
            capture_output=True, env={**os.environ, 'LC_ALL': locale}
        ).stdout for locale in ('C', 'C.UTF-8')
    }
    assert len(answers) == 1


@pytest.mark.parametrize('text', [
    '', 'x', '[]', '{"a": 1}', '{"a": {"mtime": "x"}}', 'null', '{"a": {"xattrs": 3}}',
    '{"a": {"xattrs": {"user.a": 5}}}', '[' * 100_000
])
def test_labels_of_strangers_say_nothing(text: str) -> None:
    assert decode(text) == {}


def test_label_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'LABEL_LIMIT', 100)
    lost: Dict[bytes, str] = {}
    text = encode({
        b'a-sparse': Extra(sparse=True), b'z': Extra(-1),
        b'b' * 60: Extra(-1, (('user.a', b''),), True)
    }, lost.__setitem__)
    assert len(text) <= 102
    assert decode(text) == {b'z': Extra(-1), b'a-sparse': Extra(sparse=True)}
    assert lost == {b'b' * 60: (
        'its time, extended attributes, holes would make a label too long'
    )}


def test_extras_follow_times_that_are_stored() -> None:
    """A time that the storage keeps needs none, one that it does not needs one."""
    xattrs = (('user.a', b''),)
    found: Extras = {b'a': Extra(-1), b'b': Extra(-1, xattrs), b'c': Extra(-1), ROOT: Extra(5)}
    assert with_times(found, {b'a': 7, b'b': 7, b'd': 7, b'e': -7}) == {
        b'b': Extra(None, xattrs), b'c': Extra(-1), b'e': Extra(-7), ROOT: Extra(5)
    }


def change(kind: str, path: bytes, mode: int = stat.S_IFREG) -> Change:
    return Change(kind, Entry(path, Status(mode, *[1] * 10)))


@pytest.mark.parametrize('removed, changes, left', [
    ([], [], True),
    ([b'd/other', b'd/f2', b'd/f/x'], [change(CHANGED, b'd/g'), change(ADDED, b'e')], True),
    ([], [change(PARENT, b'd', stat.S_IFDIR), change(CHANGED, b'd', stat.S_IFDIR)], True),
    ([b'd/f'], [], False),
    ([b'd'], [], False),
    ([], [change(CHANGED, b'd/f')], False),
    ([], [change(ADDED, b'd/f')], False),
    # a directory that became a link
    ([], [change(CHANGED, b'd', stat.S_IFLNK)], False),
])
def test_holes_of_what_a_delta_leaves(
    removed: List[bytes], changes: List[Change], left: bool
) -> None:
    base = {b'd/f': Extra(5, (), True), b'd/time': Extra(-1), ROOT: Extra(7)}
    assert list(holes_left(base, removed, changes)) == ([b'd/f'] if left else [])
    assert with_holes(base, [b'd/time', b'new'])[b'd/time'] == Extra(-1, (), True)


def test_stored_entries_are_amended(tmp_path: Path) -> None:
    root = fill(tmp_path / 'root')
    found = find(root)
    fd = open_tree(str(root))
    before = {entry.path: entry for entry in scan(fd)}
    for path in WANTED:
        stored = os.path.join(os.fsencode(root), path)
        os.utime(stored, (0, 0), follow_symlinks=False)
    os.removexattr(root / 'd/xattr', 'user.a=b')
    os.removexattr(root / 'd/xattr', 'user.empty')
    for entry in amend(scan(fd), found):
        old = before[entry.path]
        assert entry.xattrs == old.xattrs
        if found.get(entry.path, Extra()).mtime is not None:
            assert entry.stat.st_mtime_ns == old.stat.st_mtime_ns
        for name in ('st_mode', 'st_ino', 'st_dev', 'st_nlink', 'st_size', 'st_rdev'):
            assert getattr(entry.stat, name) == getattr(old.stat, name)
    os.close(fd)


def test_import_restores_them(tmp_path: Path) -> None:
    root = fill(tmp_path / 'root')
    found, wanted = find(root), describe(root)
    subprocess.run(['cp', '-a', '--sparse=never', root, tmp_path / 'copy'], check=True)
    copy = tmp_path / 'copy'
    assert holes(copy / 'd/sparse') == 0
    for path, extra in WANTED.items():
        if extra.mtime is not None:
            os.utime(
                os.path.join(os.fsencode(copy), path), (0, 0), follow_symlinks=False
            )
    for key in ('user.a=b', 'user.empty'):
        os.removexattr(copy / 'd/xattr', key)
    fd = open_tree(str(copy))
    gone = {b'gone/x': Extra(-1), b'd/gone': Extra(-1), b'd/plain/x': Extra(-1)}
    restore_extras(fd, with_holes({**found, **gone}, [b'd/plain', b'd/sparse']))
    os.close(fd)
    assert describe(copy) == wanted
    assert holes(copy / 'd/sparse') == holes(root / 'd/sparse') > 0


MIB = 1 << 20
ACL = ('system.posix_acl_access', b'a' * 44)


@pytest.mark.parametrize('xattrs, aside', [
    ((), []),
    ([ACL, ('user.a', b'x')], []),
    ([('user.a', b''), ('user.b=c', b'x'), ('user.d', b'x')], ['user.a', 'user.b=c']),
    ([('trusted.overlay.opaque', b'y'), ('trusted.overlaid', b'y')], ['trusted.overlay.opaque']),
    ([('user.overlay.whiteout', b'y')], ['user.overlay.whiteout']),
    ([('user.fuseoverlayfs.opaque', b'y')], ['user.fuseoverlayfs.opaque']),
    ([('user.containers.override_stat', b'0')], ['user.containers.override_stat']),
    ([(f'user.{number:02}', bytes([65]) * 60000) for number in range(20)],
     ['user.16', 'user.17', 'user.18', 'user.19']),
    ([('user.a', b'x' * MIB), ('user.b', b'x')], ['user.a']),
])
def test_what_records_hold_is_told_from_what_they_do_not(
    xattrs: Any, aside: List[str]
) -> None:
    carried, left = split_xattrs(tuple(xattrs))
    assert [key for key, _ in left] == aside
    assert sorted(carried + left) == sorted(xattrs)
    assert sum(len(key) + len(value) + 32 for key, value in carried) < MIB
    # an entry below a default ACL gets two more
    plain = (ACL, ('system.posix_acl_default', b'a'))
    others = [pair for pair in xattrs if pair != ACL]
    assert split_xattrs((*plain, *others))[1] == left


def test_label_is_json_that_people_can_read() -> None:
    assert json.loads(label_of({b'var/log/lastlog': Extra(sparse=True)})) == {
        'var/log/lastlog': {'sparse': True}
    }
