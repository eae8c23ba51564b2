# SPDX-License-Identifier: GPL-3.0-or-later
"""Tar headers of a layer: ustar, with PAX records only where ustar is too small.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block";
SCHILY.xattr records as star(1) and all OCI tools write them. Python's tarfile
writes the same, but takes 60 microseconds an entry and floats for times.
"""
from __future__ import annotations

import os
import stat
from typing import List, Tuple

from kiwi_stackbuild_plugin.layer.extras import split_xattrs
from kiwi_stackbuild_plugin.tree.entry import Entry

BLOCK = 512
#: two zero blocks end an archive
END = bytes(2 * BLOCK)

_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_SECOND = 10**9
_TYPES = {
    stat.S_IFREG: b'0', stat.S_IFLNK: b'2', stat.S_IFCHR: b'3',
    stat.S_IFBLK: b'4', stat.S_IFDIR: b'5', stat.S_IFIFO: b'6'
}
Records = List[Tuple[bytes, bytes]]


def pack_entry(entry: Entry, link: bytes = b'') -> bytes:
    """Return the header blocks of an entry.

    :param link: path of the entry that this one is a hard link to
    """
    status = entry.stat
    kind = b'1' if link else _TYPES[stat.S_IFMT(status.st_mode)]
    name = entry.path + b'/' if kind == b'5' else entry.path
    size = status.st_size if kind == b'0' else 0
    target = link or entry.target
    records: Records = []
    seconds, fraction = divmod(status.st_mtime_ns, _SECOND)
    if fraction or not 0 <= seconds <= _OCTAL_11:
        records.append((b'mtime', _pax_time(status.st_mtime_ns)))
        seconds = min(max(seconds, 0), _OCTAL_11)
    name = _short(name, b'path', records)
    target = _short(target, b'linkpath', records)
    uid = _small(status.st_uid, b'uid', records, _OCTAL_7)
    gid = _small(status.st_gid, b'gid', records, _OCTAL_7)
    length = _small(size, b'size', records, _OCTAL_11)
    records += [
        (b'SCHILY.xattr.' + os.fsencode(key), value)
        for key, value in (split_xattrs(entry.xattrs)[0] if entry.xattrs else ())
    ]
    device = status.st_rdev if kind in b'34' else 0
    header = _pack(
        name, stat.S_IMODE(status.st_mode), uid, gid, length, seconds, kind,
        target, os.major(device), os.minor(device)
    )
    return (_pack_records(records, name) if records else b'') + header


def pack_whiteout(path: bytes, mtime: int = 0) -> bytes:
    """Return the header of a whiteout: the empty file that deletes a path.

    Source: OCI image spec, layer.md, "Whiteouts".
    """
    parent, slash, name = path.rpartition(b'/')
    records: Records = []
    short = _short(parent + slash + b'.wh.' + name, b'path', records)
    header = _pack(short, 0o600, 0, 0, 0, mtime, b'0', b'', 0, 0)
    return (_pack_records(records, short) if records else b'') + header


def padding(size: int) -> bytes:
    """Return the zeros that fill up the last block of a file of a size."""
    return bytes(-size % BLOCK)


def _pax_time(nanoseconds: int) -> bytes:
    seconds, fraction = divmod(abs(nanoseconds), _SECOND)
    sign = '-' if nanoseconds < 0 else ''
    return f'{sign}{seconds}.{fraction:09d}'.rstrip('0').rstrip('.').encode()


def _short(name: bytes, key: bytes, records: Records) -> bytes:
    """Return what fits into the field; the whole goes into a record."""
    if len(name) <= 100 and name.isascii():
        return name
    records.append((key, name))
    return name[:100]


def _small(number: int, key: bytes, records: Records, limit: int) -> int:
    if number <= limit:
        return number
    records.append((key, b'%d' % number))
    return 0


def _pack_records(records: Records, name: bytes) -> bytes:
    if not all(_is_utf8(key, value) for key, value in records):
        records = [(b'hdrcharset', b'BINARY'), *records]
    data = b''.join(_pack_record(key, value) for key, value in records)
    label = b'PaxHeaders.0/' + name.rstrip(b'/').rsplit(b'/', 1)[-1]
    header = _pack(label[:100], 0o644, 0, 0, len(data), 0, b'x', b'', 0, 0)
    return header + data + padding(len(data))


def _is_utf8(key: bytes, value: bytes) -> bool:
    """Tell whether a record is text as pax wants it; xattr values never are."""
    try:
        (key if key.startswith(b'SCHILY.') else value).decode()
    except UnicodeDecodeError:
        return False
    return True


def _pack_record(key: bytes, value: bytes) -> bytes:
    """Return 'length key=value\\n', where length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1
    return b'%d %s=%s\n' % (length, key, value)


def _pack(
    name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int,
    kind: bytes, target: bytes, major: int, minor: int
) -> bytes:
    head = b'%b%07o\0%07o\0%07o\0%011o\0%011o\0' % (
        name.ljust(100, b'\0'), mode, uid, gid, size, mtime
    )
    tail = b'%b%bustar\00000%b%07o\0%07o\0' % (
        kind, target.ljust(100, b'\0'), bytes(64), major, minor
    )
    checksum = sum(head) + sum(tail) + 8 * 32
    return b'%b%06o\0 %b%b' % (head, checksum, tail, bytes(167))
