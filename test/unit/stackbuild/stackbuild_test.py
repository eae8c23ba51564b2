# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stackbuild" up to where kiwi takes over, and what follows."""
from __future__ import annotations

import gc
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List

import kiwi.defaults
import pytest
from kiwi.exceptions import KiwiError
from stored_images import LAYER, StoredImages, own_labels
from trees import describe, make_root

from kiwi_stackbuild_plugin.description.origin import read_origin
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStackBuildError, KiwiStashArgumentInvalid, KiwiStashLocked, KiwiStashRootInvalid,
    KiwiStashTargetInvalid, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.stackbuild import kiwi_call
from kiwi_stackbuild_plugin.stackbuild.kiwi_call import KiwiCall
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.stackbuild.stackbuild import stackbuild
from kiwi_stackbuild_plugin.tree.opening import open_tree

ONE = '1' * 64
EXTENSION = '<image stashed="small:v1" name="bigger"/>'
#: kiwi leaves temporary files open, they go when nobody has them any more
pytestmark = pytest.mark.filterwarnings('ignore:unclosed file.*kiwi_:ResourceWarning')


@pytest.fixture(autouse=True)
def temp_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kiwi_as_imported: None
) -> Iterator[Path]:
    """Give a directory for temporary files; nothing may stay in it, nor mounted."""
    where = tmp_path / 'temp'
    where.mkdir()
    monkeypatch.setattr(kiwi.defaults, 'TEMP_DIR', str(where))
    yield where
    gc.collect()
    assert os.listdir(where) == []


@pytest.fixture
def small(stored: StoredImages) -> Iterator[StoredImages]:
    """Give a storage with the stash small:v1."""
    make_root(stored.tree(ONE))
    stored.add(ONE, 'localhost/small:v1', told=own_labels())
    yield stored
    assert len(stored.calls('mount')) == len(stored.calls('unmount'))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / 'new/target'


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, target: Path) -> List[Dict[str, Any]]:
    """What kiwi found as it was called; it makes an image, a file."""
    found: List[Dict[str, Any]] = []

    def run(call: KiwiCall) -> None:
        found.append({
            'argv': call.argv, 'root': describe(target / 'build/image-root'),
            'build': sorted(os.listdir(target / 'build'))
        })
        (target / 'small.tar').write_text('image')

    monkeypatch.setattr(kiwi_call, 'run', run)
    return found


def test_root_is_there_when_kiwi_is_called(
    small: StoredImages, target: Path, seen: List[Dict[str, Any]]
) -> None:
    assert stackbuild(StackbuildRequest(('small:v1',), str(target))) == ''
    call, = seen
    root = str(target / 'build/image-root')
    made = call['root']
    made.pop(b'image/stash.json')
    assert made == describe(small.tree(ONE)), 'image/ keeps its times as well'
    assert {f'--root={root}', f'--target-dir={target}', 'create'} <= set(call['argv'])
    assert call['build'] == ['.image-root.unfinished', 'image-root']
    assert sorted(os.listdir(target / 'build')) == ['.stackbuild.json', 'image-root']
    fd = open_tree(root)
    record = read_origin(fd)
    os.close(fd)
    assert record is not None
    assert (record.image, record.name, record.moment > 0) == (ONE, 'localhost/small:v1', True)


def test_extension_stands_beside_the_root(
    small: StoredImages, target: Path, tmp_path: Path, seen: List[Dict[str, Any]]
) -> None:
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd/config.xml').write_text(EXTENSION)
    stackbuild(StackbuildRequest((), str(target), str(tmp_path / 'd')))
    call, = seen
    assert call['build'] == ['.image-root.unfinished', 'description', 'image-root']
    assert 'build' in call['argv']
    assert b'image/config.xml' not in call['root'], 'kiwi writes that of the extension'


@pytest.mark.parametrize('stashes', [('small:v1',), ('small:v1', 'other:v1')])
def test_dry_run_touches_nothing(
    small: StoredImages, target: Path, seen: List[Dict[str, Any]], stashes: Any
) -> None:
    make_root(small.tree('2' * 64))
    small.add('2' * 64, 'localhost/other:v1', layers=(LAYER[:-1] + 'b',))
    text = stackbuild(StackbuildRequest(stashes, str(target), dry_run=True))
    assert all(f'localhost/{name}' in text for name in stashes)
    assert seen == [] and not target.parent.exists()


