# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries of a tree a stash takes: exclusions, mounts, what tar can hold."""
from __future__ import annotations

import os
import re
import stat
from typing import Callable, Iterable, Iterator, List, Optional, Set, Tuple

from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.scan import Exclusion

#: no storage is so deep down that it cannot unpack a path of so many bytes
_SAFE_LENGTH = 2048


def make_exclusion(
    patterns: Iterable[str], contents: Iterable[bytes] = (),
    kept: Iterable[bytes] = ()
) -> Exclusion:
    """Turn patterns into an exclusion, as rsync takes '/pattern' of kiwi's.

    Each is a path from the root. '*', '?' and '[...]' match no slash, '**' does;
    a slash at the end means directories only, and '/***' a directory with all in
    it; a backslash makes the next character plain, if there is a wildcard.
    Source: rsync(1), "PATTERN MATCHING RULES"; rsync 3.2, exclude.c, wildmatch.c.

    :param contents: further directories whose contents are left out
    :param kept: paths that no pattern leaves out, with all below them
    """
    keep = b'|'.join(map(re.escape, kept))
    paths: Set[bytes] = set()
    expressions: List[bytes] = []
    for text in patterns:
        pattern = os.fsencode(text.lstrip('/'))
        is_plain = not re.search(rb'[*?[]|/\Z', pattern)
        if is_plain and not (keep and re.match(rb'(?:%b)(?:/|\Z)' % keep, pattern)):
            paths.add(pattern)
        elif not is_plain:
            expression = _whole_expression(pattern, len(expressions))
            expressions += [] if expression is None else [expression]
    guard = rb'(?!(?:%b)(?:/|\Z))' % keep if keep else b''
    return Exclusion(
        frozenset(paths - {b''}), frozenset(contents), re.compile(
            guard + rb'(?:%b)' % b'|'.join(expressions), re.DOTALL
        ) if expressions else None
    )


def directories_of(patterns: Iterable[str]) -> Optional[Set[bytes]]:
    """Return the directories such that all that patterns match is a name in one of them.

    :param patterns: as make_exclusion takes them
    :returns: None where one may match elsewhere as well
    """
    found: Set[bytes] = set()
    for text in patterns:
        parent, _, name = os.fsencode(text.lstrip('/')).rstrip(b'/').rpartition(b'/')
        if re.search(rb'[*?[\\]', parent) or b'**' in name or b'\\' in name:
            return None
        found.add(parent)
    return found


def _whole_expression(pattern: bytes, number: int) -> Optional[bytes]:
    """Return an expression as tree.Exclusion has it, None if nothing matches.

    :param number: no other expression has it
    """
    only_directories = pattern.endswith(b'/')
    if only_directories:
        pattern = pattern[:-1]
    is_wild = re.search(rb'[*?[]', pattern) is not None
    expression = _expression(pattern, number) if is_wild else re.escape(pattern)
    if expression is None or not pattern:
        return None
    if is_wild and pattern.endswith(b'***'):
        # a directory's own slash counts
        return expression + (rb'(?<=/)\Z' if only_directories else rb'\Z')
    return expression + rb'(?<!/)' + (rb'/\Z' if only_directories else rb'/?\Z')


def _expression(pattern: bytes, number: int) -> Optional[bytes]:
    #: what is between the stars; True for a star that matches slashes too
    pieces: List[bytes] = [b'']
    stars: List[bool] = []
    at = 0
    while at < len(pattern):
        char = pattern[at:at + 1]
        if char == b'*':
            found = re.compile(rb'\*+').match(pattern, at)
            assert found
            stars.append(len(found[0]) > 1)
            pieces.append(b'')
            at = found.end()
        elif char == b'[':
            listed = _read_class(pattern, at + 1)
            if listed is None:
                return None
            members, at = listed
            pieces[-1] += rb'[%b]' % b''.join(
                rb'\x%02x' % member for member in sorted(members)
            ) if members else rb'(?!)'
        else:
            if char == b'\\':
                at += 1
                char = pattern[at:at + 1]
                if not char:
                    return None
                pieces[-1] += re.escape(char)
            else:
                pieces[-1] += rb'[^/]' if char == b'?' else re.escape(char)
            at += 1
    return _join_pieces(pieces, stars, b'star%d_' % number)


