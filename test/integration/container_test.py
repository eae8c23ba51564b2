# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers as layers on a stash, held against those that kiwi makes with umoci."""
from __future__ import annotations

import json
import os
import signal
import stat
import time
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pytest
from containers import (
    Made, Wanted, describe_container, drop_created, make_container, read_container
)
from killing import slow_tool, start
from kiwi.container import oci
from kiwi.defaults import Defaults
from storages import Storage, image_root, remove_storage
from trees import make_root

from kiwi_stackbuild_plugin.description.origin import take_moment, write_origin
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stackbuild.container import STASH, ContainerPlan, container_tool
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.tree.opening import opened_tree

#: kiwi's umoci class leaves its directories to the garbage collector
pytestmark = pytest.mark.filterwarnings('ignore:Implicitly cleaning up:ResourceWarning')

#: that one loses all extended attributes on their way to umoci
NOT_KIWI_9 = not version('kiwi').startswith('9.')
CAPABILITY = b'\x01\0\0\x02\0\x20' + bytes(14)
ALL_KEYS: Dict[str, Any] = {
    'container_name': 'made', 'container_tag': 'v1', 'maintainer': 'M <m@x>',
    'entry_command': ['/bin/sh', '-c'], 'entry_subcommand': ['ls', '-l a'], 'user': '7:8',
    'workingdir': '/srv', 'expose_ports': ['80', '443/tcp'], 'volumes': ['/var/b', '/var/a'],
    'environment': {'Z': '1', 'PATH': '/bin', 'EMPTY': '', 'A': 'x=y'},
    'labels': {'z': 'last', 'a': 'x=y', 'empty': ''}, 'stopsignal': 'SIGINT',
    'history': {'author': 'H', 'comment': 'C', 'created_by': 'B'}
}
if not NOT_KIWI_9:
    # kiwi 9 has no such attribute, nor does its umoci class know the key
    del ALL_KEYS['stopsignal']


class Site(NamedTuple):
    """A storage that this process uses, with two stashes: of a tree, and a derived one."""

    storage: Storage
    root: Path
    derived: Path
    archive: Path


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    where = tmp_path_factory.mktemp('site')
    (where / 'temp').mkdir()
    storage = Storage(where / 'storage', where / 'temp')
    root = make_root(where / 'root')
    (root / 'etc/folder/deep').mkdir(parents=True)
    (root / 'etc/folder/deep/file').write_text('x')
    (root / 'tmp/of-stash').write_text('x')
    storage.kiwi('stash', '--root', str(root))
    derived = make_derived(storage, where)
    yield Site(storage, root, derived, where / 'container.tar')
    remove_storage(storage.where)


def make_derived(storage: Storage, where: Path) -> Path:
    """Make a container with settings, and the stash of a tree that is derived from it."""
    container = make_root(where / 'container')
    for name in ('tmp/of-container', 'tmp/changed', 'run/deep/file', 'etc/of-container'):
        (container / name).parent.mkdir(exist_ok=True)
        (container / name).write_text(name)
    os.utime(container / 'tmp/changed', (1_600_000_000, 1_600_000_000))
    made = make_container(
        Wanted(container, ALL_KEYS, empty_tmpdirs=False),
        where / 'made'
    )
    for target in (
        f'oci-archive:{where}/container.tar:base_layer',
        'containers-storage:localhost/container:latest'
    ):
        storage.run('skopeo', 'copy', f'oci-archive:{made.archive}', target)
    (container / 'tmp/of-container').unlink()
    # size and time stay
    (container / 'tmp/changed').write_text('TMP/CHANGED')
    os.utime(container / 'tmp/changed', (1_600_000_000, 1_600_000_000))
    (container / 'tmp/of-tree').write_text('x')
    for path in (container / 'run/deep').iterdir():
        path.unlink()
    (container / 'run/deep').rmdir()
    storage.kiwi(
        'stash', '--root', str(container), '--container-name', 'derived',
        '--base', 'localhost/container:latest'
    )
    return container