@pytest.mark.parametrize(('more', 'kind', 'said'), [
    ({'target_dir': ''}, KiwiStashTargetInvalid, '--target-dir'),
    ({'stashes': ()}, KiwiStashArgumentInvalid, '--stash: none is given'),
    ({'stashes': ('A',)}, KiwiStashArgumentInvalid, "--stash 'A'"),
    ({'stashes': ('nowhere',)}, KiwiStackBuildError, '--stash'),
    ({'pull': 'x'}, KiwiStashArgumentInvalid, "--pull 'x'"),
    ({'max_age': 'x'}, KiwiStashArgumentInvalid, "--max-age 'x'"),
    ({'from_registry': 'me:pw@h'}, KiwiStashArgumentInvalid, '--from-registry'),
    ({'description': '/nowhere'}, KiwiStackBuildError, '/nowhere'),
    ({'kiwi_args': ('--bogus',)}, KiwiStashArgumentInvalid, '--bogus'),
    ({'global_args': {'--target-arch': 's390x'}}, KiwiStackBuildError, 'is to be built for'),
])
def test_what_is_wrong_is_told_before_any_work(
    small: StoredImages, target: Path, seen: List[Dict[str, Any]], more: Any, kind: Any,
    said: str
) -> None:
    machine = {'Architecture': 'amd64'}
    small.add('3' * 64, 'localhost/arch:v1', told=own_labels(), **machine)
    make_root(small.tree('3' * 64))
    stashes = ('arch:v1',) if 'global_args' in more else ('small:v1',)
    with pytest.raises(kind) as issue:
        stackbuild(replace(StackbuildRequest(stashes, str(target)), **more))
    assert said in issue.value.summary and 'pw' not in str(issue.value)
    assert seen == [] and not target.parent.exists()


def test_root_that_leads_out(
    small: StoredImages, target: Path, seen: List[Dict[str, Any]], tmp_path: Path,
    caplog: pytest.LogCaptureFixture
) -> None:
    """A dry run says what a build refuses; no directory is left of it."""
    subprocess.run(['rm', '-r', small.tree(ONE) / 'dev'], check=True)
    (small.tree(ONE) / 'dev').symlink_to(tmp_path)
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd/config.xml').write_text(EXTENSION)
    request = StackbuildRequest((), str(target), str(tmp_path / 'd'))
    stackbuild(replace(request, dry_run=True))
    assert "localhost/small:v1: " in caplog.text and 'out of the root' in caplog.text
    with pytest.raises(KiwiStashRootInvalid, match='dev'):
        stackbuild(request)
    assert seen == [] and not target.parent.exists()


def test_target_of_another_run(
    small: StoredImages, target: Path, seen: List[Dict[str, Any]]
) -> None:
    key = os.path.realpath(target / 'build/image-root')
    with locked('the root tree', key), pytest.raises(KiwiStashLocked, match='image-root'):
        stackbuild(StackbuildRequest(('small:v1',), str(target)))
    assert seen == [] and small.calls('mount') == []


def test_error_of_kiwi_passes_and_the_root_counts_as_unfinished(
    small: StoredImages, target: Path, monkeypatch: pytest.MonkeyPatch,
    seen: List[Dict[str, Any]]
) -> None:
    """So that the next run may take its place; a finished one is left alone."""
    def fail(call: KiwiCall) -> None:
        raise KiwiError('kiwi failed')

    request = StackbuildRequest(('small:v1',), str(target))
    with monkeypatch.context() as patched:
        patched.setattr(kiwi_call, 'run', fail)
        with pytest.raises(KiwiError, match='kiwi failed'):
            stackbuild(request)
    assert (target / 'build/.image-root.unfinished').exists()
    stackbuild(request)
    assert len(seen) == 1
    with pytest.raises(KiwiStashTargetInvalid, match='from an earlier run'):
        stackbuild(request)


def test_tools_are_needed(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(KiwiStashToolFailed, match='podman and skopeo: not found'):
        stackbuild(StackbuildRequest(('small:v1',), str(target)))
