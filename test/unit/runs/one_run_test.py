# SPDX-License-Identifier: GPL-3.0-or-later
"""A stackbuild and the stash of its root in one run, on a storage of files."""
from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import kiwi.defaults
import pytest
from kiwi.exceptions import KiwiError
from stored_images import StoredImages, own_labels
from trees import describe, make_root

from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError, KiwiStashLocked
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.inputs.inputs import decode_inputs
from kiwi_stackbuild_plugin.runs.one_run import run_stackbuild, split_stash_name
from kiwi_stackbuild_plugin.stackbuild import kiwi_call
from kiwi_stackbuild_plugin.stackbuild.kiwi_call import KiwiCall
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.stash import stash as stashes
from kiwi_stackbuild_plugin.stash.stash import StashRequest

#: kiwi leaves temporary files open, they go when nobody has them any more
pytestmark = pytest.mark.filterwarnings('ignore:unclosed file.*kiwi_:ResourceWarning')
ONE = '1' * 64
EXTENSION = '''<image stashed="small:v1" name="bigger">
  <repository type="apt-deb"><source path="file:///srv"/></repository>
</image>'''


@pytest.fixture(autouse=True)
def temp_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kiwi_as_imported: None
) -> Iterator[Path]:
    """Give a directory for temporary files; nothing may stay in it."""
    where = tmp_path / 'temp'
    where.mkdir()
    monkeypatch.setattr(kiwi.defaults, 'TEMP_DIR', str(where))
    yield where
    gc.collect()
    assert [name for name in os.listdir(where) if name.startswith('.kiwi-stash')] == []


@pytest.fixture
def small(stored: StoredImages, monkeypatch: pytest.MonkeyPatch) -> StoredImages:
    """Give a storage with the stash small:v1; kiwi only leaves a file in the root."""
    make_root(stored.tree(ONE))
    stored.add(ONE, 'localhost/small:v1', told=own_labels())

    def run(call: KiwiCall) -> None:
        if call.task is not None:
            root = next(word for word in call.argv if word.startswith('--root='))
            Path(root[len('--root='):], 'by-kiwi').write_text('')

    monkeypatch.setattr(kiwi_call, 'run', run)
    return stored


@pytest.fixture
def stashed(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[StashRequest, bool]]:
    """What is stashed, and whether somebody else could change the root meanwhile."""
    found: List[Tuple[StashRequest, bool]] = []

    def stash(request: StashRequest, root_is_ours: bool = False) -> str:
        assert os.path.isfile(f'{request.root}/image/stash.json')
        assert not os.path.exists(f'{request.root}/../.image-root.unfinished')
        with pytest.raises(KiwiStashLocked), locked('the root tree', request.root):
            pass
        found.append((request, root_is_ours))
        return ''

    monkeypatch.setattr(stashes, 'stash', stash)
    return found


def request(tmp_path: Path, **more: Any) -> StackbuildRequest:
    return StackbuildRequest(**{'stashes': ('small:v1',), 'target_dir': f'{tmp_path}/out', **more})


def write_extension(tmp_path: Path) -> str:
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd/config.xml').write_text(EXTENSION)
    return str(tmp_path / 'd')


@pytest.mark.parametrize(('described', 'by_kiwi'), [(True, True), (False, False)])
def test_root_only(
    small: StoredImages, stashed: List[Tuple[StashRequest, bool]], tmp_path: Path,
    described: bool, by_kiwi: bool
) -> None:
    assert run_stackbuild(request(
        tmp_path, root_only=True, stash_as='web:v2', exports=('oci:/tmp:x',),
        description=write_extension(tmp_path) if described else None
    )) == ''
    root = tmp_path / 'out/build/image-root'
    assert (root / 'by-kiwi').exists() is by_kiwi
    (made, ours), = stashed
    assert replace(made, inputs=None) == StashRequest(
        str(root), 'web', 'v2', exports=('oci:/tmp:x',)
    )
    assert ours and decode_inputs(made.inputs or '')
    if not described:
        made = describe(root)
        made.pop(b'image/stash.json')
        assert made == describe(small.tree(ONE))