@pytest.fixture
def here(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """Have this process use the storage; nothing is left in it."""
    for key in ('CONTAINERS_STORAGE_CONF', 'KIWI_STASH_CACHE'):
        monkeypatch.setenv(key, site.storage.environment[key])
    monkeypatch.setattr(Defaults, 'get_temp_location', lambda: str(site.storage.temp_dir))
    before = site.storage.run('podman', 'images', '--all', '--quiet').stdout
    yield site
    left = [path for path in site.storage.left_overs() if 'kiwi-stash' in path or 'merged' in path]
    assert not left
    assert site.storage.run('podman', 'images', '--all', '--quiet').stdout == before


def copy_of(tree: Path, where: Path, edit: Callable[[Path], None]) -> Path:
    Storage.run(SITELESS, 'cp', '-a', str(tree), str(where))
    edit(where)
    return where


class _NoStorage(Storage):
    def __init__(self) -> None:
        self.environment = dict(os.environ)


SITELESS = _NoStorage()


def found(name: str) -> ImageInfo:
    info = local.find_image(f'localhost/{name}:latest')
    assert info is not None
    return info


def differences(one: Made, two: Made) -> List[Tuple[bytes, Any, Any]]:
    left, right = one.tree, two.tree
    # umoci rounds times to seconds
    end = 8 if NOT_KIWI_9 else 7
    return [
        (path, left.get(path), right.get(path)) for path in sorted({*left, *right})
        if path not in left or path not in right
        or abs(left[path][4] - right[path][4]) > 10**9
        or left[path][:4] + left[path][5:end] != right[path][:4] + right[path][5:end]
    ]


def edit_much(root: Path) -> None:
    """Change a root in all ways that a build might."""
    (root / 'etc/new').write_text('new\n')
    (root / 'etc/hostname').unlink()
    (root / 'etc/os-release').chmod(0o600)
    (root / 'usr/bin/tool2').unlink()
    (root / 'usr/bin/tool2').write_text('no link any more')
    os.link(root / 'usr/bin/tool2', root / 'usr/bin/tool3')
    # one name of this one is excluded
    os.link(root / 'etc/new', root / 'image/linked')
    (root / 'etc/folder/deep/file').unlink()
    (root / 'etc/folder/deep').rmdir()
    (root / 'etc/folder/deep').symlink_to('nowhere')
    (root / 'usr/bin/link').unlink()
    (root / 'usr/bin/link').mkdir(0o711)
    (root / 'usr/bin/link/below').write_text('x')
    os.mkfifo(root / 'etc/fifo')
    os.mknod(root / 'etc/device', 0o600 | stat.S_IFBLK, os.makedev(7, 300))
    os.chown(root / 'etc/new', 1234, 65534)
    os.setxattr(root / 'etc/new', 'user.note', b'x')
    os.setxattr(root / 'usr/bin/tool2', 'security.capability', CAPABILITY)
    (root / 'etc/\udcff\n').write_text('x')
    (root / 'run/now').write_text('x')
    (root / 'dev/null').write_text('x')
    (root / '.kconfig').write_text('x')
    (root / 'etc/cache').mkdir()
    for name in ('a.log', 'b.txt'):
        (root / 'etc/cache' / name).write_text('x')
    (root / 'image/exclude_files.yaml').write_text('exclude:\n  - etc/cache/*.log\n')


def remember_origin(root: Path) -> None:
    """Write what stackbuild does, so that times of the root are trusted."""
    with opened_tree(str(root)) as fd:
        write_origin(fd, found('derived').image_id, 'derived', '', take_moment(fd))


def edit_derived(root: Path) -> None:
    (root / 'etc/role').write_text('derived\n')
    (root / 'etc/of-container').unlink()
    (root / 'tmp/later').write_text('x')


@pytest.mark.parametrize('config, transport, empty_tmpdirs, names', [
    (ALL_KEYS, 'oci-archive', True, ['made:v1']),
    ({
        'container_name': 'made', 'additional_names': [':two', 'other', 'third:x'],
        'entry_command': []
    }, 'docker-archive', False, ['made:latest', 'made:two', 'other:latest', 'third:x']),
    ({}, 'oci-archive', True, ['kiwi-container:latest'])
], ids=['all-keys', 'names', 'defaults'])
def test_the_same_container_as_with_umoci(
    here: Site, tmp_path: Path, config: Dict[str, Any], transport: str, empty_tmpdirs: bool,
    names: List[str]
) -> None:
    root = copy_of(here.root, tmp_path / 'root', edit_much)
    wanted = Wanted(root, config, transport, '', empty_tmpdirs)
    plan = ContainerPlan(STASH, found('small'))
    check_the_same(make_container(wanted, tmp_path / 'umoci'), make_container(
        wanted, tmp_path / 'stash', plan
    ), found('small'), names)


def check_the_same(oracle: Made, ours: Made, base: ImageInfo, names: List[str]) -> None:
    assert not differences(oracle, ours)
    assert drop_created(ours.settings) == drop_created(oracle.settings)
    assert drop_created(ours.last) == drop_created(oracle.last)
    assert sorted(ours.names) == sorted(oracle.names) == sorted(names)
    assert tuple(ours.config['rootfs']['diff_ids'][:-1]) == base.layers
    assert sum(not entry.get('empty_layer') for entry in ours.config['history']) == len(
        base.layers
    ) + 1
    assert not any(path.split(b'/')[0] == b'image' for path in ours.tree)
    if b'etc/new' in ours.tree:
        assert ours.tree[b'usr/bin/tool2'][7] == (('security.capability', CAPABILITY),)


@pytest.mark.parametrize('known', [True, False], ids=['lowest-layers', 'another'])
def test_a_derived_container_keeps_what_it_has_where_it_is_excluded(
    here: Site, tmp_path: Path, known: bool
) -> None:
    root = copy_of(here.derived, tmp_path / 'root', remember_origin)
    edit_derived(root)
    wanted = Wanted(root, {
        'container_name': 'made', 'environment': {'A': 'new', 'B': '1'}, 'labels': {'a': 'new'},
        'volumes': ['/var/c'], 'expose_ports': ['81'], 'entry_command': [],
        'history': {'comment': 'no author: that of the container'}
    }, base_image=str(here.archive))
    config = here.storage.run(
        'skopeo', 'inspect', '--config', '--raw', f'oci-archive:{here.archive}'
    ).stdout
    plan = ContainerPlan(STASH, found('derived'), config if known else '')
    ours = make_container(wanted, tmp_path / 'stash', plan)
    check_the_same(
        make_container(wanted, tmp_path / 'umoci'), ours, found('derived'), ['made:latest']
    )
    assert {b'tmp/of-container', b'run/deep/file'} < set(ours.tree)
    assert ours.tree[b'tmp/changed'][5][1] == sha256(b'tmp/changed').hexdigest()
    assert not {b'tmp/of-tree', b'tmp/later', b'etc/of-container'} & set(ours.tree)


def test_an_unchanged_tree_is_no_new_layer_and_the_build_service_is_named(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / 'root', 'plain')
    for name in ('image', '.profile'):
        here.storage.run('rm', '-r', str(root / name))
    database = root / 'usr/lib/sysimage/rpm'
    database.mkdir(parents=True)
    (database / 'rpmdb.sqlite').write_text('packages')
    here.storage.kiwi('stash', '--root', str(root), '--container-name', 'plain')
    # kiwi itself asks rpm for its packages before it makes the container
    (database / 'rpmdb.sqlite-shm').write_text('read')
    (tmp_path / 'buildenv').write_text("BUILD_DISTURL='obs://x/y'\n")
    monkeypatch.setattr(
        Defaults, 'get_buildservice_env_name', lambda: f'{tmp_path}/buildenv'.lstrip('/')
    )
    base = found('plain')
    made = make_container(Wanted(root), tmp_path / 'made', ContainerPlan(STASH, base))
    here.storage.run('podman', 'rmi', 'plain')
    assert tuple(made.config['rootfs']['diff_ids']) == base.layers
    assert made.config['history'][-1]['empty_layer'] is True
    assert made.settings['config']['Labels'] == {'org.openbuildservice.disturl': 'obs://x/y'}


def test_a_base_that_is_gone_leaves_it_to_kiwi(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with container_tool(ContainerPlan(STASH, ImageInfo('0' * 64, ('localhost/x:latest',)))):
        assert type(oci.OCI.new()).__name__ == 'OCIUmoci'
    assert 'localhost/x:latest is no longer stored' in caplog.text


def test_what_is_derived_from_is_copied_into_a_root(here: Site, tmp_path: Path) -> None:
    (tmp_path / 'root').mkdir()
    with container_tool(ContainerPlan(STASH, found('derived'))):
        tool = oci.OCI.new()
        tool.import_container_image(f'oci-archive:{here.archive}:base_layer')
        tool.unpack()
        tool.import_rootfs(str(tmp_path / 'root'), ['tmp'])
    assert (tmp_path / 'root/etc/of-container').is_file()
    assert not (tmp_path / 'root/tmp').exists()


def test_a_failure_leaves_nothing(here: Site, tmp_path: Path) -> None:
    wanted = Wanted(here.root, transport='no-transport')
    with pytest.raises(Exception, match='no-transport'):
        make_container(wanted, tmp_path / 'made', ContainerPlan(STASH, found('small')))


@pytest.mark.parametrize('transport', ['oci-archive', 'docker-archive'])
def test_a_directory_with_a_colon(here: Site, tmp_path: Path, transport: str) -> None:
    (tmp_path / 'a: b').mkdir()
    with container_tool(ContainerPlan(STASH, found('small'))):
        archive = oci.ContainerImageOCI(str(here.root), transport).create(
            str(tmp_path / 'a: b/made.tar'), None, True, False
        )
    # skopeo, which reads it here, cannot have a colon either
    moved = Path(archive).rename(tmp_path / 'made.tar')
    assert b'etc/folder/deep/file' in read_container(moved, transport, tmp_path).tree
    assert not any((tmp_path / 'a: b').iterdir())


def build(
    storage: Storage, target: Path, fast: List[str], *words: str, path: str = ''
) -> Tuple[str, Path]:
    """Build the one container of a stash; return what was said, and the archive."""
    said = storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(target), *words, options=fast,
        env={'PATH': f'{path}:{os.environ["PATH"]}'} if path else {}
    ).stdout
    archives = list(target.glob('*.tar'))
    assert len(archives) == 1
    return said, archives[0]


def test_stackbuild_makes_layers_of_a_stash(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    describe_container(root, 'docker')
    storage.kiwi('stash', '--root', str(root))
    dry = storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out'), '--dry-run'
    ).stdout
    assert 'Container: one layer on the 1 of localhost/small:latest' in dry
    (tmp_path / 'path').mkdir()
    for tool in ('umoci', 'buildah', 'rsync'):
        (tmp_path / 'path' / tool).write_text('#!/bin/sh\nexit 1\n')
        (tmp_path / 'path' / tool).chmod(0o755)
    said, archive = build(storage, tmp_path / 'out', fast, path=str(tmp_path / 'path'))
    assert 'xz' not in said
    made = read_container(archive, 'docker-archive', tmp_path / 'out')
    info = json.loads(storage.run('podman', 'image', 'inspect', 'small').stdout)[0]
    assert made.config['rootfs']['diff_ids'][:-1] == info['RootFS']['Layers']
    assert not any(path.split(b'/')[0] == b'image' for path in made.tree)
    assert (image_root(tmp_path / 'out') / 'image/config.xml').is_file()
    assert sorted(made.names) == ['made:latest', 'made:more']


def test_another_tool_is_chosen(
    here: Site, storage: Storage, root: Path, tmp_path: Path
) -> None:
    made = make_container(Wanted(root), tmp_path / 'made', ContainerPlan('umoci'))
    assert len(made.config['history']) == 1
    describe_container(root, 'oci')
    storage.kiwi('stash', '--root', str(root))
    words = ('stackbuild', '--stash=small', f'--target-dir={tmp_path}/out', '--dry-run')
    told = storage.kiwi(*words, '--container-tool=buildah').stdout
    assert 'Container: buildah packs it' in told
    refused = storage.kiwi(*words, '--container-tool=docker', check=False)
    assert refused.returncode == 1
    assert "--container-tool 'docker' is not known" in refused.stderr


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_killed_while_the_archive_is_written(
    storage: Storage, root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    describe_container(root, 'oci')
    storage.kiwi('stash', '--root', str(root))
    images = storage.run('podman', 'images', '--all', '--quiet').stdout
    flag = slow_tool(storage, tmp_path, 'skopeo', '*" copy "*containers-storage:*" oci:"*')
    process = start(storage, 'stackbuild', '--stash=small', f'--target-dir={tmp_path}/out')
    while not flag.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == (-9 if number == signal.SIGKILL else 128 + number)
    storage.environment['PATH'] = os.environ['PATH']
    storage.remove_kiwis_files()
    if number == signal.SIGKILL:
        # as any run does
        storage.kiwi('stash', '--root', str(root))
    assert storage.left_overs() == []
    assert storage.run('podman', 'images', '--all', '--quiet').stdout == images
