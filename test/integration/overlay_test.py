# SPDX-License-Identifier: GPL-3.0-or-later
"""stackbuild --overlay, with the real tools."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from containers import describe_container, read_container
from killing import descendants, slow_tool, start
from noting import make_noting_root, write_role
from storages import Storage, image_root, mounts_below
from trees import describe

#: what is said where the changes beside a root do not tell
SCANNED = 'is looked at, not only its changes'


@pytest.fixture
def base(storage: Storage, tmp_path: Path) -> Iterator[Path]:
    """Give a stashed tree with hard links and a package manager."""
    root = make_noting_root(tmp_path / 'root')
    (root / 'etc/one').write_text('linked')
    os.link(root / 'etc/one', root / 'usr/two')
    (root / 'usr/large').write_bytes(os.urandom(1 << 20))
    storage.kiwi('stash', '--root', str(root))
    yield root
    # of a test that failed
    for point in reversed(mounts_below(tmp_path)):
        if '/image-root' in point:
            subprocess.run(['umount', '--lazy', point], check=False)


def build(storage: Storage, target: Path, *words: str, check: bool = True) -> str:
    """Make the root of the role beside the target, return what is said."""
    result = storage.kiwi(
        'stackbuild', '--description', str(target.parent / 'web'), '--root-only',
        '--target-dir', str(target), *words, check=check
    )
    return result.stdout + result.stderr


def stored(storage: Storage, name: str) -> Dict[bytes, Tuple[Any, ...]]:
    """Describe the tree of a stash, but for the log, that has times, and its record."""
    try:
        return describe(storage.mount(f'localhost/{name}'), ('log', 'image/stash.json'))
    finally:
        storage.unmount(f'localhost/{name}')


def holds(storage: Storage) -> List[str]:
    """Return what holds layers below overlay roots: images, containers and notes."""
    images = storage.run('podman', 'images', '--quiet', 'localhost/kiwi-overlay').stdout
    containers = storage.run('podman', 'ps', '--all', '--quiet').stdout
    notes = storage.where / 'graph/kiwi-stackbuild/overlays'
    return [*images.split(), *containers.split(), *(os.listdir(notes) if notes.is_dir() else ())]


def size_of(path: Path) -> int:
    return sum(one.lstat().st_size for one in path.rglob('*') if one.is_file())


def test_looked_at_changed_and_stashed_again(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    root = image_root(tmp_path / 'over')
    words = ('stackbuild', '--stash=small', '--root-only', '--overlay', '--stash-as=over')
    for _ in range(2):
        result = storage.kiwi(*words, '--if-changed', '--target-dir', str(tmp_path / 'over'))
    assert 'Nothing changed' in result.stdout + result.stderr
    assert storage.stash('over')['layers'] == 1, 'nothing changed'
    for number in (1, 2):
        said = storage.kiwi('stackbuild', '--mount', str(tmp_path / 'over')).stdout
        assert said.strip() == str(root)
        (root / 'usr/large').unlink(missing_ok=True)
        (root / 'usr/two').write_text(f'{number} of both names')
        (root / f'etc/{number}').write_text('new')
        wanted = describe(root, ('image/stash.json',))
        storage.kiwi('stackbuild', '--unmount', str(tmp_path / 'over'))
        assert os.listdir(root) == [] and not mounts_below(tmp_path / 'over')
        storage.forget_indexes()
        result = storage.kiwi('stash', '--root', str(root), '--container-name=over')
        assert SCANNED not in result.stdout + result.stderr
        assert not mounts_below(tmp_path / 'over')
        assert stored(storage, 'over') == wanted
        assert storage.stash('over')['layers'] == 1 + number
    process = start_until(storage, tmp_path, 'podman', 'tag', 'stash', '--root', str(root))
    assert mounts_below(tmp_path / 'over')
    end(process, signal.SIGKILL)
    storage.kiwi('stash', '--root', str(root), '--container-name=over')
    assert not mounts_below(tmp_path / 'over'), 'neither that of the killed one'
    mount_otherwise(storage, root)
    (root / 'usr/share').rename(root / 'usr/renamed')
    wanted = describe(root, ('image/stash.json',))
    result = storage.kiwi('stash', '--root', str(root), '--container-name', 'over')
    assert SCANNED in result.stdout + result.stderr
    assert stored(storage, 'over') == wanted
    subprocess.run(['umount', root], check=True)


def start_until(
    storage: Storage, tmp_path: Path, tool: str, word: str, *words: str
) -> subprocess.Popen[bytes]:
    """Start a run that hangs as soon as a tool has done something."""
    path = storage.environment['PATH']
    flag = slow_tool(storage, tmp_path, tool, f'*" {word} "*')
    process = start(storage, *words)
    storage.environment['PATH'] = path
    while not flag.exists():
        time.sleep(0.05)
        assert process.poll() is None
    flag.unlink()
    shutil.rmtree(tmp_path / 'slow')
    return process


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a run by a signal, then the tool that hangs."""
    hanging = descendants(process.pid)
    process.send_signal(number)
    process.wait()
    for pid in hanging:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def mount_otherwise(storage: Storage, root: Path) -> None:
    """Mount a root such that directories can be renamed in it: by a mark, and no copy."""
    storage.kiwi('stackbuild', '--mount', str(root))
    told = Path('/proc/self/mountinfo').read_text(encoding='utf-8')
    line = next(line for line in told.splitlines() if f' {root} ' in line)
    lower = re.search(r'lowerdir=([^,]*)', line)
    assert lower
    subprocess.run(['umount', root], check=True)
    subprocess.run([
        'mount', '-t', 'overlay', 'overlay', '-o',
        f'lowerdir={lower[1]},upperdir={root}.overlay/upper,workdir={root}.overlay/work,'
        'redirect_dir=on', root
    ], check=True, cwd=storage.where / 'graph/overlay')


