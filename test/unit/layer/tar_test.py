# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers that we pack, read back by Python's tarfile."""
from __future__ import annotations

import io
import os
import stat
import tarfile
from decimal import Decimal
from typing import Any, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_stackbuild_plugin.layer.extras import can_carry
from kiwi_stackbuild_plugin.layer.tar import BLOCK, END, pack_entry, pack_whiteout, padding
from kiwi_stackbuild_plugin.tree.entry import Entry, Status

SECOND = 10**9


def make_entry(
    path: bytes = b'name', mode: int = stat.S_IFREG | 0o644, uid: int = 0,
    gid: int = 0, size: int = 0, mtime: int = 0, rdev: int = 0,
    xattrs: Tuple[Tuple[str, bytes], ...] = (), target: bytes = b''
) -> Entry:
    status = os.stat_result((mode, 1, 1, 1, uid, gid, size, 0, 0, 0), {
        'st_mtime_ns': mtime, 'st_rdev': rdev
    })
    return Entry(path, Status.of(status), xattrs, target)


def read(header: bytes) -> tarfile.TarInfo:
    assert len(header) % BLOCK == 0
    with tarfile.open(
        fileobj=io.BytesIO(header + END), encoding='utf-8',
        errors='surrogateescape', errorlevel=2
    ) as archive:
        members = archive.getmembers()
        assert len(members) == 1
        return members[0]


def mtime_of(member: tarfile.TarInfo) -> int:
    return int(Decimal(member.pax_headers.get('mtime', str(int(member.mtime)))) * SECOND)


NAMES = [
    b'a', b'a' * 99, b'a' * 100, b'a' * 101, b'd/' * 49 + b'ab', b'a' * 255,
    b'line\nfeed', b'a=b', 'ünï'.encode(), ('ü' * 50).encode(), b'\xff',
    b'\xff' * 255, b'\xc3', b'x/' * 2047 + b'y', b'9 path=evil\n', b' ', b'..x'
]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', [stat.S_IFREG, stat.S_IFDIR])
def test_names(name: bytes, kind: int) -> None:
    member = read(pack_entry(make_entry(name, kind | 0o755)))
    assert os.fsencode(member.name) == name
    assert member.isdir() == (kind == stat.S_IFDIR)


@pytest.mark.parametrize('name', NAMES)
def test_link_targets(name: bytes) -> None:
    symlink = make_entry(b'link', stat.S_IFLNK | 0o777, target=name)
    assert os.fsencode(read(pack_entry(symlink)).linkname) == name
    hard = read(pack_entry(make_entry(b'hard', size=700), name))
    assert (hard.islnk(), os.fsencode(hard.linkname), hard.size) == (True, name, 0)


@pytest.mark.parametrize('name', NAMES)
def test_whiteouts(name: bytes) -> None:
    folder, slash, last = name.rpartition(b'/')
    member = read(pack_whiteout(name, 5))
    assert os.fsencode(member.name) == folder + slash + b'.wh.' + last
    assert (member.size, member.isreg(), member.mtime) == (0, True, 5)


@pytest.mark.parametrize('name, needed', [
    (b'\xff', True), ('ü'.encode(), False), (b'a' * 300, False)
])
def test_names_that_are_no_text_are_marked(name: bytes, needed: bool) -> None:
    """POSIX wants UTF-8 in records, unless hdrcharset says otherwise."""
    assert (b'21 hdrcharset=BINARY\n' in pack_entry(make_entry(name))) is needed


def test_binary_attributes_are_no_reason_for_the_mark() -> None:
    assert b'hdrcharset' not in pack_entry(make_entry(xattrs=(('user.a', b'\xff'),)))
    assert b'hdrcharset' in pack_entry(make_entry(xattrs=(('user.\udcff', b'1'),)))


def test_short_plain_entries_need_no_record() -> None:
    assert len(pack_entry(make_entry(b'a' * 100, mtime=5 * SECOND))) == BLOCK
    assert len(pack_entry(make_entry(uid=0o7777777, size=0o77777777777))) == BLOCK
    assert len(pack_whiteout(b'a' * 96)) == BLOCK


