# SPDX-License-Identifier: GPL-3.0-or-later
"""podman and skopeo missing, broken, killed, hanging, or waiting for a lock."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import List

import pytest
from storages import Storage
from trees import describe

OURS = ('image/stash.json',)


def without(storage: Storage, tmp_path: Path, *missing: str) -> None:
    """Give a PATH that has all tools but some."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for place in os.environ['PATH'].split(':'):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / tool.name
            if tool.name not in missing and not os.path.lexists(link):
                link.symlink_to(tool)
    storage.environment['PATH'] = str(folder)


def replace(storage: Storage, tmp_path: Path, tool: str, script: str) -> None:
    """Put a script in the place of a tool; "$real" is the tool itself."""
    folder = tmp_path / 'fake'
    folder.mkdir(exist_ok=True)
    (folder / tool).write_text(f'#!/bin/sh\nreal={shutil.which(tool)}\n{script}\n')
    (folder / tool).chmod(0o755)
    storage.environment['PATH'] = f'{folder}:{os.environ["PATH"]}'


def fails_with(storage: Storage, says: str, *words: str) -> None:
    """Hold that a call ends with one line and leaves all as it was."""
    images = storage.where / 'graph/overlay-images/images.json'
    before = images.read_bytes() if images.exists() else b''
    result = storage.kiwi(*words, check=False)
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert 'Traceback' not in said
    assert len([line for line in said.splitlines() if 'ERROR' in line]) == 1, said
    assert re.search(says, said, re.DOTALL), said
    storage.environment['PATH'] = os.environ['PATH']
    assert storage.left_overs() == []
    assert (images.read_bytes() if images.exists() else b'') == before


@pytest.fixture
def stashed(storage: Storage, root: Path) -> Path:
    """Give a tree that was stashed and has changed since."""
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/new').write_text('new')
    return root


@pytest.mark.parametrize(('command', 'missing'), [
    ('stash', ['podman']), ('stackbuild', ['skopeo']), ('stash_list', ['podman', 'skopeo'])
])
def test_missing_tools_are_named(
    storage: Storage, root: Path, tmp_path: Path, command: str, missing: List[str]
) -> None:
    words = {
        'stash': ['stash', '--root', str(root)], 'stash_list': ['stash_list'],
        'stackbuild': ['stackbuild', '--stash=small', f'--target-dir={tmp_path}/out']
    }[command]
    without(storage, tmp_path, *missing)
    fails_with(
        storage, f'{" and ".join(missing)}: not found in PATH.*install the package', *words
    )


@pytest.mark.parametrize(('tool', 'script', 'says'), [
    # what versions say that do not know our words
    ('skopeo', 'case " $* " in *" copy "*) echo "FATA unknown shorthand flag" >&2; exit 1;; esac\n'
     'exec $real "$@"', 'skopeo copy.*FATA unknown shorthand flag'),
    ('skopeo', 'case " $* " in *" copy "*) kill -9 $$;; esac\nexec $real "$@"',
     'skopeo copy.*ended by signal 9'),
    ('skopeo', 'case " $* " in *" copy "*) $real "$@"; kill -9 $$;; esac\nexec $real "$@"',
     'skopeo copy.*ended by signal 9'),
    ('podman', '[ "$1" = tag ] && { echo "Error: locked" >&2; exit 125; }\n'
     'exec $real "$@"', 'podman tag .*Error: locked'),
    ('podman', 'echo "no json"', 'podman image inspect: .*not JSON'),
    ('podman', 'printf "\\033[31mred\\377" >&2; exit 1', r'\\x1b\[31mred\\xff'),
    ('skopeo', '[ "$1" = inspect ] && exit 0\nexec $real "$@"', 'skopeo inspect: .*not JSON'),
    ('podman', 'exec /nonexistent', 'podman')
])
def test_tool_fails_on_the_way(
    storage: Storage, stashed: Path, tmp_path: Path, tool: str, script: str, says: str
) -> None:
    before = describe(stashed, OURS)
    storage.forget_indexes()
    replace(storage, tmp_path, tool, script)
    fails_with(storage, says, 'stash', '--root', str(stashed))
    assert describe(stashed, OURS) == before
    storage.kiwi('stash', '--root', str(stashed))
    assert storage.stash('small')['layers'] == 2


@pytest.mark.parametrize(('script', 'says'), [
    ('[ "$2" = mount ] && { echo "Error: unrecognized command" >&2; exit 125; }\n'
     'exec $real "$@"', 'podman image mount .*: Error: unrecognized command'),
    ('[ "$2" = mount ] && kill -9 $$\nexec $real "$@"',
     'podman image mount .*: ended by signal 9'),
    ('exec $real "$@"', '')
])
def test_layers_that_mount_8_does_not_mount(
    storage: Storage, stashed: Path, tmp_path: Path, script: str, says: str
) -> None:
    """podman is asked to do it then."""
    storage.forget_indexes()
    replace(storage, tmp_path, 'podman', script)
    replace(storage, tmp_path, 'mount', 'exit 32')
    words = ('stash', '--root', str(stashed))
    if says:
        fails_with(storage, says, *words)
    else:
        storage.kiwi(*words)
        assert storage.stash('small')['layers'] == 2 and storage.left_overs() == []


@pytest.mark.parametrize('words', [
    ['stash', '--root=ROOT', '--base=oci-archive:/dev/null'],
    ['stash', '--root=ROOT', '--base=docker://registry.invalid/base'],
    ['stackbuild', '--stash=registry.invalid/a', '--target-dir=OUT']
])
def test_hanging_tool_is_ended(
    storage: Storage, stashed: Path, tmp_path: Path, words: List[str]
) -> None:
    """What talks to a network has a limit; nothing of it goes on in the background."""
    hang = f'echo $$ >> {tmp_path}/pids; exec sleep 100'
    replace(storage, tmp_path, 'skopeo', hang)
    (tmp_path / 'fake/podman').write_text(
        f'#!/bin/sh\n[ "$1" = pull ] && {{ {hang}; }}\nexec {shutil.which("podman")} "$@"\n'
    )
    (tmp_path / 'fake/podman').chmod(0o755)
    storage.environment['KIWI_STASH_TIMEOUT'] = '0.5'
    started = time.monotonic()
    fails_with(
        storage, 'no end after 0.5 seconds.*KIWI_STASH_TIMEOUT', *(
            word.replace('ROOT', str(stashed)).replace('OUT', f'{tmp_path}/out')
            for word in words
        )
    )
    assert time.monotonic() - started < 15
    for pid in (tmp_path / 'pids').read_text().split():
        assert not os.path.exists(f'/proc/{pid}')
    assert not (tmp_path / 'out').exists()


def test_storage_locked_by_another_process(storage: Storage, stashed: Path) -> None:
    """Podman waits for the lock of its storage; so do we, and then go on."""
    lock = storage.where / 'graph/overlay-images/images.lock'
    holder = subprocess.Popen([
        'python3', '-c', 'import fcntl, sys, time\n'
        'lock = open(sys.argv[1], "r+")\n'
        'fcntl.lockf(lock, fcntl.LOCK_EX); print(flush=True)\n'
        'time.sleep(3)', str(lock)
    ], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    started = time.monotonic()
    storage.kiwi('stash', '--root', str(stashed))
    assert time.monotonic() - started > 2
    holder.wait()
    holder.stdout.close()
    assert storage.stash('small')['layers'] == 2
