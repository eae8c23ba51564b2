# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of podman's storage: what is in them, and what is none."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List, Sequence, Set

import pytest

from kiwi_stackbuild_plugin.graph.records import (
    GraphRoot, chain_below, find_chain, read_layers, unused_layers
)
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed

A, B, C, D = (letter * 64 for letter in 'abcd')


def store(where: Path, **lists: Any) -> GraphRoot:
    """Make a graph root with lists of layers, images, containers."""
    for kind, entries in lists.items():
        place = where / f'overlay-{kind}/{kind}.json'
        place.parent.mkdir()
        place.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return GraphRoot(str(where), 'overlay')


def layer(layer_id: str, parent: str = '', diff: str = '') -> Any:
    """Return a record of a layer."""
    return {'id': layer_id, 'parent': parent, 'diff-digest': diff or f'sha256:{layer_id}',
            'created': 'then'}


LAYERS = [layer(A), layer(B, A), layer(C, B), layer(D, A)]


@pytest.mark.parametrize(('diffs', 'found'), [
    ([A, B, C], [A, B, C]), ([A, D], [A, D]), ([A, C], [A]), ([B], []), ([], []),
])
def test_layers_of_an_image(tmp_path: Path, diffs: Sequence[str], found: List[str]) -> None:
    layers = read_layers(store(tmp_path, layers=LAYERS))
    chain = find_chain(layers, [f'sha256:{diff}' for diff in diffs])
    assert [one.layer_id for one in chain] == found
    if found:
        assert chain_below(layers, chain[-1]) == chain


@pytest.mark.parametrize(('images', 'containers', 'unused'), [
    ([], [], {A, B, C, D}), ([C], [], {D}), ([B], [D], {C}), ([], [A], {B, C, D}),
])
def test_layers_that_nothing_has(
    tmp_path: Path, images: List[str], containers: List[str], unused: Set[str]
) -> None:
    graph = store(
        tmp_path, layers=LAYERS, images=[{'id': C, 'layer': top} for top in images],
        containers=[{'id': D, 'layer': top} for top in containers]
    )
    assert unused_layers(graph, read_layers(graph)) == unused


def test_layers_that_an_image_has_for_another_namespace(tmp_path: Path) -> None:
    graph = store(tmp_path, layers=LAYERS, images=[{'id': C, 'layer': B, 'mapped-layers': [D]}])
    assert unused_layers(graph, read_layers(graph)) == {C}


def test_circle_of_parents_has_an_end(tmp_path: Path) -> None:
    layers = read_layers(store(tmp_path, layers=[layer(A, B), layer(B, A)]))
    assert len(chain_below(layers, layers[A])) <= 3


@pytest.mark.parametrize('text', ['', '[]'])
def test_empty_storage(tmp_path: Path, text: str) -> None:
    assert read_layers(store(tmp_path, layers=text)) == {}
    assert read_layers(GraphRoot(str(tmp_path / 'nowhere'), 'overlay')) == {}


@pytest.mark.parametrize('text', ['{', '{}', '1', 'null', '\0' * 50, '[' * 100_000])
def test_lists_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(KiwiStashToolFailed, match='not a list of the storage'):
        read_layers(store(tmp_path, layers=text))


def test_records_that_are_none_are_passed_over(tmp_path: Path) -> None:
    odd = [1, None, {}, {'id': '../x'}, {'id': 5}, {'id': A, 'parent': 1}]
    assert set(read_layers(store(tmp_path, layers=odd))) == {A}
