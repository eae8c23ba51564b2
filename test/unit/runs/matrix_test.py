# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells are run by the kiwi-ng that runs, each when its time has come."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import kiwi.defaults
import pytest
from kiwi.defaults import Defaults
from stored_images import StoredImages, own_labels
from trees import make_root

from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError, KiwiStashToolFailed
from kiwi_stackbuild_plugin.runs.cells import OptionKinds
from kiwi_stackbuild_plugin.runs.matrix import MatrixRequest, run_matrix
from kiwi_stackbuild_plugin.runs.schedule import DONE, FAILED, SKIPPED, UNCHANGED

ONE = '1' * 64
KINDS = OptionKinds(('root-only',), ('description', 'stash-as', 'pull'), ('stash', 'export'))
#: a kiwi-ng that notes when it begins and ends, and fails where it is told to
KIWI = '''#!/bin/sh
for word; do case "$word" in --target-dir=*) target="${word#*=}";; esac; done
name="${target##*/}"; here="${target%/*}"
echo "$*" > "$here/$name.words"; pwd > "$here/$name.pwd"; echo "begin $name" >> "$here/order"
trap 'echo "interrupted $name" >> "$here/order"; exit 1' INT
case "$name" in
bad*) echo '[ ERROR   ]: 10:00:00 | KiwiStashToolFailed: no such thing'; exit 1;;
same*) echo '[ INFO    ]: 10:00:00 | Nothing changed since x was built';;
slow*) sleep 30 & wait $!;;
esac
echo "end $name" >> "$here/order"
'''
FILE = '''
defaults: {stash: small, root-only: true}
target-dir: out
cells:
- {name: bad, stash-as: bad}
- {name: on-bad, stash: bad}
- {name: base, stash-as: "base:v1", type: oci}
- {name: on-base, stash: ["base:v1", small], description: d}
- {name: same}
'''


