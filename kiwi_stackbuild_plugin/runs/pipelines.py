# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of a matrix for other programs: JSON, make, GitLab, GitHub.

JSON is YAML, so the pipelines are written as JSON: no value can break out of it.
"""
from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.runs.cells import (
    Cell, Matrix, cell_words, full_name, stash_names
)

_KIWI = 'kiwi-ng'
#: names that GitLab keeps for itself
_RESERVED = {
    'image', 'services', 'stages', 'before_script', 'after_script', 'variables', 'cache',
    'include', 'default', 'pages', 'workflow', 'spec', 'true', 'false', 'nil'
}


def print_matrix(form: str, matrix: Matrix, file: str, target_dir: str) -> str:
    """Return the cells in one of the forms.

    :param file: the matrix file, whose directory paths are relative to
    :param target_dir: of the cells, relative to that directory
    :raises KiwiStashArgumentInvalid: for a pipeline without a shared registry
    """
    return FORMS[form](matrix, file, target_dir)


def _json(matrix: Matrix, file: str, target_dir: str) -> str:
    """Return what a matrix of a CI system includes.

    With a registry each command can run on a machine of its own.
    """
    cells = _shared(matrix) if matrix.registry else matrix.cells
    return json.dumps({'include': [
        {
            'name': cell.name, 'needs': list(cell.needs),
            'stash': list(stash_names(cell)), 'stash-as': cell.option('stash-as') or None,
            'target-dir': f'{target_dir}/{cell.name}', 'command': _command(cell, target_dir)
        } for cell in cells
    ]}, indent=2)


def _command(cell: Cell, target_dir: str) -> str:
    return shlex.join([_KIWI, *cell_words(cell, os.path.join(target_dir, cell.name))])


def _make(matrix: Matrix, file: str, target_dir: str) -> str:
    """Return a Makefile for "make -j", to be run from anywhere."""
    names = ' '.join(cell.name for cell in matrix.cells)
    lines = [
        f'# {_KIWI} system stackbuild --matrix={os.path.basename(file)} --print=make',
        f'KIWI_NG ?= {_KIWI}', f'.PHONY: all {names}', f'all: {names}'
    ]
    directory = shlex.quote(os.path.dirname(file))
    for cell in matrix.cells:
        target = os.path.join(target_dir, cell.name)
        words = shlex.join([
            # make -j: no two at the same time may have the same
            f'--shared-cache-dir=/{Defaults.get_shared_cache_location()}/{cell.name}',
            *cell_words(cell, target)
        ])
        recipe = (
            f'cd {directory} && mkdir -p {shlex.quote(target_dir)} && '
            f'@KIWI@ {words} >{shlex.quote(target)}.log 2>&1'
        ).replace('$', '$$').replace('@KIWI@', '$(KIWI_NG)', 1)
        lines += ['', ' '.join([f'{cell.name}:', *cell.needs]), f'\t{recipe}']
    return '\n'.join(lines)


def _shared(matrix: Matrix) -> List[Cell]:
    """Return cells that find the stashes of others in a registry.

    :raises KiwiStashArgumentInvalid: if a cell needs a stash that reaches none
    """
    places: Dict[str, str] = {}
    exports: Dict[str, List[str]] = {}
    for cell in matrix.cells:
        for text in cell.options.get('stash-as', ()):
            to = [word for word in cell.options.get('export', ()) if word.startswith('docker://')]
            if not to and matrix.registry:
                to = [f'docker://{matrix.registry}/{full_name(text)}']
                exports[cell.name] = to
            if to:
                places[full_name(text)] = _tagged(to[0], full_name(text))
    made = {full_name(text) for cell in matrix.cells for text in cell.options.get('stash-as', ())}
    return [
        _at_registry(cell, made, places, exports.get(cell.name, [])) for cell in matrix.cells
    ]


def _tagged(place: str, name: str) -> str:
    plain = place[len('docker://'):]
    return plain if ':' in plain.rpartition('/')[2] else f'{plain}:{name.rpartition(":")[2]}'


def _at_registry(
    cell: Cell, made: Any, places: Mapping[str, str], exports: List[str]
) -> Cell:
    names = []
    for text in stash_names(cell):
        name = full_name(text)
        if name in made and name not in places:
            raise KiwiStashArgumentInvalid(
                f'{cell.name} needs the stash {text!r} of another job, which has a storage '
                'of its own',
                'registry: host/prefix in the file, or an export to docker:// in that cell'
            )
        names.append(places.get(name, text))
    options = dict(cell.options)
    if names and any(full_name(text) in made for text in stash_names(cell)):
        options['stash'] = tuple(names)
        options['pull'] = ('always',)
    if exports:
        options['export'] = (*options.get('export', ()), *exports)
    return replace(cell, options=options)


def _gitlab(matrix: Matrix, file: str, target_dir: str) -> str:
    """Return a child pipeline for GitLab."""
    jobs: Dict[str, Any] = {'stages': ['build']}
    names = {
        cell.name: f'cell-{cell.name}' if cell.name in _RESERVED else cell.name
        for cell in matrix.cells
    }
    for cell in _shared(matrix):
        jobs[names[cell.name]] = {
            'stage': 'build', 'needs': [names[name] for name in cell.needs],
            'script': [_command(cell, target_dir)],
            'artifacts': {
                'when': 'always', 'paths': [f'{target_dir}/{cell.name}/'],
                'exclude': [f'{target_dir}/{cell.name}/build/**/*']
            }
        }
    return json.dumps(jobs, indent=2)


def _github(matrix: Matrix, file: str, target_dir: str) -> str:
    """Return a workflow for GitHub, called by hand or by another one."""
    jobs: Dict[str, Any] = {}
    names = {cell.name: _job_id(cell.name) for cell in matrix.cells}
    if len(set(names.values())) < len(names):
        raise KiwiStashArgumentInvalid(
            'two cells whose names differ only in dots: a job of GitHub has none'
        )
    for cell in _shared(matrix):
        command = _command(cell, target_dir)
        if '${{' in command:
            raise KiwiStashArgumentInvalid(
                f'{cell.name}: "${{{{" in a value is an expression for GitHub'
            )
        steps = [{'uses': 'actions/checkout@v4'}, {'run': command}]
        needs = {'needs': [names[name] for name in cell.needs]} if cell.needs else {}
        jobs[names[cell.name]] = {
            'name': cell.name, 'runs-on': ['self-hosted', 'kiwi'], **needs, 'steps': steps
        }
    return json.dumps({
        'name': os.path.basename(file), 'on': {'workflow_dispatch': {}, 'workflow_call': {}},
        'jobs': jobs
    }, indent=2)


def _job_id(name: str) -> str:
    clean = re.sub(r'[^A-Za-z0-9_-]', '_', name)
    return clean if re.match('[A-Za-z_]', clean) else f'_{clean}'


FORMS: Dict[str, Callable[[Matrix, str, str], str]] = {
    'json': _json, 'make': _make, 'gitlab': _gitlab, 'github': _github
}
