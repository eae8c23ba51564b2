# SPDX-License-Identifier: GPL-3.0-or-later
"""What neither a layer nor podman's storage keeps of a tree: a label has it.

- times before 1970 and after 2262: the storage sets them to 0
- extended attributes that no PAX record can hold, or that have no room there
- marks of storage drivers: one that unpacks them would heed them itself
- that a file has many zeros, which are holes then: the storage writes them. It
  is known where the content is read, see blob.MANY_ZEROS, and from the base
- all extended attributes, where the storage's driver loses those of lower layers
- time and extended attributes of the root directory, which is the path b''

Source of the first: containers/storage, pkg/system/chtimes.go.
"""
from __future__ import annotations

import base64
import json
import os
from contextlib import closing
from typing import (
    Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple
)

from kiwi_stackbuild_plugin.tree.delta import PARENT, Change
from kiwi_stackbuild_plugin.tree.entry import Entry, Xattrs
from kiwi_stackbuild_plugin.tree.scan import TreeReader, read_xattrs

#: most that a label may have, in bytes: registries take configs up to 4 MiB
LABEL_LIMIT = 1 << 18
ROOT = b''

#: opaque directories and the like, of a container storage inside of a tree
_MARKS = (
    'trusted.overlay.', 'user.overlay.', 'user.fuseoverlayfs.', 'user.containers.'
)
#: Go's archive/tar takes 1 MiB of PAX records; some is for names and plain ACLs
_PAX_ROOM = (1 << 20) - (1 << 15)
_PAX_HEAD = 32
_PLAIN = 'system.posix_acl_'
_PLAIN_SIZE = 1 << 12
_LAST_MOMENT = 2**63 - 1


class Extra(NamedTuple):
    """What is to be kept of one path; mtime in nanoseconds."""

    mtime: Optional[int] = None
    xattrs: Xattrs = ()
    sparse: bool = False


Extras = Dict[bytes, Extra]


def can_carry(key: str, value: bytes) -> bool:
    """Tell whether a PAX record can hold an extended attribute.

    A record's key ends at the first '=', and an empty value takes it back.
    """
    return bool(value) and '=' not in key and not key.startswith(_MARKS)


def split_xattrs(xattrs: Xattrs) -> Tuple[Xattrs, Xattrs]:
    """Return what the PAX records of one entry hold, and what they do not."""
    carried, aside = [], []
    room = _PAX_ROOM
    for key, value in xattrs:
        size = len(os.fsencode(key)) + len(value) + _PAX_HEAD
        if key.startswith(_PLAIN) and len(value) <= _PLAIN_SIZE:
            # a layer adds such ones, see acl.with_plain_acls
            size = 0
        if can_carry(key, value) and size <= room:
            carried.append((key, value))
            room -= size
        else:
            aside.append((key, value))
    return tuple(carried), tuple(aside)


def find_root_extra(root_fd: int) -> Extras:
    """Return what is to be kept of a root directory itself."""
    mtime = os.fstat(root_fd).st_mtime_ns
    return {ROOT: Extra(mtime, read_xattrs(root_fd))}


def watch(
    entries: Iterable[Entry], found: Extras, all_xattrs: bool = False
) -> Iterator[Entry]:
    """Pass on entries; add what is to be kept of them to what was found.

    :param all_xattrs: the storage does not keep those that a layer can carry
    """
    for entry in entries:
        status = entry.stat
        if entry.xattrs or not 0 <= status.st_mtime_ns <= _LAST_MOMENT:
            extra = _find_extra(entry, all_xattrs)
            if extra != Extra():
                found[entry.path] = extra
        yield entry


def _find_extra(entry: Entry, all_xattrs: bool) -> Extra:
    return Extra(
        _told_time(entry.stat.st_mtime_ns),
        entry.xattrs if all_xattrs else split_xattrs(entry.xattrs)[1]
    )


def with_times(found: Extras, times: Mapping[bytes, int]) -> Extras:
    """Return extras of entries that are stored with other times (nanoseconds)."""
    changed = {
        path: found.get(path, Extra())._replace(mtime=_told_time(mtime))
        for path, mtime in times.items()
        if path in found or _told_time(mtime) is not None
    }
    merged = {**found, **changed}
    return {path: extra for path, extra in merged.items() if extra != Extra()}


def _told_time(mtime: int) -> Optional[int]:
    """Return a time that the storage does not keep, None for any other."""
    return None if 0 <= mtime <= _LAST_MOMENT else mtime


