# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be read is not gone: an error of the disk, say, must not change a result.

Here it is the limit of open files. Each reader either fails, or keeps to the safe side.
"""
from __future__ import annotations

import errno
import logging
import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator

import pytest

from kiwi_stackbuild_plugin.graph.records import GraphRoot
from kiwi_stackbuild_plugin.host.errors import is_absent
from kiwi_stackbuild_plugin.host.workspace import IMAGE, Workspace
from kiwi_stackbuild_plugin.layer.extras import Extra
from kiwi_stackbuild_plugin.layer.restore import log, restore_extras
from kiwi_stackbuild_plugin.overlay.record import abandoned, read_record, write_record
from kiwi_stackbuild_plugin.stackbuild.conflicts import StackState
from kiwi_stackbuild_plugin.stash.base import imported_archive
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import TreeReader
from zoo import write

Act = Callable[[], object]


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let nothing be opened in a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fds = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/proc/self/fd'))), hard))
    try:
        # numbers that are free between those in use
        while True:
            try:
                fds.append(os.open('/', os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fds:
            os.close(fd)


def entry_of_a_tree(top: Path) -> Act:
    reader = TreeReader(open_tree(str(top)))
    return lambda: reader.entry(b'there/below')


def names_of_a_tree(top: Path) -> Act:
    reader = TreeReader(open_tree(str(top)))
    return lambda: reader.names(b'there')


def names_of_a_stack(top: Path) -> Act:
    state = StackState(TreeReader(open_tree(str(top))))
    return lambda: state.names(b'there')


def container_that_a_root_is_derived_from(top: Path) -> Act:
    fd = open_tree(str(top))

    def read() -> None:
        with imported_archive(fd):
            pass
    return read


def notes_of_a_workspace(top: Path) -> Act:
    space = Workspace(str(top))
    space.note(IMAGE, 'f' * 64)
    return space.open_notes


def record_of_an_overlay(top: Path) -> Act:
    (top / 'graph').mkdir()
    write_record(GraphRoot(str(top / 'graph'), 'overlay'), str(top), str(top / 'root'), ())
    return lambda: read_record(str(top))


@pytest.mark.parametrize('make', [
    entry_of_a_tree, names_of_a_tree, names_of_a_stack, container_that_a_root_is_derived_from,
    notes_of_a_workspace, record_of_an_overlay
])
def test_who_needs_to_know_fails(tmp_path: Path, make: Callable[[Path], Act]) -> None:
    write(tmp_path / 'there/below', b'')
    read = make(tmp_path)
    with no_more_files(), pytest.raises(OSError, match='Too many open files'):
        read()


def test_layers_below_a_root_that_cannot_be_looked_at_are_held(tmp_path: Path) -> None:
    graph = GraphRoot(str(tmp_path / 'graph'), 'overlay')
    (tmp_path / 'graph').mkdir()
    (tmp_path / 'root.overlay').mkdir()
    record = write_record(graph, str(tmp_path / 'root.overlay'), str(tmp_path / 'root'), ())
    # a storage that was copied has links of its own
    anchor = tmp_path / 'graph/kiwi-stackbuild/overlays' / record.name
    data = anchor.read_bytes()
    anchor.unlink()
    anchor.write_bytes(data)
    names = os.listdir(anchor.parent)
    with no_more_files(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'listdir', lambda path: names)
        assert abandoned(graph) == []
    assert abandoned(graph) == []
    (tmp_path / 'root.overlay/layers.json').unlink()
    assert abandoned(graph) == [record.name]


def test_what_is_not_restored_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / 'there/below', b'')
    fd = open_tree(str(tmp_path))
    monkeypatch.setattr(log, 'propagate', True)
    with caplog.at_level(logging.WARNING), no_more_files():
        restore_extras(fd, {b'there/below': Extra(mtime=1), b'gone/below': Extra(mtime=1)})
    assert [one.getMessage() for one in caplog.records] == [
        f'{name}/below: not all of it restored: Too many open files'
        for name in ('there', 'gone')
    ]
    caplog.clear()
    restore_extras(fd, {b'gone/below': Extra(mtime=1), b'there/gone': Extra(mtime=1)})
    assert caplog.records == [], 'what is not there'
    os.close(fd)


CODES: Dict[int, bool] = {
    errno.ENOENT: True, errno.ENOTDIR: True, errno.ELOOP: True, errno.ENAMETOOLONG: True,
    errno.EIO: False, errno.EMFILE: False, errno.EACCES: False, errno.ESTALE: False,
    errno.ENOMEM: False
}


@pytest.mark.parametrize(('code', 'absent'), list(CODES.items()))
def test_what_says_that_there_is_nothing(code: int, absent: bool) -> None:
    assert is_absent(OSError(code, '')) is absent
