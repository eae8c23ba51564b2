# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes of imports and marks on layers, as they are on the disk."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kiwi_stackbuild_plugin.graph import notes
from kiwi_stackbuild_plugin.graph.notes import (
    DAMAGED, ImportNote, forget_import, mark_layers, marked_layers, note_import, read_imports,
    sweep_notes, unmark_layers
)
from kiwi_stackbuild_plugin.graph.records import GraphRoot, LayerRecord

ID, LAYER = 'a' * 64, LayerRecord('b' * 64, '', 'sha256:1', 'then')


@pytest.fixture
def graph(tmp_path: Path) -> GraphRoot:
    """Give a graph root with one layer."""
    (tmp_path / 'overlay-layers').mkdir()
    (tmp_path / 'overlay-layers/layers.json').write_text(json.dumps([{
        'id': LAYER.layer_id, 'diff-digest': LAYER.diff_id, 'created': LAYER.created
    }]))
    return GraphRoot(str(tmp_path), 'overlay')


def test_note_of_an_import(graph: GraphRoot) -> None:
    assert read_imports(graph) == []
    note_import(graph, ID, ['sha256:1'])
    note_import(graph, 'c' * 64, [], is_pulled=True)
    assert read_imports(graph) == [
        ImportNote(ID, ('sha256:1',), False), ImportNote('c' * 64, (), True)
    ]
    forget_import(graph, ID)
    forget_import(graph, ID)
    forget_import(graph, 'c' * 64)
    assert read_imports(graph) == []
    assert os.stat(os.path.join(graph.path, 'kiwi-stackbuild')).st_mode & 0o077 == 0


def test_note_is_on_the_disk_with_its_directories(
    graph: GraphRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f'/proc/self/fd/{fd}')))
        fsync(fd)
    monkeypatch.setattr(os, 'fsync', noted)
    note_import(graph, ID, [])
    assert synced == [
        os.path.basename(graph.path), 'kiwi-stackbuild', f'.{ID}.{os.getpid()}', 'unfinished'
    ]


@pytest.mark.parametrize('text', ['', '{', '[]', '1', '{"layers": 1}', '{"layers": [1]}'])
def test_notes_that_are_cut_off(graph: GraphRoot, text: str) -> None:
    note_import(graph, ID, ['sha256:1'])
    place = Path(graph.path, 'kiwi-stackbuild/unfinished')
    (place / ID).write_text(text)
    (place / f'.{ID}.5').write_text('never renamed')
    assert read_imports(graph) == [ImportNote(ID, (), False)]


@pytest.mark.parametrize('kind', ['unfinished', 'doubtful'])
def test_what_a_killed_run_has_not_named_is_swept(graph: GraphRoot, kind: str) -> None:
    sweep_notes(graph)
    note_import(graph, ID, [])
    mark_layers(graph, [LAYER], DAMAGED)
    place = Path(graph.path, 'kiwi-stackbuild', kind)
    before = sorted(os.listdir(place))
    for name in (f'.{ID}.5', '.other', ID[:-1] + 'b', f'.{ID}.6'):
        (place / name).write_text('')
        os.utime(place / name, (1, 1))
    (place / f'.{ID}.7').write_text('another run writes it')
    (place / f'.{ID}.8').mkdir()
    sweep_notes(graph)
    assert sorted(os.listdir(place)) == sorted(
        [*before, '.other', ID[:-1] + 'b', f'.{ID}.7', f'.{ID}.8']
    )


def test_marked_layers(graph: GraphRoot) -> None:
    assert marked_layers(graph, ['sha256:1']) == []
    mark_layers(graph, [LAYER], DAMAGED)
    mark_layers(graph, [LAYER], DAMAGED)
    assert marked_layers(graph, ['sha256:1', 'sha256:2']) == [(LAYER, DAMAGED)]
    assert marked_layers(graph, ['sha256:2']) == []
    unmark_layers(graph, [LAYER])
    unmark_layers(graph, [LAYER])
    assert marked_layers(graph, ['sha256:1']) == []


def test_layer_made_anew_is_not_marked(graph: GraphRoot) -> None:
    mark_layers(graph, [LayerRecord(LAYER.layer_id, '', LAYER.diff_id, 'before')], DAMAGED)
    assert marked_layers(graph, ['sha256:1']) == []


def test_disk_that_takes_no_note(graph: GraphRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: str) -> None:
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(notes, 'replace', full)
    with pytest.raises(OSError, match='No space'):
        note_import(graph, ID, [])
    assert os.listdir(os.path.join(graph.path, 'kiwi-stackbuild/unfinished')) == []