def holes_left(
    base: Extras, removed: Iterable[bytes], changes: Iterable[Change]
) -> Iterator[bytes]:
    """Yield the files with holes of a base that a delta leaves as they are."""
    touched = {*removed, *(
        change.entry.path for change in changes
        if change.kind != PARENT and not change.entry.is_dir
    )}
    for path, extra in base.items():
        above = path if extra.sparse else b''
        while above and above not in touched:
            above = above.rpartition(b'/')[0]
        if extra.sparse and not above:
            yield path


def with_holes(found: Extras, paths: Iterable[bytes]) -> Extras:
    """Return extras that say of these files as well that they have holes."""
    return {**found, **{
        path: found.get(path, Extra())._replace(sparse=True) for path in paths
    }}


def encode(
    extras: Extras, report: Callable[[bytes, str], None]
) -> str:
    """Return the label of extras, the same for the same extras.

    :param report: called with what has no room, and why
    """
    texts: List[str] = []
    room = LABEL_LIMIT
    for path, extra in sorted(
        extras.items(), key=lambda item: (item[1] == Extra(sparse=True), item[0])
    ):
        text = f'{json.dumps(_text(path))}:{json.dumps(_document(extra))}'
        if len(text) >= room:
            report(path, f'its {_what(extra)} would make a label too long')
            continue
        texts.append(text)
        room -= len(text) + 1
    return '{' + ','.join(texts) + '}'


def _what(extra: Extra) -> str:
    return ', '.join(word for word, there in (
        ('time', extra.mtime is not None),
        ('extended attributes', extra.xattrs), ('holes', extra.sparse)
    ) if there)


def _document(extra: Extra) -> Dict[str, Any]:
    document: Dict[str, Any] = {}
    if extra.mtime is not None:
        document['mtime'] = extra.mtime
    if extra.xattrs:
        document['xattrs'] = {
            _text(os.fsencode(key)): base64.b64encode(value).decode('ascii')
            for key, value in extra.xattrs
        }
    if extra.sparse:
        document['sparse'] = True
    return document


def decode(label: str) -> Extras:
    """Return the extras of a label, none for one that is not ours.

    An image may come from a stranger: all paths lead into the tree.
    """
    return _decode(label) or {}


def is_sound(label: str) -> bool:
    """Tell whether a label can be one of ours."""
    return _decode(label) is not None


def _decode(label: str) -> Optional[Extras]:
    try:
        document = json.loads(label) if label else {}
        found = {
            _bytes(path): Extra(
                _number(told.get('mtime')),
                tuple(
                    (os.fsdecode(_bytes(key)), base64.b64decode(value, validate=True))
                    for key, value in told.get('xattrs', {}).items()
                ),
                told.get('sparse') is True
            ) for path, told in document.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return found if all(_is_sound(*item) for item in found.items()) else None


def _number(value: Any) -> Optional[int]:
    if value is not None and type(value) is not int:
        raise TypeError
    return value


def _is_sound(path: bytes, extra: Extra) -> bool:
    return (
        path == ROOT or not {b'', b'.', b'..'} & set(path.split(b'/'))
    ) and b'\0' not in path and not any(
        not key or '\0' in key for key, _ in extra.xattrs
    ) and abs(extra.mtime or 0) < 2**80


def _text(path: bytes) -> str:
    # not os.fsdecode: the label must not depend on the locale
    return path.decode('utf-8', 'surrogateescape')


def _bytes(text: str) -> bytes:
    return text.encode('utf-8', 'surrogateescape')


def amend(entries: Iterable[Entry], extras: Extras) -> Iterator[Entry]:
    """Pass on the entries of a stored image as they were in its tree."""
    for entry in entries:
        extra = extras.get(entry.path)
        yield entry if extra is None else _amended(entry, extra)


def read_entry(fd: int, path: bytes, extras: Extras) -> Optional[Entry]:
    """Return an entry of a stored image, as it was in its tree."""
    with closing(TreeReader(fd)) as reader:
        found = reader.entry(path)
    return None if found is None else next(amend([found], extras))


def _amended(entry: Entry, extra: Extra) -> Entry:
    if extra.mtime is not None:
        entry = entry._replace(stat=entry.stat._replace(st_mtime_ns=extra.mtime))
    if extra.xattrs:
        values = {**dict(extra.xattrs), **dict(entry.xattrs)}
        entry = entry._replace(xattrs=tuple(sorted(
            values.items(), key=lambda pair: os.fsencode(pair[0])
        )))
    return entry