@pytest.fixture
def work(tmp_path: Path, stored: StoredImages, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory with a matrix file, and a kiwi-ng in its place."""
    make_root(stored.tree(ONE))
    stored.add(ONE, 'localhost/small:latest', told=own_labels())
    (tmp_path / 'temp').mkdir()
    monkeypatch.setattr(kiwi.defaults, 'TEMP_DIR', str(tmp_path / 'temp'))
    (tmp_path / 'kiwi-ng').write_text(KIWI)
    (tmp_path / 'kiwi-ng').chmod(0o755)
    monkeypatch.setattr(sys, 'argv', [str(tmp_path / 'kiwi-ng')])
    (tmp_path / 'm').mkdir()
    (tmp_path / 'm/all.yaml').write_text(FILE)
    return tmp_path / 'm'


def request(work: Path, **more: Any) -> MatrixRequest:
    return MatrixRequest(**{'file': f'{work}/all.yaml', 'kinds': KINDS, 'jobs': '2', **more})


def states(work: Path) -> Dict[str, str]:
    told = json.loads((work / 'out/matrix.json').read_text())
    return {cell['name']: cell['state'] for cell in told['cells']}


def test_failed_cell_stops_only_what_needs_it(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KiwiStashToolFailed, match='bad failed, 1 that need them were') as failed:
        run_matrix(request(work, global_args={'--type': 'iso', '--debug': True}))
    assert failed.value.hint == f'{work}/out/bad.log tells more'
    assert states(work) == {
        'bad': FAILED, 'on-bad': SKIPPED, 'base': DONE, 'on-base': DONE, 'same': UNCHANGED
    }
    said = capsys.readouterr().out
    assert re.search(r'bad: failed after \d+ s \(KiwiStashToolFailed: no such thing\)', said)
    assert 'on-bad: skipped (needs bad)' in said
    assert [line.split()[:2] for line in said.splitlines()[-6:]][1] == ['bad', 'failed']
    order = (work / 'out/order').read_text().splitlines()
    assert order.index('end base') < order.index('begin on-base')
    assert not (work / 'out/on-bad.words').exists()
    words = (work / 'out/on-base.words').read_text().split()
    assert words.pop(0).startswith('--shared-cache-dir=/')
    # kiwi 11 gives its options in another order
    assert [*sorted(words[:2], reverse=True), *words[2:]] == [
        '--type=iso', '--debug', 'system', 'stackbuild', '--stash=localhost/base:v1',
        f'--stash={ONE}', '--root-only', '--description=d', f'--target-dir={work}/out/on-base'
    ]
    assert '--type=oci' in (work / 'out/base.words').read_text()
    assert '--type=iso' not in (work / 'out/base.words').read_text()
    assert (work / 'out/base.pwd').read_text().strip() == str(work)


def test_base_is_asked_for_once(work: Path, stored: StoredImages) -> None:
    run_matrix(request(
        work, only=('same', 'on-base'), if_changed=True, target_dir=f'{work}/other'
    ))
    assert sorted(path.name for path in (work / 'other').glob('*.words')) == [
        'base.words', 'on-base.words', 'same.words'
    ]
    assert '--if-changed' in (work / 'other/base.words').read_text()
    asked = [line for line in stored.calls('inspect') if 'localhost/small:latest' in line]
    assert len(asked) == 1


@pytest.mark.parametrize(('jobs', 'most'), [('1', 1), ('3', 3)])
def test_so_many_at_a_time(work: Path, jobs: str, most: int) -> None:
    (work / 'all.yaml').write_text('target-dir: out\naxes: {role: [a, b, c, d]}\n'
                                   'defaults: {stash: small}\n')
    program = Path(sys.argv[0])
    program.write_text(KIWI.replace('esac; done\n', 'esac; done; sleep 0.3\n', 1).replace(
        'echo "end', 'sleep 0.5; echo "end'
    ))
    run_matrix(request(work, jobs=jobs))
    now, found = 0, 0
    for line in (work / 'out/order').read_text().splitlines():
        now += 1 if line.startswith('begin') else -1
        found = max(found, now)
    assert found == most


def test_no_two_at_a_time_have_one_cache_of_packages(work: Path) -> None:
    """Package managers lock it; one after the other they share it."""
    (work / 'all.yaml').write_text('target-dir: out\naxes: {role: [a, b, c, d]}\n'
                                   'defaults: {stash: small}\n')
    run_matrix(request(work, jobs='2', global_args={'--shared-cache-dir': '/cache'}))
    used = [
        re.findall(r'--shared-cache-dir=(\S+)', path.read_text())
        for path in (work / 'out').glob('*.words')
    ]
    cache = f'/{Defaults.get_shared_cache_location()}'
    assert sorted({words[0] for words in used}) == [cache, f'{cache}/job-2']
    assert [len(words) for words in used] == [1] * 4


def test_ctrl_c_ends_all(work: Path) -> None:
    (work / 'all.yaml').write_text(
        'target-dir: out\ncells: [{name: slow1, description: d}, {name: slow2, description: d},'
        ' {name: later, description: d, needs: slow1}]\n'
    )
    code = (
        'import signal, sys; sys.argv = [sys.argv[1], *sys.argv[2:]]\n'
        # a shell has its background jobs ignore it
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'import kiwi.logger\n'
        'from kiwi_stackbuild_plugin.runs.cells import OptionKinds\n'
        'from kiwi_stackbuild_plugin.runs.matrix import MatrixRequest, run_matrix\n'
        "run_matrix(MatrixRequest(sys.argv[1], OptionKinds((), ('description',), ()), jobs='3'))\n"
    )
    running = subprocess.Popen(
        [sys.executable, '-c', code, sys.argv[0], f'{work}/all.yaml'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    order = work / 'out/order'
    until = time.monotonic() + 60
    while not order.exists() or len(order.read_text().splitlines()) < 2:
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGINT
    assert sorted(order.read_text().splitlines()) == [
        'begin slow1', 'begin slow2', 'interrupted slow1', 'interrupted slow2'
    ]


WRONG: List[Any] = [
    ({'file': 'nowhere/m.yaml'}, 'nowhere'), ({'jobs': '0'}, "--jobs '0'"),
    ({'jobs': 'x'}, "--jobs 'x'"), ({'form': 'xml'}, "--print 'xml' is not known"),
    ({'only': ('none',)}, "--only 'none': no such cell"),
]


@pytest.mark.parametrize(('fields', 'says'), WRONG)
def test_what_is_wrong_is_said_before_anything_begins(
    work: Path, fields: Dict[str, Any], says: str
) -> None:
    here = os.getcwd()
    with pytest.raises(KiwiStackBuildError) as wrong:
        run_matrix(request(work, **fields))
    assert says in wrong.value.summary
    assert not (work / 'out').exists() and os.getcwd() == here


def test_target_directory_is_needed(work: Path) -> None:
    (work / 'all.yaml').write_text('cells: {name: a, stash: small}')
    with pytest.raises(KiwiStackBuildError, match='--target-dir: none is given'):
        run_matrix(request(work))


def test_nothing_is_written_through_links_in_the_target(work: Path) -> None:
    names = ('same.log', 'matrix.json.new', 'matrix.json')
    (work / 'out').mkdir()
    for name in names:
        (work / f'mine.{name}').write_text('mine')
        (work / 'out' / name).symlink_to(work / f'mine.{name}')
    run_matrix(request(work, only=('same',)))
    for name in names:
        assert (work / f'mine.{name}').read_text() == 'mine'
    assert json.loads((work / 'out/matrix.json').read_text())['failed'] == []
    assert 'Nothing changed' in (work / 'out/same.log').read_text()


def test_summary_that_cannot_be_written_is_one_line(work: Path) -> None:
    (work / 'out/matrix.json').mkdir(parents=True)
    with pytest.raises(KiwiStackBuildError, match=r'matrix\.json.*directory'):
        run_matrix(request(work, only=('same',)))
