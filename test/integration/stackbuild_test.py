# SPDX-License-Identifier: GPL-3.0-or-later
"""system stackbuild on small trees, with the real tools."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List

from storages import Storage, image_root
from trees import describe, make_root

#: what kiwi itself writes or removes while it creates an image
BY_KIWI = ('image', 'etc/resolv.conf', 'etc/sysconfig', 'dev', 'var/cache/kiwi')


def test_rebuild_without_a_description(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    root.chmod(0o711)
    before = describe(root)
    storage.kiwi('stash', '--root', str(root))
    target = tmp_path / 'out'
    storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(target), options=fast
    )
    assert list(target.glob('small*.tar.xz'))
    rebuilt = describe(image_root(target), BY_KIWI)
    kept = {path: entry for path, entry in before.items() if path in rebuilt}
    assert rebuilt == kept and b'usr/bin/tool2' in rebuilt
    assert image_root(target).stat().st_mode & 0o7777 == 0o711
    assert sorted(path.name for path in (target / 'build').iterdir()) == [
        '.stackbuild.json', 'image-root'
    ]


def test_stash_of_a_rebuilt_root_is_a_delta(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(root))
    target = tmp_path / 'out'
    storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(target), options=fast
    )
    (image_root(target) / 'etc/role').write_text('web')
    storage.kiwi(
        'stash', '--root', str(image_root(target)), '--container-name', 'web'
    )
    web = storage.stash('web')
    assert web['layers'] == 2
    assert web['layer_size'] < 16384
    assert web['base']['name'] == 'localhost/small:latest'


def test_left_over_root_stops_with_a_clear_line(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(root))
    words = ['stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out')]
    storage.kiwi(*words, options=fast)
    before = describe(tmp_path / 'out')
    again = storage.kiwi(*words, options=fast, check=False)
    assert again.returncode == 1
    assert 'is there from an earlier run' in again.stderr
    assert describe(tmp_path / 'out') == before


def test_failed_build_can_simply_be_repeated(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(root))
    words = ['stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out')]
    failing = tmp_path / 'bin'
    failing.mkdir()
    (failing / 'tar').write_text('#!/bin/sh\n[ "$1" = --version ] || exit 3\n')
    (failing / 'tar').chmod(0o755)
    failed = storage.kiwi(
        *words, options=fast, check=False,
        env={'PATH': f'{failing}:{os.environ["PATH"]}'}
    )
    assert failed.returncode == 1
    assert image_root(tmp_path / 'out').is_dir()
    storage.kiwi(*words, options=fast)
    assert list((tmp_path / 'out').glob('*.tar.xz'))


def test_nothing_is_touched_when_a_check_fails(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    storage.kiwi('stash', '--root', str(root))
    target = tmp_path / 'out'
    for words in (
        ['--stash', 'unknown'],
        ['--stash', 'small', '--description', str(tmp_path / 'nowhere')],
        ['--stash', 'small', '--', '--no-such-option'],
        ['--stash', 'small', '--', '--root=/'],
        ['--stash', 'small', '--stash', 'BAD NAME'],
    ):
        result = storage.kiwi(
            'stackbuild', '--target-dir', str(target), *words, check=False
        )
        assert result.returncode == 1, words
        assert 'Traceback' not in result.stderr
        assert not target.exists(), words


def test_no_description_anywhere(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    shutil.rmtree(root / 'image')
    storage.kiwi('stash', '--root', str(root), '--container-name', 'bare')
    assert storage.stash('bare')['description'] is False
    result = storage.kiwi(
        'stackbuild', '--stash', 'bare', '--target-dir', str(tmp_path / 'out'),
        check=False
    )
    assert result.returncode == 1
    assert 'no image description' in result.stderr
    assert not (tmp_path / 'out').exists()


def test_image_is_used_by_id_not_by_short_name(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> None:
    """An archive says its name is that of our stash: neither may be mixed up."""
    ours = make_root(tmp_path / 'ours')
    theirs = make_root(tmp_path / 'theirs')
    (theirs / 'etc/whose').write_text('theirs')
    storage.kiwi('stash', '--root', str(theirs))
    archive = tmp_path / 'archive.tar'
    storage.run(
        'skopeo', 'copy', 'containers-storage:localhost/small:latest',
        f'oci-archive:{archive}:localhost/small:latest'
    )
    storage.run('podman', 'rmi', 'localhost/small')
    storage.kiwi('stash', '--root', str(ours))
    before = storage.stash('small')
    storage.kiwi(
        'stackbuild', '--stash', f'oci-archive:{archive}',
        '--target-dir', str(tmp_path / 'out'), options=fast
    )
    assert (image_root(tmp_path / 'out') / 'etc/whose').read_text() == 'theirs'
    assert storage.stash('small') == before


def test_container_with_image_as_a_link_is_refused(
    storage: Storage, tmp_path: Path
) -> None:
    outside = tmp_path / 'outside'
    outside.mkdir()
    tree = tmp_path / 'tree'
    (tree / 'etc').mkdir(parents=True)
    (tree / 'image').symlink_to(outside)
    archive = tmp_path / 'tree.tar'
    subprocess.run(['tar', '-cf', archive, '-C', tree, '.'], check=True)
    storage.run('podman', 'import', str(archive), 'localhost/evil')
    description = tmp_path / 'description'
    description.mkdir()
    text = (make_root(tmp_path / 'r') / 'image/config.xml').read_text()
    (description / 'config.xml').write_text(text.replace('</image>', (
        '<repository type="apt-deb"><source path="file:///srv"/></repository></image>'
    )))
    for words in ([], ['--description', str(description)]):
        result = storage.kiwi(
            'stackbuild', '--stash', 'evil', '--target-dir', str(tmp_path / 'out'),
            *words, check=False
        )
        assert result.returncode == 1
        assert 'link' in result.stderr
        assert list(outside.iterdir()) == []
        assert not (tmp_path / 'out').exists()


def test_two_stashes(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> None:
    root = make_root(tmp_path / 'root')
    storage.kiwi('stash', '--root', str(root))
    (root / 'etc/web').write_text('web')
    (root / 'etc/hostname').unlink()
    (root / 'usr/bin/tool').unlink()
    (root / 'usr/bin/tool').write_text('other')
    storage.kiwi('stash', '--root', str(root), '--container-name', 'web')
    storage.kiwi(
        'stackbuild', '--stash', 'small', '--stash', 'web',
        '--target-dir', str(tmp_path / 'out'), options=fast
    )
    result = image_root(tmp_path / 'out')
    assert (result / 'etc/web').read_text() == 'web'
    assert not (result / 'etc/hostname').exists()
    assert (result / 'usr/bin/tool').read_text() == 'other'
    assert (result / 'usr/bin/tool2').read_bytes().startswith(b'\x7fELF')


def test_global_options_reach_kiwi(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    storage.kiwi('stash', '--root', str(root))
    log = tmp_path / 'kiwi.log'
    storage.kiwi(
        'stackbuild', '--stash', 'small', '--target-dir', str(tmp_path / 'out'),
        options=[*fast, '--logfile', str(log), '--type', 'tbz']
    )
    assert 'Selected build type: tbz' in log.read_text()
