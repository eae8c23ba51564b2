# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells for other programs: make runs them, the schemas of CI systems hold."""
from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.runs.cells import OptionKinds
from kiwi_stackbuild_plugin.runs.matrix import MatrixRequest, run_matrix

KINDS = OptionKinds(('root-only',), ('description', 'stash-as', 'pull'), ('stash', 'export'))
FILE = '''
registry: registry.example.com/team
defaults: {stash: debian, root-only: true}
cells:
- {name: 1.base, stash-as: "base:v1", kiwi-args: ["--add-package=it's $$HOME"]}
- {name: cache, stash: "base:v1", description: "d e", profile: [p, q]}
- {name: pushed, stash: "base:v1", stash-as: pushed, export: "docker://h:5000/x"}
- {name: last, stash: pushed, needs: [cache]}
'''
KIWI = '#!/bin/sh\nprintf "%s\\n" "$@" >> words\necho "$*" | grep -q fails && exit 3\nexit 0\n'


@pytest.fixture
def work(tmp_path: Path) -> Path:
    where = tmp_path / "it's $here"
    where.mkdir()
    (where / 'm.yaml').write_text(FILE)
    (tmp_path / 'kiwi-ng').write_text(KIWI)
    (tmp_path / 'kiwi-ng').chmod(0o755)
    return where


def printed(work: Path, form: str) -> str:
    return run_matrix(MatrixRequest(f'{work}/m.yaml', KINDS, form=form))


def test_json_is_a_matrix_to_include(work: Path) -> None:
    (work / 'm.yaml').write_text(FILE.replace('registry:', '#'))
    cells: List[Dict[str, Any]] = json.loads(printed(work, 'json'))['include']
    assert [(cell['name'], cell['needs'], cell['stash']) for cell in cells] == [
        ('1.base', [], ['debian']), ('cache', ['1.base'], ['base:v1']),
        ('pushed', ['1.base'], ['base:v1']), ('last', ['cache', 'pushed'], ['pushed'])
    ]
    assert shlex.split(cells[0]['command']) == [
        'kiwi-ng', 'system', 'stackbuild', '--stash=debian', '--root-only',
        '--stash-as=base:v1', '--target-dir=out/1.base', '--', "--add-package=it's $HOME"
    ]


@pytest.mark.parametrize('fails', [False, True])
def test_makefile_runs(work: Path, fails: bool) -> None:
    if fails:
        (work / 'm.yaml').write_text(FILE.replace('"d e"', 'fails'))
    makefile = work.parent / 'Makefile'
    makefile.write_text(printed(work, 'make'))
    done = subprocess.run(
        ['make', '-j4', '-k', '-f', str(makefile), f'KIWI_NG={work.parent}/kiwi-ng'],
        cwd=work.parent, capture_output=True, text=True, check=False
    )
    assert bool(done.returncode) is fails, done.stderr
    words = (work / 'words').read_text().splitlines()
    targets = [word for word in words if word.startswith('--target-dir')]
    assert targets[0] == '--target-dir=out/1.base'
    assert sorted(targets[1:]) == sorted(
        f'--target-dir=out/{name}' for name in ('cache', 'pushed', *(() if fails else ('last',)))
    )
    assert "--add-package=it's $HOME" in words
    caches = [word for word in words if word.startswith('--shared-cache-dir=/')]
    assert len(set(caches)) == len(targets), 'two at the same time have one cache'
    assert sorted(os.listdir(work / 'out')) == sorted(
        f'{target.rpartition("/")[2]}.log' for target in targets
    )


@pytest.mark.parametrize(('form', 'schema'), [
    ('github', 'vendor.github-workflows'), ('gitlab', 'vendor.gitlab-ci')
])
def test_pipelines_are_what_their_schema_says(work: Path, form: str, schema: str) -> None:
    path = work / f'{form}.yml'
    path.write_text(printed(work, form))
    done = subprocess.run(
        [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', schema, str(path)],
        capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def commands(work: Path, form: str) -> Dict[str, List[str]]:
    told = json.loads(printed(work, form))
    if form == 'json':
        return {cell['name']: shlex.split(cell['command']) for cell in told['include']}
    if form == 'github':
        return {
            name: shlex.split(job['steps'][1]['run']) for name, job in told['jobs'].items()
        }
    return {
        name: shlex.split(job['script'][0]) for name, job in told.items() if name != 'stages'
    }


@pytest.mark.parametrize(('form', 'base', 'cache'), [
    ('github', '_1_base', 'cache'), ('gitlab', '1.base', 'cell-cache'),
    ('json', '1.base', 'cache')
])
def test_registry_is_the_shared_store(work: Path, form: str, base: str, cache: str) -> None:
    found = commands(work, form)
    assert '--export=docker://registry.example.com/team/base:v1' in found[base]
    assert '--stash=registry.example.com/team/base:v1' in found[cache]
    assert '--pull=always' in found[cache] and '--pull=always' not in found[base]
    assert '--stash=h:5000/x:latest' in found['last']
    told = json.loads(printed(work, form))
    jobs = told.get('jobs', told) if form != 'json' else {
        cell['name']: cell for cell in told['include']
    }
    assert jobs['last']['needs'] == [cache, 'pushed']


@pytest.mark.parametrize(('text', 'form', 'says'), [
    (FILE.replace('registry:', '#'), 'github', "cache needs the stash 'base:v1' of another job"),
    (FILE.replace('registry:', '#'), 'gitlab', "cache needs the stash 'base:v1' of another job"),
    ('cells: [{name: a.b, stash: x}, {name: a_b, stash: x}]', 'github', 'differ only in dots'),
    ('cells: {name: a, stash: x, kiwi-args: "$${{ secrets.x }}"}', 'github', 'is an expression'),
])
def test_what_no_pipeline_can_do(work: Path, text: str, form: str, says: str) -> None:
    (work / 'm.yaml').write_text(text)
    with pytest.raises(KiwiStashArgumentInvalid) as wrong:
        printed(work, form)
    assert says in wrong.value.summary