def test_stash_without_a_description_is_a_root_too(
    small: StoredImages, stashed: List[Tuple[StashRequest, bool]], tmp_path: Path
) -> None:
    (small.tree(ONE) / 'image/config.xml').unlink()
    (small.tree(ONE) / 'image/other').write_text('kept')
    run_stackbuild(request(tmp_path, root_only=True))
    assert (tmp_path / 'out/build/image-root/image/other').read_text() == 'kept'
    assert stashed == []


def test_nothing_is_stashed_of_a_build_that_failed(
    small: StoredImages, stashed: List[Tuple[StashRequest, bool]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: KiwiCall) -> None:
        raise KiwiError('no package')

    monkeypatch.setattr(kiwi_call, 'run', fail)
    with pytest.raises(KiwiError, match='no package'):
        run_stackbuild(request(tmp_path, stash_as='web'))
    assert stashed == []
    assert (tmp_path / 'out/build/.image-root.unfinished').exists()


def test_stash_that_fails_says_how_to_do_only_that_again(
    small: StoredImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: Any, **more: Any) -> str:
        raise KiwiStashLocked('the stash is in use')

    monkeypatch.setattr(stashes, 'stash', fail)
    with pytest.raises(KiwiStashLocked, match='is built, but: the stash is in use') as failed:
        run_stackbuild(request(tmp_path, stash_as='web'))
    root = tmp_path / 'out/build/image-root'
    assert failed.value.hint.endswith(f'--root={root} --container-name=web --tag=latest')
    assert root.is_dir()


def test_dry_run_tells_of_the_stash(
    small: StoredImages, stashed: List[Tuple[StashRequest, bool]], tmp_path: Path
) -> None:
    text = run_stackbuild(request(tmp_path, stash_as='web', dry_run=True, root_only=True))
    assert text.splitlines()[-1] == 'Stashed as: web:latest'
    assert stashed == [] and not (tmp_path / 'out').exists()


WRONG: List[Tuple[Dict[str, Any], str]] = [
    ({'stash_as': 'Web'}, "--stash-as 'Web' cannot name a stash"),
    ({'stash_as': ''}, "--stash-as '' cannot name a stash"),
    ({'stash_as': 'web:'}, "--stash-as 'web:' cannot name a stash"),
    ({'stash_as': 'web:a/b'}, "--stash-as 'web:a/b' cannot name a stash"),
    ({'stash_as': 'host:5000/web'}, 'cannot name a stash'),
    ({'exports': ('oci-archive:/tmp/x',)}, 'there is no stash to copy'),
    ({'stash_as': 'web', 'exports': ('web',)}, 'names no transport'),
    ({'root_only': True, 'kiwi_args': ('--add-package=x',)}, '--root-only and no --description'),
    ({'root_only': True, 'description': '/nowhere'}, '/nowhere'),
    ({'root_only': True, 'description': '{d}', 'kiwi_args': ('--root=/',)}, 'sets --root itself'),
    ({'root_only': True, 'description': '{d}', 'kiwi_args': ('--target-dir=/',)},
     'system prepare does not accept'),
]


@pytest.mark.parametrize(('options', 'says'), WRONG)
def test_what_is_wrong_is_said_before_anything_is_touched(
    small: StoredImages, tmp_path: Path, options: Dict[str, Any], says: str,
    stashed: List[Tuple[StashRequest, bool]]
) -> None:
    if options.get('description') == '{d}':
        options = {**options, 'description': write_extension(tmp_path)}
    with pytest.raises(KiwiStackBuildError) as wrong:
        run_stackbuild(request(tmp_path, **options))
    assert says in wrong.value.summary
    assert not (tmp_path / 'out').exists() and stashed == []


@pytest.mark.parametrize(('text', 'expected'), [
    ('web', ('web', 'latest')), ('web:v1', ('web', 'v1')), ('a/b:1.0', ('a/b', '1.0'))
])
def test_names(text: str, expected: Tuple[str, str]) -> None:
    assert split_stash_name(text) == expected
