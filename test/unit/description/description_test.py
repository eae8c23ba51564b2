# SPDX-License-Identifier: GPL-3.0-or-later
"""What a root tree says of how it was built, read as a stranger's word."""
from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from in_time import within

from kiwi_stackbuild_plugin.description import description as module
from kiwi_stackbuild_plugin.description.description import (
    BASE_FILES, EXCLUDE_FILES, RootDescription, copy_description, digest_directory, load_stashed,
    parse_profile, parse_xml, read_excludes, read_file, read_root_description
)
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.description.extended import Extended
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, KiwiStashRootInvalid
)
from kiwi_stackbuild_plugin.tree.opening import open_tree
from trees import CONFIG, describe, make_root
from zoo import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / 'root')


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    """Give the tree, in which nothing changes and of which nothing stays open."""
    fd = open_tree(str(root))
    before = len(os.listdir('/proc/self/fd'))
    yield fd
    assert len(os.listdir('/proc/self/fd')) == before
    os.close(fd)


def test_what_a_tree_says(root: Path, root_fd: int) -> None:
    (root / '.profile').write_text("kiwi_profiles='a,b'\nkiwi_type='oem'\n")
    found = read_root_description(root_fd)
    assert found == RootDescription(
        'small', 'Test Author', 'apt', 'a,b', 'oem', digest_directory(root_fd, b'image')
    )


def test_what_a_tree_does_not_say(root: Path, root_fd: int) -> None:
    (root / 'image/config.xml').write_text('<image/>')
    (root / '.profile').unlink()
    assert read_root_description(root_fd) == RootDescription(
        digest=digest_directory(root_fd, b'image')
    )
    (root / 'image/config.xml').unlink()
    assert read_root_description(root_fd) is None
    (root / 'image').rmdir()
    assert read_root_description(root_fd) is None


@pytest.mark.parametrize(('text', 'named'), [
    ('<repository customize="fix.sh"/>', ["'fix.sh' (repository customize) beside"]),
    ('<repository customize="there.sh"/>', []),
    ('<repository customize="link.sh/x"/>', ["'link.sh/x' (repository customize)"]),
    ('<repository profiles="no" customize="fix.sh"/>', []),
    ('<repository><source path="this://repo"/></repository>', ["'repo' (source path) beside"]),
    ('<repository><source path="dir:///srv/repo"/></repository>',
     ["'/srv/repo' (source path) of this machine"]),
    ('<packages type="image"><archive name="../common/there.sh"/></packages>', []),
    ('<packages type="image"><archive name="x.tar"/></packages>', ["'x.tar' (archive name)"]),
    ('<repository><source path="http://h/r"/></repository>', []),
])
def test_what_a_stash_will_not_have_is_named(
    root: Path, root_fd: int, text: str, named: List[str]
) -> None:
    (root / 'image/config.xml').write_text(f'<image name="a">{text}</image>')
    (root / 'image/there.sh').write_text('')
    (root / 'image/link.sh').symlink_to('/usr/bin')
    found = read_root_description(root_fd)
    assert found is not None and len(found.elsewhere) == len(named)
    for line, start in zip(found.elsewhere, named):
        assert line.startswith(start)


def make_odd(path: Path, kind: str) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    {
        'link': lambda: path.symlink_to('/etc/passwd'), 'fifo': lambda: os.mkfifo(path),
        'directory': path.mkdir,
        'huge': lambda: os.truncate(write(path, b''), module.SIZE_LIMIT + 1),
        'device': lambda: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    }[kind]()


@pytest.mark.parametrize(('kind', 'told'), [
    ('link', 'is not read: a link'), ('fifo', 'no regular file'), ('directory', 'no regular file'),
    ('huge', 'at most'), ('device', 'no regular file')
])
@pytest.mark.parametrize('name', ['image/config.xml', '.profile'])
def test_what_is_no_small_file_is_refused(
    root: Path, root_fd: int, name: str, kind: str, told: str
) -> None:
    make_odd(root / name, kind)
    with pytest.raises(KiwiStashRootInvalid, match=f"root tree: '{name}'.* {told}"):
        read_root_description(root_fd)


def test_files_of_a_tree(root: Path, root_fd: int) -> None:
    write(root / 'large', bytes(module.SIZE_LIMIT))
    assert read_file(root_fd, b'large') == bytes(module.SIZE_LIMIT)
    assert read_file(root_fd, b'no') is read_file(root_fd, b'no/such') is None
    for path in (b'etc/hostname/x', b'../root/etc/hostname', b'/etc/hostname'):
        with pytest.raises(KiwiStashRootInvalid):
            read_file(root_fd, path)
    (root / 'image/config.xml').unlink()
    (root / 'image').rmdir()
    (root / 'image').symlink_to('etc')
    with pytest.raises(KiwiStashRootInvalid, match='a link or another'):
        read_file(root_fd, b'image/hostname')