def _join_pieces(pieces: List[bytes], stars: List[bool], name: bytes) -> bytes:
    """Return an expression that takes no time beyond all measure to fail.

    A star takes as little as it can, and never more later: what comes behind it has
    the most to choose from then. Behind one that matches slashes that holds for all
    up to the next such one. The last star has to reach the end.

    :param pieces: one more than there are stars
    :param stars: True for one that matches slashes too
    :param name: begins the names of groups
    """
    expression, at, last = pieces[0], 0, len(stars) - 1
    while at < last:
        here, part, at = at, pieces[at + 1], at + 1
        if stars[here]:
            while at < last and not stars[at]:
                part, at = part + _least(rb'[^/]*?', pieces[at + 1], b'%b%d' % (name, at)), at + 1
            if not stars[at]:
                expression += rb'.*' + part
                break
        expression += _least(rb'.*?' if stars[here] else rb'[^/]*?', part, b'%b%d' % (name, here))
    return expression + ((rb'.*' if stars[-1] else rb'[^/]*') + pieces[-1] if stars else b'')


def _least(star: bytes, part: bytes, name: bytes) -> bytes:
    """Match the least that there is, and nothing else (Python 3.11 has (?>...))."""
    return rb'(?=(?P<%b>%b%b))(?P=%b)' % (name, star, part, name)


_CLASSES = {
    b'alnum': rb'[0-9A-Za-z]', b'alpha': rb'[A-Za-z]', b'blank': rb'[ \t]',
    b'cntrl': rb'[\x00-\x1f\x7f]', b'digit': rb'[0-9]', b'graph': rb'[!-~]',
    b'lower': rb'[a-z]', b'print': rb'[ -~]', b'punct': rb'[!-/:-@\[-`{-~]',
    b'space': rb'[ \t-\r]', b'upper': rb'[A-Z]', b'xdigit': rb'[0-9A-Fa-f]'
}


def _read_class(pattern: bytes, at: int) -> Optional[Tuple[Set[int], int]]:
    """Read what follows a '['; return the bytes it matches, and where it ends.

    None for one that does not end: it matches nothing.
    """
    negated = pattern[at:at + 1] in (b'!', b'^')
    at += negated
    start, members, last = at, set(), 0
    while at == start or pattern[at:at + 1] != b']':
        named = re.compile(rb'\[:([^\]]*):\]').match(pattern, at)
        ranged = re.compile(rb'-(\\?)(.)', re.DOTALL).match(pattern, at) if last else None
        if ranged and (ranged[1] or ranged[2] != b']'):
            members |= set(range(last, ranged[2][0] + 1))
            at, last = ranged.end(), 0
        elif named:
            if named[1] not in _CLASSES:
                return None
            members |= {
                byte for byte in range(256) if re.match(_CLASSES[named[1]], bytes([byte]))
            }
            at, last = named.end(), 0
        else:
            at += pattern[at:at + 1] == b'\\'
            if at >= len(pattern):
                return None
            last = pattern[at]
            members.add(last)
            at += 1
    return (set(range(256)) - members if negated else members) - {ord('/')}, at + 1


def storable(
    entries: Iterable[Entry], report: Callable[[bytes, str], None],
    longest_path: Callable[[], int]
) -> Iterator[Entry]:
    """Pass on what a layer can hold; report and drop the rest.

    :param longest_path: says what the storage can unpack; asked only if need be
    :param report: called with the path and the reason of each that is dropped
    """
    dropped = None
    limit = 0
    for entry in entries:
        if dropped is not None and entry.path.startswith(dropped):
            continue
        reason = _not_storable(entry)
        if reason is None and len(entry.path) > _SAFE_LENGTH:
            limit = limit or longest_path()
            reason = _too_long(entry, limit)
        if reason is None:
            yield entry
            continue
        report(entry.path, reason)
        dropped = entry.path + b'/' if entry.is_dir else None


def _not_storable(entry: Entry) -> Optional[str]:
    mode = entry.stat.st_mode
    if stat.S_ISSOCK(mode):
        return 'a socket'
    if b'.wh.' in entry.path and entry.path.rsplit(b'/', 1)[-1].startswith(b'.wh.'):
        return 'the name means a deletion in a layer'
    if stat.S_ISCHR(mode) and entry.stat.st_rdev == 0:
        return 'a device 0:0 means a deletion in the storage'
    return None


def _too_long(entry: Entry, limit: int) -> Optional[str]:
    if len(entry.path) <= limit:
        return None
    return f'the path has {len(entry.path)} bytes, the storage takes {limit}'
