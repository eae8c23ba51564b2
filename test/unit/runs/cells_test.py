# SPDX-License-Identifier: GPL-3.0-or-later
"""A matrix file becomes cells; what is wrong in it is one line with line and key."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from in_time import within

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.runs.cells import (
    Cell, Matrix, OptionKinds, cell_words, chosen, make_matrix
)
from kiwi_stackbuild_plugin.runs.matrix_file import read_matrix_file

KINDS = OptionKinds(
    ('root-only', 'keep-scripts'), ('description', 'stash-as', 'from-registry'),
    ('stash', 'export')
)
AXES = '''
defaults: {stash: base, description: "d/${role}"}
axes:
  role: [web, db]
  type: [oci, iso]
'''


def make(where: Path, text: str, name: str = 'm.yaml') -> Matrix:
    (where / name).write_text(text)
    return make_matrix(read_matrix_file(str(where / name)), KINDS)


def names(matrix: Matrix) -> List[str]:
    return [cell.name for cell in matrix.cells]


@pytest.mark.parametrize(('more', 'expected'), [
    ('', ['web-oci', 'web-iso', 'db-oci', 'db-iso']),
    ('exclude: [{role: db, type: iso}]', ['web-oci', 'web-iso', 'db-oci']),
    ('exclude: {role: db}', ['web-oci', 'web-iso']),
    ('include: [{role: db, type: vmx}]', ['web-oci', 'web-iso', 'db-oci', 'db-iso', 'db-vmx']),
    ('include: [{role: db, keep-scripts: true}]', ['web-oci', 'web-iso', 'db-oci', 'db-iso']),
    ('cells: {name: other, description: x}', ['web-oci', 'web-iso', 'db-oci', 'db-iso', 'other']),
    ('exclude: [{role: db}, {role: web}]\ninclude: {role: no, type: oci}', ['no-oci']),
])
def test_axes(tmp_path: Path, more: str, expected: List[str]) -> None:
    assert names(make(tmp_path, AXES + more)) == expected


def test_axis_is_option_and_variable(tmp_path: Path) -> None:
    more = 'include: [{role: db, type: oci, stash-as: "${role}:1.10"}]'
    cell = make(tmp_path, AXES + more).cells[2]
    assert cell_words(cell, '/t', ['--if-changed']) == [
        '--type=oci', 'system', 'stackbuild', '--stash=base', '--description=d/db',
        '--stash-as=db:1.10', '--if-changed', '--target-dir=/t'
    ]


def test_options_of_all_kinds(tmp_path: Path) -> None:
    cell, = make(tmp_path, '''
target-dir: out
registry: host/x/
cells:
- name: a
  stash: [b, c]
  root-only: yes
  keep-scripts: false
  profile: [p, q]
  stash-as: no
  kiwi-args: [--add-package=$$x]
''').cells
    assert cell_words(cell, '/t') == [
        '--profile=p', '--profile=q', 'system', 'stackbuild', '--stash=b', '--stash=c',
        '--root-only', '--stash-as=no', '--target-dir=/t', '--', '--add-package=$x'
    ]


def test_json_and_anchors_say_the_same(tmp_path: Path) -> None:
    cells = [{'name': 'a', 'stash': 'x'}, {'name': 'b', 'stash': 'x'}]
    made = make(tmp_path, json.dumps({'cells': cells}, indent='\t'), 'm.json')
    assert made == make(
        tmp_path, 'cells: [&a {name: a, stash: x}, {<<: *a, name: b}]'
    )


def test_needs_follow_from_stashes(tmp_path: Path) -> None:
    (tmp_path / 'ext').mkdir()
    (tmp_path / 'ext/config.xml').write_text('<image stashed="two:v1"/>')
    matrix = make(tmp_path, f'''
cells:
- {{name: three, description: {tmp_path}/ext}}
- {{name: two, stash: [one, 'one:latest', base], stash-as: 'two:v1'}}
- {{name: one, stash: base, stash-as: one}}
- {{name: late, stash: base, needs: three}}
''')
    assert [(cell.name, cell.needs) for cell in matrix.cells] == [
        ('one', ()), ('two', ('one',)), ('three', ('two',)), ('late', ('three',))
    ]
    assert [cell.name for cell in chosen(matrix.cells, ['two'])] == ['one', 'two']
    with pytest.raises(KiwiStashArgumentInvalid, match="--only 'x': no such cell"):
        chosen(matrix.cells, ['x'])


WRONG: List[Tuple[str, str]] = [
    ('', ':1: nothing is in it'),
    ('- a', ':1: keys and values are wanted here'),
    ('cells: [', ':1: cannot be read as YAML'),
    ('cells:\n- {name: a, stash: x}\n- {name: a, stash: x}', ":3: cells[1]: a second cell 'a'"),
    ('cells:\n- name: a\n  stash:', ':3: cells[0].stash: there is no value'),
    ('cells:\n- name: a\n  stash: x\n  sash: y', ':4: cells[0].sash: no such key'),
    ('celly: 1', ':1: celly: no such key'),
    ('defaults: {sash: y}\ncells: {name: a, stash: x}', ':1: defaults.sash: no such key'),
    ('cells: {stash: x}', ':1: cells: a cell without a name'),
    ('cells: {name: a/b, stash: x}', ":1: cells.name: 'a/b' cannot name a cell"),
    ('cells: {name: -a, stash: x}', "'-a' cannot name a cell"),
    ('cells: {name: all, stash: x}', ":1: cells.name: no cell can be called 'all'"),
    ('cells:\n- name: matrix.json\n  stash: x', ":2: cells[0].name: no cell can be called 'matr"),
    ('cells: {name: matrix.json.new, stash: x}', "no cell can be called 'matrix.json.new'"),
    ('cells: {name: Makefile, stash: x}', "no cell can be called 'Makefile'"),
    ('cells:\n- {name: x.log, stash: x}\n- {name: x, stash: x}',
     ":2: cells[0]: 'x.log' is the log of the cell 'x'"),
    ('defaults: {stash: x}\naxes: {role: [a, a.log]}', ":2: axes.role[1]: 'a.log' is the log of"),
    ('defaults: {stash: x}\naxes:\n  role: [all]', ":3: axes.role[0]: no cell can be called 'all'"),
    ('cells: {name: a}', 'a cell needs stash or description'),
    ('cells: {name: a, stash: x, root-only: maybe}', "'maybe' is neither true nor false"),
    ('cells: {name: a, stash: x, description: [a, b]}', 'cells.description: takes one value'),
    ('cells: {name: a, stash: {b: c}}', 'cells.stash: one value is wanted here'),
    ('cells: {name: a, stash: x, stash-as: B}', "cells.stash-as: stash-as 'B' cannot name"),
    ('cells: {name: a, stash: x, export: y}', 'there is no stash to copy'),
    ('cells: {name: a, stash: x, name: b}', ':1: cells.name: is given twice'),
    ('cells: {name: a, stash: "${role}"}', 'cells.stash: ${role}: no such axis'),
    ('cells: {name: a, stash: x, needs: b}', "'a' needs 'b', which is no cell"),
    ('cells: {name: a, stash: "x\\ny"}', 'a line feed or another control character'),
    ('cells:\n- {name: a, stash: b, stash-as: a}\n- {name: b, stash: a, stash-as: b}',
     ':2: cells[0]: a and b need one another'),
    ('cells:\n- {name: a, stash: x, stash-as: s}\n- {name: b, stash: x, stash-as: "s:latest"}',
     "'b' and 'a' make the same stash"),
    ('axes: {role: []}', 'axes.role: an axis without values'),
    ('axes: {role: [{a: b}]}', 'axes.role[0]: one value is wanted'),
    ('axes: {ro le: [a]}', 'an axis is called by'),
    (AXES + 'exclude: [{rol: db}]', ':6: exclude[0].rol: no such key'),
    (AXES + 'include: [{role: db, beschreibung: x}]', ':6: include[0].beschreibung: no such key'),
    ('axes: {a: [x]}\nexclude: {a: x}', 'there are no cells'),
    ('a: &a [x,x,x,x,x,x,x,x,x]\n' + ''.join(
        f'{n}: &{n} [{",".join("*" + m for _ in range(9))}]\n' for m, n in zip('abcde', 'bcdef')
    ), 'too many values'),
    ('a: &a [*a]', ''),
    ('axes:\n' + ''.join(f'  a{n}: [{",".join(map(str, range(30)))}]\n' for n in range(9)),
     ':2: axes: 19683000000000 of them, at most 1000'),
    (AXES + f'include: [{",".join(["{stash: x}"] * 1001)}]', ':6: include: 1001 of them'),
    (AXES + f'exclude: [{",".join(["{role: x}"] * 1001)}]', ':6: exclude: 1001 of them'),
    (f'cells: [{",".join("{name: a, stash: x}" for _ in range(1001))}]', '1001 cells, at most'),
    ('!!python/object:os.system {a: b}', 'no such key'),
    ('? [a]\n: b', 'a key is no text'),
]


@pytest.mark.parametrize(('text', 'says'), WRONG)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as wrong, within(5):
        make(tmp_path, text)
    assert says in wrong.value.summary
    assert wrong.value.summary.startswith(f'{tmp_path}/m.yaml:')


@pytest.mark.parametrize(('name', 'data', 'says'), [
    ('m.json', b'{\n"cells": 1,\n}', ':3: cannot be read as JSON'),
    ('m.yaml', b'a: b\nc: \xff', ':2: not UTF-8'),
    ('m.yaml', b'x' * (5 << 20), 'more than'), ('gone.yaml', None, 'cannot be read'),
])
def test_files_that_are_none(tmp_path: Path, name: str, data: Any, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(KiwiStashArgumentInvalid) as wrong:
        read_matrix_file(os.path.join(str(tmp_path), name))
    assert says in wrong.value.summary


def test_cell_is_a_value() -> None:
    options: Dict[str, Tuple[str, ...]] = {'stash': ('a',)}
    assert Cell('a', options, {}).option('description') == ''