@pytest.mark.parametrize(('data', 'told'), [
    (b'', 'cannot be read as XML'), (b'<image>', 'cannot be read as XML'),
    (b'\xff\xfe', 'cannot be read as XML'), (b'<image>\xff</image>', 'cannot be read as XML'),
    (b'<!DOCTYPE image><image/>', 'DOCTYPE'),
    (b'<!DOCTYPE image SYSTEM "http://nowhere.invalid/x"><image/>', 'DOCTYPE'),
    (b'<!DOCTYPE image [<!ENTITY e SYSTEM "file:///etc/passwd">]><image>&e;</image>', 'DOCTYPE'),
    (b'<!DOCTYPE a [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><a>&b;</a>', 'DOCTYPE'),
    (b'<image>&e;</image>', 'cannot be read as XML'), (b'<a>' * 1000, 'cannot be read as XML'),
])
def test_xml_of_a_stranger(data: bytes, told: str) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid, match=r'^here: ') as issue:
        parse_xml(data, 'here')
    assert told in f'{issue.value}'


def test_xml_of_any_encoding() -> None:
    for encoding in ('utf-8', 'utf-16', 'iso-8859-1'):
        text = f'<?xml version="1.0" encoding="{encoding}"?><image name="ä"/>'
        assert parse_xml(text.encode(encoding), 'x').get('name') == 'ä'


@pytest.mark.parametrize(('line', 'value'), [
    ("a='b c'", 'b c'), ('a="b"', 'b'), ('a=b', 'b'), ('a=', ''), ("a=''", ''), ('a=b c', None),
    ('a=$(id)', None), ("a='$HOME'", None), ('a=`id`', None), ("a='", None), (' a=b', None),
    ('export a=b', None), ('a-b=c', None), ('a', None), ('', None), ('a=b=c', 'b=c'),
    ('a=x\na=y', 'y'), ('a=b\r', 'b'), ('a=\xe4', 'ä'), ("a='x'y", 'xy'), ('a=b;id', 'b;id'),
])
def test_profile_is_read_and_not_run(line: str, value: Any) -> None:
    assert parse_profile(line.encode()).get('a') == value