@pytest.mark.parametrize('number', [
    0, 1, 0o7777777, 0o7777777 + 1, 2**31, 2**32 - 2
])
def test_owners(number: int) -> None:
    member = read(pack_entry(make_entry(uid=number, gid=number)))
    assert (member.uid, member.gid) == (number, number)
    other = read(pack_entry(make_entry(uid=number, gid=3)))
    assert (other.uid, other.gid) == (number, 3)


@pytest.mark.parametrize('size', [0, 1, 0o77777777777, 0o77777777777 + 1, 2**50])
def test_sizes(size: int) -> None:
    with tarfile.open(
        fileobj=io.BytesIO(pack_entry(make_entry(size=size)))
    ) as archive:
        member = archive.next()
    assert member is not None and member.size == size


@pytest.mark.parametrize('moment', [
    0, 1, -1, SECOND, -SECOND, SECOND - 1, -SECOND - 1, SECOND // 10,
    0o77777777777 * SECOND, (0o77777777777 + 1) * SECOND, 2**33 * SECOND + 1,
    -2**31 * SECOND, -2**31 * SECOND + 1, 1_600_000_000_123_456_789
])
def test_times(moment: int) -> None:
    assert mtime_of(read(pack_entry(make_entry(mtime=moment)))) == moment


@pytest.mark.parametrize('kind, rdev, wanted', [
    (stat.S_IFCHR, os.makedev(1, 3), (1, 3)),
    (stat.S_IFBLK, os.makedev(259, 70000), (259, 70000)),
    (stat.S_IFIFO, 5, (0, 0)), (stat.S_IFREG, 5, (0, 0))
])
def test_devices(kind: int, rdev: int, wanted: Tuple[int, int]) -> None:
    member = read(pack_entry(make_entry(mode=kind | 0o600, rdev=rdev)))
    assert (member.devmajor, member.devminor) == wanted


@pytest.mark.parametrize('mode', [0, 0o644, 0o7777, 0o4755, 0o1777])
def test_modes(mode: int) -> None:
    member = read(pack_entry(make_entry(mode=stat.S_IFREG | mode)))
    assert (member.mode, member.isreg()) == (mode, True)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(min_size=1, max_size=300).filter(lambda name: not set(name) & {0, 47}),
    st.integers(-2**40, 2**63), st.integers(0, 2**32 - 2),
    st.dictionaries(
        st.text(
            st.characters(blacklist_characters='\0=', blacklist_categories=['Cs']),
            min_size=1, max_size=60
        ), st.binary(min_size=1, max_size=1100), max_size=3
    )
)
def test_any_entry(name: bytes, moment: int, owner: int, values: Any) -> None:
    """Records count their own length: all lengths come by here."""
    member = read(pack_entry(make_entry(
        name, uid=owner, gid=owner, mtime=moment,
        xattrs=tuple((f'user.{key}', value) for key, value in values.items())
    )))
    assert os.fsencode(member.name) == name
    assert (member.uid, member.gid, mtime_of(member)) == (owner, owner, moment)
    assert {
        key[len('SCHILY.xattr.user.'):]: value.encode('utf-8', 'surrogateescape')
        for key, value in member.pax_headers.items() if key.startswith('SCHILY.')
    } == values


@pytest.mark.parametrize('length', range(1, 120))
def test_record_lengths_count_themselves(length: int) -> None:
    value = b'v' * length
    member = read(pack_entry(make_entry(xattrs=(('user.a', value),))))
    assert member.pax_headers['SCHILY.xattr.user.a'] == value.decode()


@pytest.mark.parametrize('key, value, possible', [
    ('user.a', b'1', True), ('user.a', b'', False), ('user.a=b', b'1', False),
    ('user.a\nb', b'\n=\0', True)
])
def test_attributes_that_no_record_holds(key: str, value: bytes, possible: bool) -> None:
    assert can_carry(key, value) is possible
    header = pack_entry(make_entry(xattrs=((key, value),)))
    assert (b'SCHILY' in header) is possible
    assert read(header).name == 'name'


@pytest.mark.parametrize('size, wanted', [(0, 0), (1, 511), (511, 1), (512, 0)])
def test_padding(size: int, wanted: int) -> None:
    assert padding(size) == bytes(wanted)
