# SPDX-License-Identifier: GPL-3.0-or-later
"""stackbuild --matrix and --if-changed, with the real tools."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Dict

from noting import make_noting_root, write_role
from storages import Storage

FILE = '''
defaults: {root-only: true, stash-as: "${role}"}
target-dir: out
axes: {role: [web, db]}
include: [{description: "${role}"}, {role: none, description: nowhere}]
'''
MORE = '''
cells:
- {name: both, stash: [web, db], stash-as: both}
- {name: late, stash: none, stash-as: late}
'''


def test_matrix_builds_what_changed(storage: Storage, tmp_path: Path) -> None:
    storage.kiwi('stash', '--root', str(make_noting_root(tmp_path / 'root')))
    for role in ('web', 'db'):
        write_role(tmp_path / role, role)
        repository = tmp_path / f'repo-{role}'
        repository.mkdir()
        (repository / 'InRelease').write_text(role)
        config = tmp_path / role / 'config.xml'
        config.write_text(config.read_text().replace(
            f'http://{role}.invalid/', f'dir://{repository}'
        ))
    (tmp_path / 'm.yaml').write_text(FILE + MORE)
    words = ['stackbuild', f'--matrix={tmp_path}/m.yaml', '--jobs=2', '--if-changed']
    failed = storage.kiwi(*words, check=False)
    assert failed.returncode == 1 and 'none failed, 1 that need them were' in failed.stderr
    assert states(tmp_path) == {
        'web': 'done', 'db': 'done', 'none': 'failed', 'both': 'done', 'late': 'skipped'
    }, failed.stdout
    assert storage.stash('both')['layers'] >= 3
    (tmp_path / 'repo-db/InRelease').write_text('new')
    storage.kiwi(*words, '--only=both')
    assert states(tmp_path) == {'web': 'unchanged', 'db': 'done', 'both': 'done'}
    told = (tmp_path / 'out/db.log').read_text()
    assert 'To be built: repository dir://../repo-db changed' in told
    assert str(tmp_path) not in storage.run(
        'podman', 'image', 'inspect', '--format={{json .Labels}}', 'db'
    ).stdout
    assert 'To be built: stash 2 changed (localhost/db:latest)' in (
        tmp_path / 'out/both.log'
    ).read_text()


def states(where: Path) -> Dict[str, str]:
    told = json.loads((where / 'out/matrix.json').read_text())
    return {cell['name']: cell['state'] for cell in told['cells']}
