# SPDX-License-Identifier: GPL-3.0-or-later
"""--if-changed: each input by itself makes it build, and nothing else does."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Tuple

import kiwi.defaults
import pytest
from stored_images import LAYER, StoredImages, own_labels
from trees import make_root

from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.inputs.inputs import Inputs
from kiwi_stackbuild_plugin.inputs.record import Record, find_results, write_record
from kiwi_stackbuild_plugin.stackbuild import kiwi_call, unchanged
from kiwi_stackbuild_plugin.stackbuild.kiwi_call import KiwiCall
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.stackbuild.stackbuild import stackbuild
from kiwi_stackbuild_plugin.stackbuild.target import Target
from kiwi_stackbuild_plugin.stackbuild.unchanged import gather_inputs, reasons_to_build

#: kiwi leaves temporary files open, they go when nobody has them any more
pytestmark = pytest.mark.filterwarnings('ignore:unclosed file.*kiwi_:ResourceWarning')
ONE, TWO = '1' * 64, '2' * 64
EXTENSION = '''<image stashed="small:v1" name="bigger">
  <repository type="rpm-md"><source path="dir://{where}/repo"/></repository>
</image>'''


@pytest.fixture(autouse=True)
def temp_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kiwi_as_imported: None
) -> None:
    (tmp_path / 'temp').mkdir()
    monkeypatch.setattr(kiwi.defaults, 'TEMP_DIR', str(tmp_path / 'temp'))


@pytest.fixture
def builds(
    stored: StoredImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> List[str]:
    """Give a storage with two stashes, a description, and what kiwi was called for."""
    for image_id, name in ((ONE, 'small:v1'), (TWO, 'other:v1')):
        make_root(stored.tree(image_id))
        stored.add(
            image_id, f'localhost/{name}', told=own_labels(),
            layers=(LAYER if image_id == ONE else f'{LAYER[:-1]}b',)
        )
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd/config.xml').write_text(EXTENSION.format(where=tmp_path))
    (tmp_path / 'repo/repodata').mkdir(parents=True)
    (tmp_path / 'repo/repodata/repomd.xml').write_text('1')
    (tmp_path / 'key').write_text('key')
    made: List[str] = []

    def run(call: KiwiCall) -> None:
        # not the task: it holds temporary files of kiwi's
        made.append(' '.join(call.argv))
        (tmp_path / 'out/image.tar').write_text('image')

    monkeypatch.setattr(kiwi_call, 'run', run)
    return made


@pytest.fixture
def request_(tmp_path: Path) -> StackbuildRequest:
    return StackbuildRequest(
        ('small:v1',), f'{tmp_path}/out', f'{tmp_path}/d', if_changed=True,
        kiwi_args=(f'--signing-key={tmp_path}/key',)
    )


def test_nothing_is_built_twice(
    builds: List[str], request_: StackbuildRequest, caplog: pytest.LogCaptureFixture,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level('INFO')
    stackbuild(request_)
    assert 'To be built: no record of an earlier build' in caplog.text
    (tmp_path / 'out/build/image-root/edited').write_text('')
    before = sorted((tmp_path / 'out').rglob('*'))
    stackbuild(request_)
    stackbuild(replace(request_, stashes=(ONE,), pull='never'))
    assert len(builds) == 1 and 'Nothing changed since' in caplog.text
    assert sorted((tmp_path / 'out').rglob('*')) == before
    (tmp_path / 'd/config.sh').write_text('')
    text = stackbuild(replace(request_, dry_run=True))
    assert text.splitlines()[-1] == '  description changed'
    with pytest.raises(KiwiStashTargetInvalid, match='from an earlier run'):
        stackbuild(replace(request_, if_changed=False))

    def fail(call: KiwiCall) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kiwi_call, 'run', fail)
        stackbuild(request_)
    (tmp_path / 'd/config.sh').unlink()
    stackbuild(request_)
    assert len(builds) == 2, 'what failed is no record, what was before is replaced'
    os.unlink(tmp_path / 'out/build/.stackbuild.json')
    with pytest.raises(KiwiStashTargetInvalid, match='from an earlier run'):
        stackbuild(request_)




def _write(path: str, text: str) -> Callable[..., None]:
    return lambda tmp_path, **more: (tmp_path / path).write_text(text)


#: what is done, what the request becomes, what is said
CHANGES: Dict[str, Any] = {
    'stash': (None, {'stashes': (TWO,)}, 'stash 1 changed'),
    'one more': (None, {'stashes': (ONE, TWO)}, 'stash 2 is new'),
    'description': (_write('d/config.sh', ''), {}, 'description changed'),
    'repository': (_write('repo/repodata/repomd.xml', '2'), {}, '/repo changed'),
    'no answer': (
        lambda tmp_path: (tmp_path / 'repo').rename(tmp_path / 'moved'), {},
        '/repo cannot be asked, which counts as changed'
    ),
    'key': (_write('key', 'other'), {}, '/key changed'),
    'arguments': (None, {'kiwi_args': ('--add-package=x',)}, 'arguments changed'),
    'type': (None, {'global_args': {'--type': 'oci'}}, 'type changed from none given to oci'),
    'profile': (None, {'global_args': {'--profile': ['a']}}, 'profiles changed from none'),
    'global option': (None, {'global_args': {'--target-arch': 'x86_64'}}, 'global options changed'),
    'option': (None, {'keep_scripts': True}, 'options changed'),
    'root only': (None, {'root_only': True}, 'options changed'),
    'image gone': (lambda tmp_path: (tmp_path / 'out/image.tar').unlink(), {}, 'image.tar is gone'),
    'other image': (_write('out/image.tar', 'x'), {}, 'image.tar is another'),
    'root gone': (
        lambda tmp_path: (tmp_path / 'out/build/image-root').rmdir(), {}, 'image-root is gone'
    ),
    'record gone': (
        lambda tmp_path: (tmp_path / 'out/build/.stackbuild.json').unlink(), {}, 'no record'
    ),
    # what does not count
    'debug': (None, {'global_args': {'--debug': True, '--logfile': '/x', '--temp-dir': '/y'}}, ''),
    'where from': (None, {'pull': 'never', 'max_age': '9w', 'from_registry': 'h'}, ''),
    'nothing': (None, {}, ''),
}


@pytest.fixture
def built(tmp_path: Path, request_: StackbuildRequest) -> Callable[..., List[str]]:
    """Give why a request is built again, after it was built once."""
    for name in ('d', 'repo/repodata', 'out/build/image-root'):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / 'repo/repodata/repomd.xml').write_text('1')
    (tmp_path / 'd/config.xml').write_text('<image/>')
    (tmp_path / 'key').write_text('key')
    (tmp_path / 'out/image.tar').write_text('image')
    target = Target(request_.target_dir)
    section = SimpleNamespace(
        get_source=lambda: SimpleNamespace(get_path=lambda: f'dir://{tmp_path}/repo'),
        get_type=lambda: 'rpm-md', get_distribution=lambda: None, get_alias=lambda: None,
        get_username=lambda: None, get_password=lambda: None
    )
    state = SimpleNamespace(
        xml_data=SimpleNamespace(export=lambda out, level: out.write('<image/>')),
        get_repositories_signing_keys=list, get_package_manager=lambda: 'dnf',
        build_type=SimpleNamespace(get_derived_from=lambda: None),
        get_release_version=lambda: '0', get_repository_sections_used_for_build=lambda: [section]
    )
    call = KiwiCall((), SimpleNamespace(xml_state=state))

    def gather(asked: StackbuildRequest) -> Inputs:
        images: Any = [SimpleNamespace(image_id=one) for one in asked.stashes]
        return gather_inputs(asked, target, call, images, False)

    first = replace(request_, stashes=(ONE,))
    write_record(target.build_dir, Record(gather(first), find_results(target.path)))

    def why(**fields: Any) -> List[str]:
        asked = replace(first, **fields)
        return reasons_to_build(asked, target, gather(asked))

    return why


@pytest.mark.parametrize(('change', 'fields', 'says'), CHANGES.values(), ids=CHANGES)
def test_change_of_one_input(
    built: Callable[..., List[str]], tmp_path: Path, change: Any, fields: Dict[str, Any], says: str
) -> None:
    if change:
        change(tmp_path)
    reasons = built(**fields)
    assert bool(reasons) is bool(says)
    assert any(says in reason for reason in reasons) or not says


@pytest.mark.parametrize('name', ['kiwi_version', '__version__'])
def test_other_versions(
    built: Callable[..., List[str]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, name, '99')
    reason, = built()
    assert 'changed from' in reason


@pytest.mark.parametrize('words', [
    ('--set-repo=dir:///x,rpm-md', '--set-repo-credentials=u:secret'),
    ('--set-repo=dir:///x,rpm-md', '--set-repo-credentials', 'u:secret'),
])
def test_credentials_do_not_count(words: Tuple[str, ...]) -> None:
    assert list(unchanged._without_logins(words)) == ['--set-repo=dir:///x,rpm-md']


def test_stash_says_what_it_was_built_of(
    builds: List[str], request_: StackbuildRequest, stored: StoredImages
) -> None:
    asked = replace(request_, root_only=True, stash_as='web:v1', kiwi_args=())
    records: List[str] = []

    def finish(root: str, record: str) -> None:
        records.append(record)
        stored.add('4' * 64, 'localhost/web:v1', told={
            **own_labels(), labels.INPUTS: record
        })

    stackbuild(asked, finish)
    for target in (asked.target_dir, f'{asked.target_dir}-other'):
        stackbuild(replace(asked, target_dir=target), finish)
        assert len(records) == 1
    stackbuild(replace(asked, exports=('oci-archive:/nowhere.tar',)), finish)
    assert len(records) == 2
