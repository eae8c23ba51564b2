# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of trees, drawn by hypothesis: few names, so that they meet often."""
from __future__ import annotations

import os
import random
import shutil
import stat
from pathlib import Path
from typing import Any, List, Tuple

from hypothesis import strategies as st

from zoo import acl

Operation = Tuple[Any, ...]

_NAMES = ('a', 'b', 'a.b', 'a-b', 'b\n', 'wh.a', '.whiteout', '\udcff', 'b' * 120)
#: a clamped mtime is what most files have: same times must tell nothing
_CLAMPED = 1_600_000_000 * 10**9
_TIMES = st.sampled_from((
    _CLAMPED, _CLAMPED, _CLAMPED, _CLAMPED + 1, _CLAMPED + 500_000_000, -1, 0,
    (2**32 + 1) * 10**9 + 1
))
_OFTEN = ('a', 'b') * 5
_PATHS = st.lists(
    st.sampled_from(_OFTEN + _NAMES), min_size=1, max_size=3
).map('/'.join)
_TARGETS = st.sampled_from(('a', 'b', 'a/b', 'b/a', '/a'))
_CONTENTS = st.sampled_from((b'', b'one', b'two', b'x' * 512, b'y' * 512, b'z' * 700))
_MODES = st.sampled_from((0o644, 0o755, 0o4755, 0, 0o1777))
_XATTRS = st.sampled_from((
    ('user.a', b'1'), ('user.a', b'\0\xff'), ('trusted.b', b'x'),
    ('system.posix_acl_access', acl((7, 4))),
    ('system.posix_acl_default', acl((7, 6)))
))

OPERATIONS = st.lists(st.one_of(
    st.tuples(st.just('file'), _PATHS, _CONTENTS, _TIMES),
    st.tuples(st.just('file'), _PATHS, _CONTENTS, _TIMES),
    st.tuples(st.just('directory'), _PATHS, _TIMES),
    st.tuples(st.just('symlink'), _PATHS, _TARGETS, _TIMES),
    st.tuples(st.just('special'), _PATHS, st.sampled_from(('fifo', 'char'))),
    st.tuples(st.just('link'), _PATHS, _PATHS),
    st.tuples(st.just('rename'), _PATHS, _PATHS),
    st.tuples(st.just('swap'), _PATHS, _PATHS),
    st.tuples(st.just('remove'), _PATHS),
    st.tuples(st.just('rewrite'), _PATHS, _CONTENTS),
    st.tuples(st.just('rewrite'), _PATHS, _CONTENTS),
    st.tuples(st.just('to-link'), _PATHS),
    st.tuples(st.just('mode'), _PATHS, _MODES),
    st.tuples(st.just('owner'), _PATHS, st.sampled_from((0, 1, 2**31))),
    st.tuples(st.just('time'), _PATHS, _TIMES),
    st.tuples(st.just('xattr'), _PATHS, _XATTRS)
), min_size=4, max_size=24)


def mutate(root: Path, operations: List[Operation]) -> None:
    """Apply operations; one that does not fit the tree does nothing."""
    for name, path, *rest in operations:
        try:
            _DEEDS[name](root / path, root, *rest)
        except (OSError, shutil.Error):
            # the same kind of error that a user would meet: no such file,
            # a directory in the way, a name below a file
            continue


def _clear(path: Path) -> None:
    for parent in reversed(path.parents):
        if os.path.lexists(parent) and not stat.S_ISDIR(os.lstat(parent).st_mode):
            raise NotADirectoryError(parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(path)


def _remove(path: Path, *_: Any) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _file(path: Path, root: Path, content: bytes, moment: int) -> None:
    _clear(path)
    path.write_bytes(content)
    _time(path, root, moment)


def _directory(path: Path, root: Path, moment: int) -> None:
    if not path.is_dir() or path.is_symlink():
        _clear(path)
        path.mkdir()
    _time(path, root, moment)


def _symlink(path: Path, root: Path, target: str, moment: int) -> None:
    _clear(path)
    path.symlink_to(target)
    _time(path, root, moment)


def _special(path: Path, root: Path, kind: str) -> None:
    _clear(path)
    if kind == 'fifo':
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def _link(path: Path, root: Path, target: str) -> None:
    if path == root / target or (root / target).is_dir():
        raise OSError('not to be linked')
    os.lstat(root / target)
    _clear(path)
    os.link(root / target, path, follow_symlinks=False)


def _rename(path: Path, root: Path, target: str) -> None:
    if path in (root / target, *(root / target).parents):
        raise OSError('into itself')
    os.lstat(path)
    _clear(root / target)
    path.rename(root / target)


def _swap(path: Path, root: Path, target: str) -> None:
    other = root / target
    if path == other or path in other.parents or other in path.parents:
        raise OSError('one in the other')
    os.lstat(path)
    os.lstat(other)
    aside = root / 'aside'
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def _rewrite(path: Path, root: Path, content: bytes) -> None:
    """Write other content of the same length in place; keep the mtime."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError('no file')
    with open(path, 'r+b') as out:
        out.write((content or b'?').ljust(status.st_size, b'#')[:status.st_size])
    _time(path, root, status.st_mtime_ns)


def _to_link(path: Path, root: Path) -> None:
    """Put a directory aside and a link to it in its place."""
    if not path.is_dir() or path.is_symlink():
        raise OSError('no directory')
    aside = path.with_name('real')
    _remove(aside)
    path.rename(aside)
    path.symlink_to('real')


def _mode(path: Path, root: Path, mode: int) -> None:
    if not path.is_symlink():
        path.chmod(mode)


def _owner(path: Path, root: Path, owner: int) -> None:
    os.chown(path, owner, owner, follow_symlinks=False)


def _time(path: Path, root: Path, moment: int) -> None:
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _xattr(path: Path, root: Path, pair: Tuple[str, bytes]) -> None:
    os.setxattr(path, pair[0], pair[1], follow_symlinks=False)


_DEEDS = {
    'file': _file, 'directory': _directory, 'symlink': _symlink,
    'special': _special, 'link': _link, 'rename': _rename, 'swap': _swap,
    'remove': _remove, 'rewrite': _rewrite, 'to-link': _to_link, 'mode': _mode,
    'owner': _owner, 'time': _time, 'xattr': _xattr
}


def draw_operations(seed: int, count: int) -> List[Operation]:
    """Return operations without hypothesis: always the same for a seed."""
    source = random.Random(seed)
    files = ('file', 'directory', 'symlink', 'link', 'rename', 'remove', 'rewrite',
             'to-link', 'mode', 'owner', 'time', 'xattr', 'special', 'swap')
    return [_draw(source, source.choice(files)) for _ in range(count)]


def _draw(source: random.Random, name: str) -> Operation:
    def path() -> str:
        return '/'.join(source.choices(_OFTEN + _NAMES, k=source.randint(1, 3)))
    moment = _CLAMPED + source.choice((0, 0, 1, 10**9))
    content = source.choice((b'one', b'two', b'x' * 512, b'z' * 700))
    arguments = {
        'file': (content, moment), 'directory': (moment,), 'symlink': (path(), moment),
        'link': (path(),), 'rename': (path(),), 'swap': (path(),), 'rewrite': (content,),
        'mode': (source.choice((0o644, 0o4755, 0)),), 'owner': (source.randint(0, 2**31),),
        'time': (moment,), 'xattr': (('user.a', source.randbytes(9)),),
        'special': (source.choice(('fifo', 'char')),)
    }
    return (name, path(), *arguments.get(name, ()))
