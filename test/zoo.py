# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree with everything that a file system can hold and a stash must keep."""
from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path
from typing import Dict, Optional, Tuple

SECOND = 10**9
#: name of a file to its mtime; ext4 and xfs end in 1901 and 2446 or 2486
MOMENTS: Dict[str, int] = {
    'nanoseconds': 1_600_000_000 * SECOND + 123_456_789,
    'one-nanosecond': 1_600_000_000 * SECOND + 1,
    'tenth': 1_600_000_000 * SECOND + 100_000_000,
    'epoch': 0,
    'after-epoch': 1,
    'before-1970': -1,
    'long-before-1970': -2_000_000_000 * SECOND + 250_000_000,
    'after-2038': 2**31 * SECOND + 5,
    'after-2106': (2**32 + 7) * SECOND + 999_999_999,
    'after-ustar': (2**33 + 9) * SECOND + 3,
    'after-2262': 9_300_000_000 * SECOND + 9
}
NAMES: Tuple[bytes, ...] = (
    b' ', b'  two  ', b'-rf', b'line\nfeed', b'tab\tbell\a', b'quote"\'`$(x)',
    b'back\\slash', b'\xff\xfe', 'ünï'.encode(), '日本'.encode(), b'a' * 255,
    b'\xff' * 255, b'...', b'a=b', b'x' * 100, b'*', b'?[!a]', b'wh.not',
    b'.whiteout', b'.wh', b'%n', b'\x01\x7f', b'PaxHeaders.0',
    bytes(range(1, 47)) + bytes(range(48, 128)), bytes(range(128, 256))
)
#: access ACL: owner rwx, user 1234 r--, group r-x, mask r-x, other ---
_USER, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20


def acl(*named: Tuple[int, int], mode: int = 0o750) -> bytes:
    """Return an ACL as its xattr has it: acl(5), linux/posix_acl_xattr.h.

    :param named: user ID and permissions of each further user
    """
    nobody = 0xFFFFFFFF
    entries = [(_USER, mode >> 6 & 7, nobody)]
    entries += [(0x02, permissions, user) for user, permissions in named]
    entries += [(_GROUP, mode >> 3 & 7, nobody)]
    if named:
        entries += [(_MASK, mode >> 3 & 7, nobody)]
    entries += [(_OTHER, mode & 7, nobody)]
    return struct.pack('<I', 2) + b''.join(
        struct.pack('<HHI', *entry) for entry in entries
    )


def capability(bits: int = 0x2000) -> bytes:
    """Return a file capability, revision 2, permitted and effective."""
    return struct.pack('<5I', 0x02000001, bits, 0, 0, 0)


def make_zoo(root: Path) -> Path:
    """Fill a directory, which need not exist."""
    root.mkdir(exist_ok=True)
    top = os.fsencode(root)
    for number, name in enumerate(NAMES):
        write(root / 'names' / os.fsdecode(name), b'%d' % number)
        (root / 'dirs' / os.fsdecode(name)).mkdir(parents=True)
        os.symlink(name, os.path.join(top, b'dirs', name, b'link'))
    _make_types(root / 'types')
    _make_modes(root / 'modes')
    _make_times(root / 'times')
    _make_links(root / 'links')
    _make_xattrs(root / 'xattrs')
    _make_acls(root / 'acls')
    make_deep(root / 'deep', 1200)
    make_sparse(root / 'sparse/hole', 1 << 22, {1 << 21: b'data'})
    make_sparse(root / 'sparse/all', 1 << 20, {})
    make_sparse(root / 'sparse/end', 1 << 21, {0: b'x' * 70000})
    write(root / 'sparse/zeros-but-not-sparse', bytes(1 << 18))
    return root


