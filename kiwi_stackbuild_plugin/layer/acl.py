# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep default ACLs from spreading while a layer is unpacked.

What is made in a directory with a default ACL inherits it. Tools unpack a
directory before its contents and take nothing away again, so that a layer
says for each entry in such a directory that it has no ACL: an access ACL that
is no more than its mode, and an empty default ACL. The kernel stores neither.
Source: acl(5), "Object creation and default ACLs"; linux/posix_acl_xattr.h.
"""
from __future__ import annotations

import stat
import struct
from typing import Iterable, Iterator, Set

from kiwi_stackbuild_plugin.tree.delta import Change
from kiwi_stackbuild_plugin.tree.entry import Entry

ACCESS, DEFAULT = 'system.posix_acl_access', 'system.posix_acl_default'

_HEADER = struct.pack('<I', 2)
_USER, _GROUP, _OTHER = 0x01, 0x04, 0x20
_NOBODY = 0xFFFFFFFF


def with_plain_acls(changes: Iterable[Change]) -> Iterator[Change]:
    """Pass on the changes of a layer, with ACLs where one would be inherited."""
    inherited_from: Set[bytes] = set()
    for change in changes:
        entry = change.entry
        if entry.is_dir and any(key == DEFAULT for key, _ in entry.xattrs):
            inherited_from.add(entry.path)
        parent = entry.path.rpartition(b'/')[0]
        if inherited_from and parent in inherited_from:
            yield change._replace(entry=_with_plain_acl(entry))
        else:
            yield change


def _with_plain_acl(entry: Entry) -> Entry:
    mode = entry.stat.st_mode
    if stat.S_ISLNK(mode):
        return entry
    told = dict(entry.xattrs)
    told.setdefault(ACCESS, _HEADER + b''.join(
        struct.pack('<HHI', tag, mode >> shift & 7, _NOBODY)
        for tag, shift in ((_USER, 6), (_GROUP, 3), (_OTHER, 0))
    ))
    if entry.is_dir:
        told.setdefault(DEFAULT, _HEADER)
    return entry._replace(xattrs=tuple(sorted(told.items())))
