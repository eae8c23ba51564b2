# SPDX-License-Identifier: GPL-3.0-or-later
"""Several runs at once, and trees that change while they are stashed."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence

import pytest
from storages import KIWI, Storage, image_root
from trees import describe, make_root

OURS = ('image/stash.json',)
WRITER = '''
import os, random, sys, hashlib
root, seed = sys.argv[1], random.Random(int(sys.argv[2]))
def write(path, size):
    data = os.urandom(size)
    with open(path + '.new', 'wb') as out:
        out.write(hashlib.sha256(data).digest() + data)
    os.rename(path + '.new', path)
for number in range(40):
    write(f'{root}/f{number}', 1000)
print(flush=True)
while True:
    path = f'{root}/f{seed.randrange(40)}'
    deed = seed.randrange(4)
    if deed == 0:
        write(path, seed.randrange(200_000))
    elif deed == 1 and os.path.isfile(path):
        os.unlink(path)
    elif deed == 2 and not os.path.lexists(path):
        os.mkdir(path)
    elif deed == 3 and os.path.isdir(path):
        os.rmdir(path)
'''


def start(storage: Storage, words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [KIWI, '--temp-dir', str(storage.temp_dir), *words], env=storage.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True
    )


def run_all(
    storage: Storage, calls: Sequence[Sequence[str]]
) -> List[subprocess.CompletedProcess[str]]:
    """Run calls at the same time, give what they said."""
    running = [start(storage, words) for words in calls]
    return [
        subprocess.CompletedProcess(process.args, process.wait(), said)
        for process in running for said in [process.communicate()[0]]
    ]


def stored(storage: Storage, name: str) -> Dict[bytes, object]:
    path = storage.mount(f'localhost/{name}')
    try:
        return dict(describe(path, OURS))
    finally:
        storage.unmount(f'localhost/{name}')


def slow(storage: Storage, tmp_path: Path, tool: str, pattern: str) -> Path:
    """Let a tool wait, in calls that fit a pattern, until a file is there."""
    folder = tmp_path / 'slow'
    folder.mkdir()
    (folder / tool).write_text(
        f'#!/bin/sh\ncase " $* " in {pattern}) touch {tmp_path}/reached\n'
        f'while [ ! -e {tmp_path}/go ]; do sleep 0.05; done;; esac\n'
        f'exec {shutil.which(tool)} "$@"\n'
    )
    (folder / tool).chmod(0o755)
    storage.environment['PATH'] = f'{folder}:{os.environ["PATH"]}'
    return tmp_path / 'reached'


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(path)


@pytest.mark.parametrize('same', ['name', 'root'])
def test_who_holds_the_lock_is_named(
    storage: Storage, root: Path, tmp_path: Path, same: str
) -> None:
    words = ['system', 'stash', '--root', str(root), '--container-name', 'one']
    reached = slow(storage, tmp_path, 'skopeo', '*" copy "*')
    first = start(storage, words)
    wait_for(reached)
    storage.environment['PATH'] = os.environ['PATH']
    other = str(make_root(tmp_path / 'other')) if same == 'name' else str(root)
    name = 'one' if same == 'name' else 'two'
    second = storage.kiwi('stash', '--root', other, '--container-name', name, check=False)
    (tmp_path / 'go').touch()
    assert second.returncode == 1
    what = "stash 'one:latest'" if same == 'name' else f"root tree '{root}'"
    assert re.search(
        f"the {what} is in use by process {first.pid} since .*hint: try again",
        second.stdout + second.stderr, re.DOTALL
    )
    first.communicate()
    assert first.returncode == 0
    assert stored(storage, 'one') == describe(root, OURS)
    storage.kiwi('stash', '--root', other, '--container-name', name)


def test_eight_at_a_time(storage: Storage, tmp_path: Path, fast: List[str]) -> None:
    """Stashes on one base, and builds from it, all correct."""
    base = make_root(tmp_path / 'base', 'base')
    (base / 'usr/data').write_bytes(os.urandom(3 << 20))
    storage.kiwi('stash', '--root', str(base))
    calls = []
    for number in range(5):
        root = tmp_path / f'root{number}'
        subprocess.run(['cp', '-a', str(base), str(root)], check=True)
        (root / 'etc/number').write_text(str(number))
        calls.append([
            'system', 'stash', '--root', str(root), '--container-name', f'n{number}'
        ])
    calls += [[
        *fast, 'system', 'stackbuild', '--stash=base', f'--target-dir={tmp_path}/out{number}'
    ] for number in range(3)]
    for result in run_all(storage, calls):
        assert result.returncode == 0, result.stdout
    for number in range(5):
        assert storage.stash(f'n{number}')['layers'] == 2
        assert stored(storage, f'n{number}') == describe(tmp_path / f'root{number}', OURS)
    for number in range(3):
        assert (image_root(tmp_path / f'out{number}') / 'usr/data').read_bytes() == (
            base / 'usr/data'
        ).read_bytes()


def test_eight_of_the_same_name(storage: Storage, tmp_path: Path) -> None:
    roots = [make_root(tmp_path / f'root{number}') for number in range(8)]
    for number, root in enumerate(roots):
        (root / 'etc/number').write_text(str(number))
    results = run_all(storage, [
        ['system', 'stash', '--root', str(root), '--container-name', 'same']
        for root in roots
    ])
    assert 0 in [result.returncode for result in results]
    for result in results:
        assert result.returncode == 0 or re.search(
            "the stash 'same:latest' is in use by process", result.stdout
        ), result.stdout
    assert stored(storage, 'same') in [describe(root, OURS) for root in roots]


def test_stash_while_stackbuild_reads_the_image(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(root))
    reached = slow(storage, tmp_path, 'cp', '*" --preserve=all "*')
    build = start(storage, [
        *fast, 'system', 'stackbuild', '--stash=small', f'--target-dir={tmp_path}/out'
    ])
    wait_for(reached)
    storage.environment['PATH'] = os.environ['PATH']
    (root / 'etc/new').write_text('new')
    storage.kiwi('stash', '--root', str(root))
    (tmp_path / 'go').touch()
    said = build.communicate()[0]
    assert build.returncode == 0, said
    assert not (image_root(tmp_path / 'out') / 'etc/new').exists()
    assert (image_root(tmp_path / 'out') / 'etc/hostname').exists()
    assert b'etc/new' in stored(storage, 'small')


def test_tree_that_changes_meanwhile(storage: Storage, root: Path) -> None:
    """Each file in the stash is one that was there, whole; or the path is named."""
    (root / 'var/work').mkdir()
    outcomes = set()
    for seed in range(6):
        writer = subprocess.Popen(
            [sys.executable, '-c', WRITER, str(root / 'var/work'), str(seed)],
            stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        result = storage.kiwi('stash', '--root', str(root), '--no-base', check=False)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        outcomes.add(result.returncode)
        if result.returncode:
            assert re.search(
                r"root tree: 'var/work/f\d+.*' changed while it was stashed: .*hint: stop",
                result.stdout + result.stderr, re.DOTALL
            ), result.stderr
            continue
        path = storage.mount('localhost/small')
        for file in (path / 'var/work').glob('f?*'):
            if file.is_file() and file.suffix != '.new':
                data = file.read_bytes()
                assert data[:32] == hashlib.sha256(data[32:]).digest()
        storage.unmount('localhost/small')
    assert outcomes <= {0, 1}
    storage.kiwi('stash', '--root', str(root), '--no-base', '--verify')