def write(path: Path, content: bytes) -> Path:
    """Write a file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _make_types(where: Path) -> None:
    write(where / 'empty', b'')
    write(where / 'block', bytes(512))
    write(where / 'below-block', b'x' * 511)
    write(where / 'above-block', b'x' * 513)
    (where / 'empty-dir').mkdir()
    os.symlink('/absolute/nowhere', where / 'absolute')
    os.symlink('../../../../../../etc', where / 'climbing')
    os.symlink('x' * 100, where / 'target-100')
    os.symlink('x' * 101, where / 'target-101')
    os.symlink('x' * 4095, where / 'target-4095')
    os.symlink(b'\xff\n', os.fsencode(where / 'target-bytes'))
    os.mkfifo(where / 'fifo', 0o622)
    os.mknod(where / 'char', stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(where / 'block-device', stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    os.mknod(where / 'block-zero', stat.S_IFBLK | 0o660, os.makedev(0, 0))


def _make_modes(where: Path) -> None:
    for mode in (0, 0o4755, 0o2755, 0o1777, 0o7777, 0o6111, 0o444, 0o002):
        write(where / f'file-{mode:04o}', b'x').chmod(mode)
        (where / f'dir-{mode:04o}').mkdir()
        write(where / f'dir-{mode:04o}/in', b'')
        (where / f'dir-{mode:04o}').chmod(mode)
    for number in (1, 1000, 2**16, 2**21 - 1, 2**21, 2**31 - 1, 2**31, 2**32 - 2):
        write(where / f'owner-{number}', b'x')
        os.chown(where / f'owner-{number}', number, 0)
        os.symlink('x', where / f'group-{number}')
        os.chown(where / f'group-{number}', 7, number, follow_symlinks=False)
    os.chown(write(where / 'setuid-owned', b'x'), 33, 34)
    (where / 'setuid-owned').chmod(0o6755)


def _make_times(where: Path) -> None:
    for name, moment in MOMENTS.items():
        write(where / name, b'x')
        (where / f'dir-{name}').mkdir()
        write(where / f'dir-{name}' / 'in', b'x')
        os.symlink('x', where / f'link-{name}')
        os.mkfifo(where / f'fifo-{name}')
        for path in (name, f'dir-{name}', f'link-{name}', f'fifo-{name}'):
            set_time(where / path, moment)


def set_time(path: Path, moment: int) -> None:
    """Set the mtime (nanoseconds) of a name, not of what it links to."""
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _make_links(where: Path) -> None:
    for name in ('a/one', 'b/alone'):
        write(where / name, name.encode())
    (where / 'c').mkdir()
    (where / 'c/far').hardlink_to(where / 'a/one')
    (where / 'b/same').hardlink_to(where / 'a/one')
    os.symlink('x', where / 'a/symbolic')
    os.link(where / 'a/symbolic', where / 'c/symbolic', follow_symlinks=False)
    os.mkfifo(where / 'a/fifo')
    (where / 'c/fifo').hardlink_to(where / 'a/fifo')
    os.mknod(where / 'a/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (where / 'c/null').hardlink_to(where / 'a/null')
    write(where / 'a/setuid', b'run').chmod(0o4755)
    (where / 'c/setuid').hardlink_to(where / 'a/setuid')
    write(where / 'a/capable', b'run').chmod(0o755)
    os.setxattr(where / 'a/capable', 'security.capability', capability())
    (where / 'c/capable').hardlink_to(where / 'a/capable')
    set_time(where / 'a/setuid', MOMENTS['before-1970'])


def _make_xattrs(where: Path) -> None:
    write(where / 'file', b'x')
    (where / 'dir').mkdir()
    os.symlink('file', where / 'link')
    os.mkfifo(where / 'fifo')
    os.mknod(where / 'null', stat.S_IFCHR | 0o600, os.makedev(1, 3))
    binary = bytes(range(256))
    for name in ('file', 'dir'):
        os.setxattr(where / name, 'user.binary', binary)
        os.setxattr(where / name, 'user.empty', b'')
        os.setxattr(where / name, 'user.with=equals', b'1=2\n')
        os.setxattr(where / name, 'user.line\nfeed', b'\n\n')
        os.setxattr(where / name, 'user.ünï', 'ünï'.encode())
    os.setxattr(os.fsencode(where / 'file'), b'user.\xff\xfe', b'\xff\0')
    for name in ('file', 'dir', 'link', 'fifo', 'null'):
        os.setxattr(where / name, 'trusted.some', binary, follow_symlinks=False)
    os.setxattr(where / 'file', 'security.capability', capability())
    os.setxattr(where / 'file', 'security.own', b'\0\xff')
    os.setxattr(where / 'dir', 'security.own', b'dir')


def _make_acls(where: Path) -> None:
    default = 'system.posix_acl_default'
    (where / 'dir/sub/empty').mkdir(parents=True)
    for name in ('dir/plain', 'dir/own', 'dir/sub/plain', 'outside'):
        write(where / name, b'x').chmod(0o640)
    os.mkfifo(where / 'dir/fifo', 0o600)
    os.symlink('plain', where / 'dir/link')
    (where / 'dir/hard').hardlink_to(where / 'dir/plain')
    (where / 'dir/also-default').mkdir()
    for name in ('dir', 'dir/also-default'):
        os.setxattr(where / name, default, acl((4321, 7), mode=0o770))
    for name in ('dir', 'dir/own', 'outside'):
        os.setxattr(where / name, 'system.posix_acl_access', acl((1234, 4)))


def make_deep(where: Path, length: int) -> None:
    """Make directories below each other, their path being so long, and a file.

    :param length: bytes of the path from where on, to be over 300
    """
    where.mkdir(exist_ok=True)
    fd = os.open(where, os.O_RDONLY)
    left = length - 5
    while left > 0:
        name = 'd' * min(left, 250)
        left -= len(name) + 1
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open('file', os.O_CREAT, 0o644, dir_fd=fd))
    os.close(fd)


def make_sparse(path: Path, size: int, data: Dict[int, bytes]) -> None:
    """Make a file of a size with data at some offsets and holes elsewhere."""
    write(path, b'')
    with open(path, 'r+b') as out:
        out.truncate(size)
        for offset, content in data.items():
            out.seek(offset)
            out.write(content)


def holes(path: Path) -> int:
    """Return how many bytes of a file are not allocated."""
    status = os.lstat(path)
    return max(0, status.st_size - status.st_blocks * 512)


def make_socket(path: Path) -> None:
    """Make a socket, which no layer can hold; its path may be long."""
    back: Optional[int] = os.open('.', os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        assert back is not None
        os.fchdir(back)
        os.close(back)