def test_tree_is_that_of_the_stashes_to_the_nanosecond(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    """Beside a copy, which it becomes on another file system."""
    other = make_noting_root(tmp_path / 'other', 'other')
    (other / 'usr/two').write_text('changed by the other')
    storage.kiwi('stash', '--root', str(other))
    place = Path(tempfile.mkdtemp(dir='/dev/shm'))
    try:
        for name, target in (('copy', place / 'out'), ('over', tmp_path / 'over')):
            result = storage.kiwi(
                'stackbuild', '--stash=small', '--stash=other', '--root-only', '--overlay',
                '--target-dir', str(target), f'--stash-as={name}'
            )
            is_said = 'copied: storage and target are on different file systems' in (
                result.stdout + result.stderr
            )
            assert is_said is (name == 'copy') and not mounts_below(target)
    finally:
        shutil.rmtree(place)
    assert stored(storage, 'copy') == stored(storage, 'over')


def test_layers_are_held_until_they_are_let_go(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    words = ('stackbuild', '--root-only', '--overlay')
    result = storage.kiwi(*words, '--stash=small', '--target-dir', str(tmp_path / 'over'))
    wanted = stored(storage, 'small')
    storage.run('podman', 'rmi', '--force', 'localhost/small')
    storage.run('podman', 'image', 'prune', '--all', '--force')
    storage.kiwi('stash', '--root', str(base), '--container-name=kept', '--no-base')
    (tmp_path / 'over').rename(tmp_path / 'moved')
    # another root at the path of the first
    storage.kiwi(*words, '--stash=kept', '--target-dir', str(tmp_path / 'over'))
    assert [one['name'] for one in storage.stashes()] == ['kept'], 'what holds is no stash'
    root = image_root(tmp_path / 'moved')
    storage.kiwi('stash', '--root', str(root), '--container-name=late', '--no-base')
    assert stored(storage, 'late') == wanted
    shutil.rmtree(tmp_path / 'over')
    assert len(holds(storage)) == 6
    storage.kiwi('stash', '--prune', '--keep-last=9')
    assert len(holds(storage)) == 3, 'what held for the root that is gone went'
    held = re.search(
        r'podman rmi --force (localhost/kiwi-overlay:[0-9a-f]{16})',
        result.stdout + result.stderr
    )
    assert held
    storage.run('podman', 'rmi', '--force', held[1])
    failed = storage.kiwi('stash', '--root', str(root), check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1 and 'layers below it are gone' in said
    assert 'Traceback' not in said
    storage.kiwi(
        'stackbuild', '--root-only', '--if-changed', '--stash=kept',
        '--target-dir', str(tmp_path / 'moved')
    )
    assert not Path(f'{root}.overlay').exists() and (root / 'usr/large').exists()
    assert holds(storage) == [], 'a copy has none'


def test_container_that_cannot_be_made_fails_the_run(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    """It is made while the root is; that must not go unheard."""
    folder = tmp_path / 'fake'
    folder.mkdir()
    (folder / 'podman').write_text(
        '#!/bin/sh\n[ "$1" = create ] && { echo "Error: none today" >&2; exit 125; }\n'
        f'exec {shutil.which("podman")} "$@"\n'
    )
    (folder / 'podman').chmod(0o755)
    path = storage.environment['PATH']
    storage.environment['PATH'] = f'{folder}:{path}'
    failed = storage.kiwi(
        'stackbuild', '--root-only', '--overlay', '--stash=small',
        '--target-dir', str(tmp_path / 'over'), check=False
    )
    storage.environment['PATH'] = path
    assert failed.returncode == 1
    assert 'podman create: Error: none today' in failed.stdout + failed.stderr
    assert not (tmp_path / 'over').exists() and not mounts_below(tmp_path / 'over')
    assert holds(storage) == [] and storage.left_overs() == []


def test_a_container_of_it_is_that_of_a_copy(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    """What is left out of it is found without a scan of all."""
    describe_container(root, 'docker')
    for name in ('tmp/of-stash', 'run/of-stash/file', 'var/cache/kiwi/file', 'etc/kept'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    storage.kiwi('stash', '--root', str(root))
    trees = []
    for target, words in ((tmp_path / 'copy', ()), (tmp_path / 'over', ('--overlay',))):
        said = storage.kiwi(
            'stackbuild', '--stash=small', '--target-dir', str(target), *words, options=fast
        ).stdout
        assert SCANNED not in said
        assert os.path.isdir(f'{image_root(target)}.overlay') is bool(words)
        archive, = target.glob('*.tar')
        tree = read_container(archive, 'docker-archive', target).tree
        trees.append({path: (*told[:4], *told[5:]) for path, told in tree.items()})
    assert trees[0] == trees[1] and b'etc/kept' in trees[1]
    assert b'tmp/of-stash' not in trees[1] and b'run/of-stash' not in trees[1]


@pytest.mark.parametrize(('target', 'told'), [
    ('{}/none/yet', 'the root tree is an overlay on localhost/small:latest'),
    ('/dev/shm/none/yet', 'it is no overlay: storage and target are on different file systems')
])
def test_dry_run_tells_whether_it_can_be_one(
    storage: Storage, base: Path, tmp_path: Path, target: str, told: str
) -> None:
    place = target.format(tmp_path)
    said = storage.kiwi(
        'stackbuild', '--stash=small', '--overlay', '--dry-run', '--target-dir', place
    ).stdout
    assert told in ' '.join(said.split())
    assert not Path(place).exists() and holds(storage) == []


def test_is_what_the_copy_is_after_failure_and_kill(
    storage: Storage, base: Path, tmp_path: Path
) -> None:
    write_role(tmp_path / 'web')
    over = tmp_path / 'over'
    root = image_root(over)
    script = tmp_path / 'web/config.sh'
    good = script.read_text()
    script.write_text('#!/bin/sh\nexit 1\n')
    said = build(storage, over, '--overlay', check=False)
    assert 'config.sh' in said and 'Traceback' not in said
    assert not mounts_below(over) and os.listdir(root) == [] and len(holds(storage)) == 3
    script.write_text('#!/bin/sh\n: >/reached\nwhile [ -e /reached ]; do :; done\nexit 1\n')
    process = start(
        storage, 'stackbuild', '--description', str(tmp_path / 'web'), '--root-only',
        '--target-dir', str(over), '--overlay'
    )
    while not (root / 'reached').exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.kill()
    (root / 'reached').unlink()
    process.wait()
    script.write_text(good)
    assert SCANNED not in build(storage, over, '--overlay', '--stash-as=over')
    assert not mounts_below(over) and os.listdir(root) == []
    assert size_of(root.parent / 'image-root.overlay') < 1 << 18
    assert storage.stash('over')['layer_size'] < 1 << 16
    assert len(holds(storage)) == 3, 'what held for those before went with them'
    build(storage, tmp_path / 'copy', '--stash-as=copy')
    one, two = (
        {path: (*told[:4], *told[5:]) for path, told in stored(storage, name).items()}
        for name in ('copy', 'over')
    )
    assert one == two and b'etc/web' in one
    storage.remove_kiwis_files()


def test_end_while_the_root_is_made(storage: Storage, base: Path, tmp_path: Path) -> None:
    words = (
        'stackbuild', '--stash=small', '--root-only', '--overlay',
        '--target-dir', str(tmp_path / 'over')
    )
    for tool, word, number in (
        ('podman', 'create', signal.SIGKILL), ('mount', 'overlay', signal.SIGKILL),
        ('mount', '--bind', signal.SIGINT)
    ):
        end(start_until(storage, tmp_path, tool, word, *words), number)
    assert not mounts_below(tmp_path / 'over'), 'of the last, nor of those that were killed'
    assert len(holds(storage)) == 3
    storage.kiwi(*words, '--stash-as=over')
    assert not mounts_below(tmp_path / 'over') and len(holds(storage)) == 3
    assert storage.stash('over')['layers'] == 1
    assert sorted(one.name for one in (tmp_path / 'over/build').iterdir()) == [
        '.stackbuild.json', 'image-root', 'image-root.overlay'
    ]
    storage.remove_kiwis_files()
