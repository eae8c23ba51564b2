# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees made to reach out of themselves, stashed as root.

A canary directory beside them is compared before and after, and its secret
must be in nothing that was made.
"""
from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Iterator, List

import pytest
from canaries import XML, check_no_secret, make_canary
from storages import Storage
from trees import describe


#: "make soak" takes 100,000
DEPTH = int(os.environ.get('KIWI_STASH_TEST_DEPTH', '2100'))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that looks worth reading and writing; it must not change."""
    place = make_canary(tmp_path / 'canary')
    before = describe(place)
    yield place
    assert describe(place) == before


def put_link(path: Path, target: str) -> None:
    """Put a link in the place of whatever is there."""
    subprocess.run(['rm', '-rf', str(path)], check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def stash(storage: Storage, root: Path, *more: str) -> str:
    """Stash a tree; it works or stops with one line. What was said."""
    result = storage.kiwi('stash', '--root', str(root), *more, check=False)
    said = result.stdout + result.stderr
    assert result.returncode in (0, 1) and 'Traceback' not in said, said
    assert said.replace('\n', '').isprintable()
    if result.returncode == 0 and '--dry-run' not in more:
        path = storage.mount('localhost/small')
        check_no_secret(path)
        storage.unmount('localhost/small')
    return said


@pytest.mark.parametrize('target', ['@', '@/secret', '../../canary'])
def test_links_in_a_tree_are_stored_as_links(
    storage: Storage, root: Path, canary: Path, target: str
) -> None:
    places = (
        'image/stash.json', 'image/.stash.json.new', 'image/imported_root', 'image/sub',
        'usr/bin', 'dev', 'proc', 'sys', 'var/lib', 'run', 'tmp', 'boot', 'etc/hosts'
    )
    for place in places:
        put_link(root / place, target.replace('@', str(canary)))
    assert 'small:latest is' in stash(storage, root)
    path = storage.mount('localhost/small')
    assert [place for place in places[3:] if not (path / place).is_symlink()] == []
    storage.unmount('localhost/small')
    assert 'nothing changed' in stash(storage, root)


@pytest.mark.parametrize('where', [
    'image', 'image/config.xml', 'image/exclude_files.yaml', '.profile'
])
@pytest.mark.parametrize('target', ['@', '@/config.xml', '../../canary/config.xml'])
def test_links_in_what_is_read_are_refused(
    storage: Storage, root: Path, canary: Path, where: str, target: str
) -> None:
    put_link(root / where, target.replace('@', str(canary)))
    assert 'link' in stash(storage, root, '--container-name=small')
    assert not (storage.where / 'graph').exists()


@pytest.mark.parametrize('kind', ['fifo', 'device', 'directory'])
def test_other_kinds_of_files_are_not_read(
    storage: Storage, root: Path, kind: str
) -> None:
    """A fifo would hang, /dev/zero would fill the memory."""
    for name in ('stash.json', 'imported_root', 'exclude_files.yaml', '../.profile', 'config.xml'):
        path = root / 'image' / name
        path.unlink(missing_ok=True)
        if kind == 'directory':
            path.mkdir()
        else:
            mode = stat.S_IFIFO if kind == 'fifo' else stat.S_IFCHR
            os.mknod(path, mode | 0o644, os.makedev(1, 5))
        said = stash(storage, root, '--container-name=small')
        if name in ('stash.json', 'imported_root'):
            assert 'small:latest is' in said
        else:
            assert 'is no regular file' in said
            (path.rmdir if kind == 'directory' else path.unlink)()


def test_record_of_a_stranger_is_shown_escaped(storage: Storage, root: Path) -> None:
    (root / 'image/stash.json').write_text(json.dumps({
        'image': 'f' * 64, 'name': '\x1b[31m', 'digest': '', 'moment': 1, 'device': 1,
        'inode': 1
    }))
    assert r'(\x1b[31m, ffffffffffff) is no longer stored' in stash(storage, root)


def test_profile_is_never_run(storage: Storage, root: Path, tmp_path: Path) -> None:
    (root / '.profile').write_text(
        f"kiwi_type=$(touch {tmp_path}/ran)\nkiwi_profiles=`touch {tmp_path}/ran`\n"
        f"touch {tmp_path}/ran\nkiwi_type='a\x1b[31mb'\n"
    )
    stash(storage, root)
    assert not (tmp_path / 'ran').exists()
    shown = storage.kiwi('stash_list', '--format=table').stdout
    assert shown.replace('\n', '').isprintable()


def test_names_are_shown_escaped(storage: Storage, root: Path) -> None:
    names = [
        b'a\x1b[31mred', b'b\nERROR: fake', b'c\xff\xfe', b'd\r', b'e\xe2\x80\xae',
        b'.wh.\x1b]0;x\x07'
    ]
    for name in names:
        with open(os.path.join(os.fsencode(root), b'etc', name), 'wb'):
            pass
    said = stash(storage, root, '--dry-run')
    assert r'a\x1b[31mred' in said and 'ERROR: fake' not in said.splitlines()
    said = stash(storage, root)
    assert r'left out: etc/.wh.\x1b]0;x\x07' in said
    path = os.fsencode(storage.mount('localhost/small'))
    assert set(os.listdir(os.path.join(path, b'etc'))) >= set(names[:-1])
    storage.unmount('localhost/small')


def nest(where: Path, depth: int) -> None:
    """Make directories in one another, deeper than any path can tell."""
    fd = os.open(where, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir('d', dir_fd=fd)
        below = os.open('d', os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def remove_nest(where: Path) -> None:
    """Remove them; rm(1) takes hours."""
    fd, depth = os.open(where, os.O_RDONLY), 0
    while os.listdir(fd):
        below = os.open('d', os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd, depth = below, depth + 1
    for _ in range(depth):
        above = os.open('..', os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = above
        os.rmdir('d', dir_fd=fd)
    os.close(fd)


def test_nested_directories(
    storage: Storage, root: Path, tmp_path: Path, fast: List[str]
) -> None:
    (root / 'usr/nest').mkdir()
    nest(root / 'usr/nest', DEPTH)
    try:
        result = storage.kiwi('stash', '--root', str(root))
        assert 'left out: usr/nest/d' in result.stdout + result.stderr
        built = storage.kiwi(
            'stackbuild', '--stash=small', f'--target-dir={tmp_path}/out', options=fast,
            check=False
        )
        assert 'Traceback' not in built.stderr
    finally:
        remove_nest(root / 'usr/nest')
        subprocess.run(['rm', '-rf', str(tmp_path / 'out')], check=True)


@pytest.mark.parametrize('kind', XML)
def test_xml_of_a_tree_reaches_nothing(
    storage: Storage, root: Path, canary: Path, kind: str
) -> None:
    text = XML[kind].replace('@', str(canary))
    (root / 'image/config.xml').write_text(text)
    said = stash(storage, root)
    if 'DOCTYPE' in text:
        assert 'document type' in said or 'cannot be read as XML' in said


def test_notes_of_strangers_are_not_believed(
    storage: Storage, root: Path
) -> None:
    """The temporary directory is everybody's: another user may leave a journal."""
    storage.kiwi('stash', '--root', str(root))
    image = json.loads(storage.run(
        'podman', 'image', 'inspect', 'localhost/small'
    ).stdout)[0]['Id']
    storage.run('podman', 'untag', 'localhost/small')
    forged = storage.temp_dir / '.kiwi-stash-forged'
    forged.mkdir()
    (forged / 'owner.lock').write_text('')
    (forged / 'journal').write_text(f'+image {image}\n+mount --all\n')
    os.chown(forged, 65534, 65534)
    storage.kiwi('stash', '--root', str(root), '--no-base', '--container-name=other')
    storage.run('podman', 'image', 'exists', image)
    subprocess.run(['rm', '-r', str(forged)], check=True)
