# SPDX-License-Identifier: GPL-3.0-or-later
"""Root trees about to be read: which are refused, what is left out of them."""
from __future__ import annotations

import logging
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, List, Set, Tuple

import pytest
from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.errors import KiwiStashNotStorable, KiwiStashRootInvalid
from kiwi_stackbuild_plugin.stash.source import open_root, report_findings
from trees import make_root
from zoo import write

Findings = List[Tuple[bytes, str]]


def read(root: Path, findings: Findings) -> Set[str]:
    """Return the paths that a stash of a root takes."""
    with open_root(str(root)) as tree:
        return {os.fsdecode(entry.path) for entry in tree.entries(findings, lambda: 4096)}


def open_descriptors() -> Set[str]:
    return set(os.listdir('/proc/self/fd'))


@pytest.mark.parametrize('sign', ['image', 'etc', 'usr', 'bin'])
def test_one_sign_is_enough(tmp_path: Path, sign: str) -> None:
    """A tree of an early stage, or of a container, need not have all."""
    (tmp_path / sign).mkdir()
    assert read(tmp_path, []) == {sign}


def test_merged_usr_is_a_sign(tmp_path: Path) -> None:
    (tmp_path / 'bin').symlink_to('usr/bin')
    assert read(tmp_path, []) == {'bin'}


def link_image(root: Path) -> None:
    (root / 'etc').mkdir()
    (root / 'image').symlink_to('etc')


def link_lost(root: Path) -> None:
    (root / 'image').symlink_to('/nowhere')


def file_image(root: Path) -> None:
    write(root / 'image', b'')


def remove(root: Path) -> None:
    root.rmdir()


def replace_by_file(root: Path) -> None:
    root.rmdir()
    root.touch()


def only_home(root: Path) -> None:
    write(root / 'home/me/etc/passwd', b'')


@pytest.mark.parametrize(('make', 'says'), [
    (remove, 'No such file'), (replace_by_file, 'Not a directory'),
    (only_home, 'is not a root tree: none of image, etc, usr, bin is in it'),
    (link_image, 'image is a link or file'), (link_lost, 'image is a link or file'),
    (file_image, 'image is a link or file')
])
def test_what_is_no_root_tree(tmp_path: Path, make: Any, says: str) -> None:
    root = tmp_path / 'a\x1b\nb'
    root.mkdir()
    make(root)
    before = open_descriptors()
    with pytest.raises(KiwiStashRootInvalid) as raised, open_root(str(root)):
        pass
    assert says in raised.value.summary and raised.value.summary.isprintable()
    assert open_descriptors() == before


@pytest.mark.parametrize('path', ['/', '//', '/proc/self/root', '/proc/../', '/./'])
def test_root_of_this_machine_is_refused(path: str) -> None:
    with pytest.raises(KiwiStashRootInvalid, match='is the root of this machine'), open_root(path):
        pass


def test_link_to_a_root_and_a_place_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_root(tmp_path / 'root')
    (tmp_path / 'link').symlink_to('root')
    monkeypatch.chdir(tmp_path)
    for path in ('link', 'root/', './root/../root'):
        with open_root(path) as tree:
            assert os.path.samestat(os.fstat(tree.fd), os.stat('root'))
            assert tree.path == os.path.abspath(path)
    with pytest.raises(KiwiStashRootInvalid, match='--root: the directory name is empty'), \
            open_root(''):
        pass


def test_descriptor_lasts_as_long_as_the_block(tmp_path: Path) -> None:
    make_root(tmp_path / 'root')
    before = open_descriptors()
    with pytest.raises(ZeroDivisionError), open_root(str(tmp_path / 'root')):
        raise ZeroDivisionError
    assert open_descriptors() == before


def test_what_is_made_at_run_time_is_left_out_and_what_is_needed_stays(tmp_path: Path) -> None:
    root = make_root(tmp_path / 'root')
    for name in ('proc/1', 'sys/x', 'dev/null', 'run/kept', 'tmp/kept', 'image/x', '.kconfig'):
        write(root / name, b'')
    found = read(root, [])
    assert found >= {
        'proc', 'sys', 'dev', 'run/kept', 'tmp/kept', 'image/x', '.profile', '.kconfig',
        'image/config.xml', 'etc/hostname'
    }
    assert not found & {'proc/1', 'sys/x', 'dev/null'}


def test_record_of_the_base_is_left_out(tmp_path: Path) -> None:
    """It says where the tree came from, and is no part of it."""
    root = make_root(tmp_path / 'root')
    write(root / 'image/stash.json', b'{}')
    assert 'image/stash.json' not in read(root, [])


@pytest.mark.parametrize(('data', 'gone', 'says'), [
    (b'exclude: [etc/hostname, image, .profile]', {'etc/hostname'}, ''),
    (b'- etc', set(), 'passed over: '), (b'exclude: [5]', set(), 'passed over: ')
])
def test_exclude_file_of_the_tree(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, gone: Set[str], says: str
) -> None:
    """A list that is none must not keep a finished tree from its stash."""
    root = make_root(tmp_path / 'root')
    everything = read(root, [])
    write(root / 'image/exclude_files.yaml', data)
    if not hasattr(Defaults, 'get_exclude_list_from_custom_exclude_files'):
        gone, says = set(), ''
    with caplog.at_level(logging.WARNING, 'kiwi'):
        assert read(root, []) == (everything | {'image/exclude_files.yaml'}) - gone
    assert says in caplog.text and bool(says) == bool(caplog.text)


def test_mounted_file_system_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_root(tmp_path / 'root')
    mounted = root / 'etc/a b\x1b'
    mounted.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', mounted], check=True)
    try:
        write(mounted / 'file', b'x')
        with caplog.at_level(logging.WARNING, 'kiwi'):
            found = read(root, [])
    finally:
        subprocess.run(['umount', mounted], check=True)
    assert 'etc/a b\x1b' in found and 'etc/a b\x1b/file' not in found
    assert caplog.records[-1].getMessage() == \
        'mounted below the root tree, contents left out: etc/a b\\x1b'


def test_what_no_layer_holds_is_found(tmp_path: Path) -> None:
    root = make_root(tmp_path / 'root')
    write(root / 'etc/.wh.x', b'')
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / 'etc/s'))
    findings: Findings = []
    assert not read(root, findings) & {'etc/.wh.x', 'etc/s'}
    assert [path for path, _ in findings] == [b'etc/.wh.x', b'etc/s']


@pytest.mark.parametrize(('count', 'strict'), [
    (0, True), (0, False), (3, False), (3, True), (12, True)
])
def test_findings_are_named(
    caplog: pytest.LogCaptureFixture, count: int, strict: bool
) -> None:
    findings = [(b'a\n%d\xff' % number, 'a socket') for number in range(count)]
    with caplog.at_level(logging.WARNING, 'kiwi'):
        if strict and count:
            with pytest.raises(KiwiStashNotStorable) as raised:
                report_findings(findings, strict)
            assert raised.value.summary.startswith(
                f'{count} entries that no layer can hold: a\\n0\\xff, a\\n1\\xff, '
            )
            assert raised.value.summary.count('xff') == min(count, 10)
        else:
            report_findings(findings, strict)
    assert [record.getMessage() for record in caplog.records] == [
        f'left out: a\\n{number}\\xff: a socket' for number in range(count)
    ]