@pytest.mark.parametrize('line', ["b='{}'\n", 'b={}\n', "b='{}\n", '{}=\n'])
@pytest.mark.parametrize('length', [8000, 8_000_000])
def test_profile_of_any_length(line: str, length: int) -> None:
    text = line.format('x' * length) * (8_000_000 // length)
    with within(10):
        assert parse_profile(f'a=b\n{text}'.encode())['a'] == 'b'


@pytest.mark.parametrize(('change', 'differs'), [
    (lambda image: write(image / 'new', b''), True),
    (lambda image: (image / 'd/x').rename(image / 'd/y'), True),
    (lambda image: (image / 'd/x').write_text('else'), True),
    (lambda image: (image / 'e').mkdir(), True),
    (lambda image: (image / 'd/x').chmod(0o700), False),
    (lambda image: os.utime(image / 'd/x', (1, 1)), False),
    *((lambda image, name=name: write(image / name.decode()[6:], b'x'), False)
      for name in BASE_FILES)
])
def test_digest_is_that_of_names_and_contents(
    root: Path, root_fd: int, change: Callable[[Path], Any], differs: bool
) -> None:
    write(root / 'image/d/x', b'text')
    before = digest_directory(root_fd, b'image')
    assert before == digest_directory(root_fd, b'image') and before.startswith('sha256:')
    change(root / 'image')
    assert (digest_directory(root_fd, b'image') != before) is differs


def test_a_copy_has_plain_files_only(
    root: Path, root_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger('kiwi'), 'propagate', True)
    for name, mode in (('config.sh', 0o755), ('d/e/x', 0o4711), ('\udcff', 0o600)):
        write(root / 'image' / name, name.encode('utf-8', 'surrogateescape')).chmod(mode)
    for name in BASE_FILES:
        write(root / name.decode(), b'not taken')
    (root / 'image/li\nnk').symlink_to('/etc/passwd')
    (root / 'image/dir').symlink_to('/etc')
    os.mkfifo(root / 'image/d/fifo')
    before = describe(root)
    copy_description(root_fd, str(tmp_path / 'copy'))
    assert describe(root) == before
    found: Dict[bytes, int] = {
        path: entry[1] for path, entry in describe(tmp_path / 'copy').items()
        if stat.S_ISREG(entry[0])
    }
    assert found == {
        b'config.xml': 0o644, b'config.sh': 0o755, b'd/e/x': 0o711, b'\xff': 0o600
    }
    assert (tmp_path / 'copy/d/e/x').read_bytes() == b'd/e/x'
    assert sorted(entry.getMessage().partition('image/')[2] for entry in caplog.records) == [
        'd/fifo', 'dir', 'li\\nnk'
    ]


@pytest.mark.parametrize(('text', 'told'), [
    (None, 'no image/config.xml in the stash'), ('<image', 'of the stash: cannot be read as XML'),
    ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', 'type declaration'),
])
def test_a_description_that_reaches_out_is_not_copied(
    root: Path, root_fd: int, tmp_path: Path, text: Any, told: str
) -> None:
    (root / 'image/config.xml').unlink()
    if text:
        (root / 'image/config.xml').write_text(text)
    with pytest.raises(KiwiStashDescriptionInvalid, match=told):
        copy_description(root_fd, str(tmp_path / 'copy'))
    assert os.listdir(tmp_path / 'copy') == []


def test_kiwi_reads_a_copied_description(tmp_path: Path) -> None:
    (tmp_path / 'config.xml').write_text(CONFIG.format(name='x', schema='7.4'))
    state, image = load_stashed(str(tmp_path), None, None)
    assert state.get_build_type_name() == 'tbz' and state.xml_data.get_name() == 'x'
    assert image.get('schemaversion') == schema_version(), 'that of the kiwi that runs'


@pytest.mark.parametrize(('new', 'told'), [
    ('<include from="file:///etc/passwd"/><packages', '<include> of'),
    ('<a/>&e;<packages', 'cannot be read as XML')
])
def test_kiwi_does_not_get_what_reaches_out(tmp_path: Path, new: str, told: str) -> None:
    text = CONFIG.format(name='x', schema='7.4').replace('<packages', new)
    (tmp_path / 'config.xml').write_text(text)
    with pytest.raises(KiwiStashDescriptionInvalid, match=told):
        load_stashed(str(tmp_path), None, None)


def excludes(tree: Path, data: bytes) -> List[str]:
    """Return what a tree with such a file leaves out."""
    (tree / 'image').mkdir(exist_ok=True)
    (tree / 'image/exclude_files.yaml').write_bytes(data)
    fd = os.open(tree, os.O_RDONLY)
    try:
        return read_excludes(fd, EXCLUDE_FILES[0])
    finally:
        os.close(fd)


@pytest.mark.parametrize(('data', 'patterns'), [
    (b'exclude:\n  - /usr/share/*.txt\n  - boot\n', ['usr/share/*.txt', 'boot']),
    (b'exclude: []', []), (b'exclude:', []), (b'exclude: usr', []), (b'other: 1', []),
    ('exclude: ["ä"]'.encode(), ['ä'])
])
def test_exclude_file(tmp_path: Path, data: bytes, patterns: List[str]) -> None:
    assert excludes(tmp_path, data) == patterns


LAUGHS = b'a: &a {k: v}\n' + b''.join(
    b'%c: &%c {<<: [*%c, *%c]}\n' % (name, name, name - 1, name - 1) for name in range(98, 123)
)


@pytest.mark.parametrize('data', [
    b'', b'{', b'- usr', b'usr', b'5', b'exclude: [5]', b'exclude: [[usr]]', b'exclude: [null]',
    b'exclude: [{a: b}]', b'exclude: ["a\\0b"]', b'exclude: [2001-01-01]', b'exclude: ["\xff"]',
    b'\xff\xfee\0', b'!!python/object/apply:os.system ["false"]', b'exclude: !!int ""',
    b'exclude: [!!timestamp x]', b'exclude: [!!bool x]', b'exclude: [!unknown x]', LAUGHS,
    b'exclude: &a [*a]', b'? [a]\n: b', b'[' * 100_000, b'exclude: [' + b'9' * 5000 + b']',
    b'#' * 300_000, b'--- {}\n--- {}', b'exclude: [!!float x]', b'!!set {a, b}'
], ids=lambda data: ascii(data[:30]))
def test_exclude_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KiwiStashDescriptionInvalid, match=r'exclude_files\.yaml: not a list'):
        excludes(tmp_path, data)


def test_difference_of_any_length() -> None:
    stashed = [f'<!-- {number % 150} -->' for number in range(100_000)]
    found = Extended(
        '', '', '\n'.join(stashed), '\n'.join([*stashed[:50_000], 'new', *stashed[50_000:]]),
        (), (), (), {}, False, ()
    )
    with within(5):
        assert found.difference() == '100000 and 100001 lines: too many to be compared'
