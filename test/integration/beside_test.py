# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands beside an extension reaches the image as in kiwi's own build.

The oracle is a full description in the same directory.
"""
from __future__ import annotations

import os
import socket
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from storages import KIWI, Storage, image_root
from trees import CONFIG, describe

NAMES = '''<packages type="image">
  <archive name="../common/above.tar"/><archive name="sub/below.tar"/>
</packages>'''
#: since kiwi 10
FILES = '''<packages type="image">
  <file name="plain" target="/opt/plain"/><file name="linked" target="/opt/l"/>
</packages>'''
REPOSITORY = '<repository type="apt-deb"><source path="this://../common"/></repository>'


def make_overlay(overlay: Path) -> None:
    """Make an overlay tree with entries of each kind."""
    (overlay / 'srv/deep').mkdir(parents=True)
    (overlay / 'srv/file').write_text('overlay')
    (overlay / 'srv/file').chmod(0o4755)
    os.utime(overlay / 'srv/file', ns=(1, 1_500_000_000_123_456_789))
    os.link(overlay / 'srv/file', overlay / 'srv/deep/hard')
    os.mknod(overlay / 'srv/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(overlay / 'srv/fifo')
    (overlay / 'srv/link').symlink_to('file')
    (overlay / 'srv/dangling').symlink_to('/nothing')
    os.setxattr(overlay / 'srv/deep', 'user.a', b'b')


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Give a directory with all that may stand beside a description."""
    web, common = tmp_path / 'd/web', tmp_path / 'd/common'
    make_overlay(common / 'root')
    (web / 'sub').mkdir(parents=True)
    (common / 'disk.sh').write_text('#!/bin/sh\n: mine\n')
    (common / 'plain').write_text('linked')
    for name in ('above', 'below'):
        with tarfile.open(common / f'{name}.tar', 'w') as tar:
            tar.add(common / 'plain', f'opt/{name}')
    (common / 'below.tar').rename(web / 'sub/below.tar')
    (web / 'plain').write_text('plain')
    (web / 'root').symlink_to('../common/root')
    (web / 'disk.sh').symlink_to(common / 'disk.sh')
    (web / 'linked').symlink_to(common / 'plain')
    (web / 'nowhere').symlink_to('nothing')
    (web / '.git').mkdir()
    os.mkfifo(web / '.git/fifo')
    back = os.open('.', os.O_PATH)
    os.chdir(web / '.git')
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind('ipc')
    os.fchdir(back)
    os.close(back)
    version = subprocess.run([KIWI, '--version'], capture_output=True, text=True, check=True)
    sections = NAMES + REPOSITORY + (FILES if 'version 9' not in version.stdout else '')
    (web / 'config.xml').write_text(f'<image stashed="small" name="web">{sections}</image>')
    (web / 'full.kiwi').write_text(CONFIG.format(schema='7.4', name='web').replace(
        '<packages type="image"/>', sections
    ))
    return web


def seen(root: Path) -> Dict[bytes, Tuple[Any, ...]]:
    """All of an image root, apart from the descriptions and times that kiwi makes."""
    found = describe(root, ('image/config.xml', 'image/extension.xml', 'image/stash.json'))
    return {
        path: entry[:4] + entry[5:] for path, entry in found.items()
    }


def test_same_files_as_with_a_full_description(
    storage: Storage, root: Path, web: Path, tmp_path: Path, fast: List[str]
) -> None:
    (root / 'image/disk.sh').write_text('#!/bin/sh\n: stash\n')
    (root / 'image/sub').mkdir()
    (root / 'image/sub/planted').write_text('stash')
    storage.kiwi('stash', '--root', str(root))
    before = describe(tmp_path / 'd')
    storage.kiwi(
        'stackbuild', '--stash=small', f'--description={web}', f'--target-dir={tmp_path}/full',
        options=[*fast, '--kiwi-file=full.kiwi']
    )
    said = storage.kiwi(
        'stackbuild', f'--description={web}', f'--target-dir={tmp_path}/out', options=fast
    )
    full, ours = image_root(tmp_path / 'full'), image_root(tmp_path / 'out')
    assert seen(ours) == seen(full)
    for path in ('srv/file', 'srv/null', 'srv/deep/hard', 'opt/above', 'opt/below'):
        assert os.lstat(ours / path).st_mtime_ns == os.lstat(full / path).st_mtime_ns
    assert (ours / 'image/disk.sh').read_text().endswith('mine\n')
    assert 'leads nowhere' in said.stdout + said.stderr
    assert 'has its own: image/sub' in said.stdout + said.stderr
    assert describe(tmp_path / 'd') == before


@pytest.mark.parametrize('words', [[], ['--dry-run'], ['--keep-scripts']])
def test_nothing_is_written_through_links(
    storage: Storage, root: Path, web: Path, tmp_path: Path, fast: List[str],
    words: List[str]
) -> None:
    (root / 'image/disk.sh').write_text('#!/bin/sh\n: stash\n')
    (root / 'image/sub').mkdir()
    (root / 'image/sub/planted').write_text('stash')
    storage.kiwi('stash', '--root', str(root))
    (web / 'config.xml').rename(web / 'web.kiwi')
    (web / 'config.xml').symlink_to('../common/full.xml')
    (web / 'full.kiwi').rename(web / '../common/full.xml')
    (web / 'sub').rename(web / '../common/sub')
    (web / 'sub').symlink_to(web / '../common/sub')
    before = describe(tmp_path / 'd')
    storage.kiwi(
        'stackbuild', f'--description={web}', f'--target-dir={tmp_path}/out', *words,
        options=[*fast, '--kiwi-file=web.kiwi']
    )
    assert describe(tmp_path / 'd') == before


@pytest.mark.parametrize(('names', 'says'), [
    ('<packages type="image"><archive name="../nothing.tar"/></packages>', 'neither beside'),
    ('<packages type="image"><file name="nothing"/></packages>', 'neither beside'),
])
def test_what_is_not_there_is_said_before_anything_is_touched(
    storage: Storage, root: Path, web: Path, tmp_path: Path, names: str, says: str
) -> None:
    storage.kiwi('stash', '--root', str(root))
    (web / 'config.xml').write_text(f'<image stashed="small" name="web">{names}</image>')
    failed = storage.kiwi(
        'stackbuild', f'--description={web}', f'--target-dir={tmp_path}/out', check=False
    )
    assert failed.returncode == 1 and says in failed.stderr, failed.stderr
    assert not (tmp_path / 'out').exists()


def test_files_that_only_the_first_directory_had_are_named(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    config = (root / 'image/config.xml').read_text().replace(
        '</image>', '<repository type="apt-deb" customize="fix.sh">'
        f'<source path="dir://{tmp_path}/first/repo"/></repository></image>'
    )
    (root / 'image/config.xml').write_text(config)
    said = storage.kiwi('stash', '--root', str(root))
    for name in ('fix.sh', 'first/repo'):
        assert name in said.stdout + said.stderr
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/config.xml').write_text('<image stashed="small" name="mine"/>')
    words = ('stackbuild', f'--description={tmp_path}/mine', f'--target-dir={tmp_path}/out',
             '--dry-run')
    assert "named in it: 'fix.sh' (repository customize)" in storage.kiwi(*words).stdout
    (tmp_path / 'mine/fix.sh').write_text('#!/bin/sh\n')
    assert "'fix.sh'" not in storage.kiwi(*words).stdout
