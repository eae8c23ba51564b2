# SPDX-License-Identifier: GPL-3.0-or-later
"""The record beside an overlay root, and the link to it in the storage."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from kiwi_stackbuild_plugin.graph.records import GraphRoot
from kiwi_stackbuild_plugin.overlay.record import (
    abandoned, forget_record, read_record, write_record
)

LAYERS = ('sha256:1', 'sha256:2')


@pytest.fixture
def graph(tmp_path: Path) -> GraphRoot:
    (tmp_path / 'graph').mkdir()
    return GraphRoot(str(tmp_path / 'graph'), 'overlay')


def place(tmp_path: Path, name: str = 'one') -> Path:
    made = tmp_path / f'{name}.overlay'
    made.mkdir()
    return made


def test_root_is_known_under_any_path_until_it_is_gone(
    tmp_path: Path, graph: GraphRoot
) -> None:
    assert abandoned(graph) == []
    first = place(tmp_path)
    record = write_record(graph, str(first), str(tmp_path / 'one'), LAYERS)
    other = write_record(graph, str(place(tmp_path, 'two')), str(tmp_path / 'two'), LAYERS)
    assert record.name != other.name and read_record(str(first)) == record
    moved = first.rename(tmp_path / 'moved')
    assert abandoned(graph) == [] and read_record(str(moved)) == record
    shutil.rmtree(moved)
    assert abandoned(graph) == [record.name]
    forget_record(graph, record.name)
    forget_record(graph, record.name)
    assert abandoned(graph) == []


def test_root_of_a_copied_storage_is_looked_for(tmp_path: Path, graph: GraphRoot) -> None:
    first = place(tmp_path)
    record = write_record(graph, str(first), str(tmp_path / 'one'), LAYERS)
    anchors = Path(graph.path, 'kiwi-stackbuild/overlays')
    shutil.copyfile(anchors / record.name, tmp_path / 'copy')
    (tmp_path / 'copy').rename(anchors / record.name)
    assert abandoned(graph) == [], 'it is where it was made'
    first.rename(tmp_path / 'moved')
    assert abandoned(graph) == [record.name]
    write_record(graph, str(place(tmp_path)), str(tmp_path / 'one'), LAYERS)
    assert abandoned(graph) == [record.name], 'another one is there'


@pytest.mark.parametrize('text', [
    None, '', '[', '[]', 'null', '{"name": "0123456789abcdef"}',
    '{"name": "../../etc", "root": "/", "layers": []}', '{"name": "../../etc"}',
    '{"name": "0123456789abcdef", "root": "/", "layers": 1}',
    '\u00e4', '[' * 100_000
])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    if text is not None:
        (tmp_path / 'layers.json').write_text(text, encoding='utf-8')
    assert read_record(str(tmp_path)) is None


@pytest.mark.parametrize('kind', ['directory', 'link', 'name'])
def test_what_is_no_link_of_ours_stays(tmp_path: Path, graph: GraphRoot, kind: str) -> None:
    anchors = Path(graph.path, 'kiwi-stackbuild/overlays')
    anchors.mkdir(parents=True)
    path = anchors / ('other' if kind == 'name' else '0123456789abcdef')
    if kind == 'directory':
        path.mkdir()
    elif kind == 'link':
        path.symlink_to('elsewhere')
    else:
        path.write_text('')
    assert abandoned(graph) == [] and os.path.lexists(path)
