# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers made to reach out of a root, built from as root; see canaries.py."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, List

import pytest
from canaries import GOOD, SECRET, XML, check_no_secret, container, make_canary
from storages import Storage, image_root
from trees import CONFIG, describe, make_root


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that looks worth reading and writing; it must not change."""
    place = make_canary(tmp_path / 'canary')
    before = describe(place)
    yield place
    assert describe(place) == before


def describe_build(place: Path, packages: str = '') -> Path:
    """Write a description that kiwi builds without fetching anything."""
    place.mkdir(exist_ok=True)
    (place / 'config.xml').write_text(
        CONFIG.format(schema='7.4', name='described').replace(
            '<packages type="image"/>',
            '<repository type="apt-deb"><source path="dir:///nonexistent"/></repository>'
            f'<packages type="image">{packages}</packages>'
        )
    )
    return place


@pytest.mark.parametrize('kind', XML)
def test_xml_of_a_container_reaches_nothing(
    storage: Storage, tmp_path: Path, canary: Path, kind: str
) -> None:
    """It is built as it is; kiwi itself would read the files that it names."""
    text = XML[kind].replace('@', str(canary))
    container(storage, tmp_path, {**GOOD, 'image/config.xml': text.encode()})
    result = storage.kiwi(
        'stackbuild', '--stash=bad', f'--target-dir={tmp_path}/out', check=False
    )
    said = result.stdout + result.stderr
    assert result.returncode == 1 and SECRET not in said and 'Traceback' not in said, said
    if 'DOCTYPE' in text:
        assert 'document type' in said or 'cannot be read as XML' in said
        assert not (tmp_path / 'out').exists()
    if 'include' in kind:
        assert '<include> of' in said
        assert not (tmp_path / 'out').exists()


def test_huge_extension_is_refused(storage: Storage, root: Path, tmp_path: Path) -> None:
    storage.kiwi('stash', '--root', str(root))
    (tmp_path / 'huge').mkdir()
    with open(tmp_path / 'huge/config.xml', 'wb') as out:
        out.write(b'<image stashed="small" name="a">')
        out.truncate(100 << 20)
    result = storage.kiwi(
        'stackbuild', f'--description={tmp_path}/huge', f'--target-dir={tmp_path}/out',
        check=False
    )
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('evil', [
    '../@', '../../../../../../../../@', '/@ ../.wh.canary .wh... etc/.wh...',
    'etc/../../../../../../../@', 'etc/.wh..wh..opq .wh.', 'etc/.wh./a',
])
def test_names_in_layers_stay_inside(
    storage: Storage, tmp_path: Path, canary: Path, fast: List[str], evil: str
) -> None:
    """What podman makes of them is built or refused; outside nothing changes."""
    names = evil.replace('@', str(canary / 'passwd').lstrip('/')).split(' ')
    container(storage, tmp_path, {**GOOD, **dict.fromkeys(names, b'written')})
    result = storage.kiwi(
        'stackbuild', '--stash=bad', f'--target-dir={tmp_path}/out', options=fast,
        check=False
    )
    assert result.returncode in (0, 1) and 'Traceback' not in result.stderr


@pytest.mark.parametrize('place', ['config.xml', 'a.kiwi'])
def test_description_of_a_program_is_not_built(
    storage: Storage, root: Path, tmp_path: Path, place: str
) -> None:
    """Kiwi would take it for its own; it is a file of the image like others."""
    text = CONFIG.format(schema='7.4', name='program')
    (root / place).write_text(text)
    storage.kiwi('stash', '--root', str(root))
    storage.kiwi('stackbuild', '--stash=small', f'--target-dir={tmp_path}/out')
    built = [path.name for path in (tmp_path / 'out').glob('*.tar.xz')]
    assert len(built) == 1 and built[0].startswith('small.'), built
    (tmp_path / 'unpacked').mkdir()
    storage.run('tar', '-C', f'{tmp_path}/unpacked', '-xf', f'{tmp_path}/out/{built[0]}')
    assert (tmp_path / 'unpacked' / place).read_text() == text


@pytest.mark.parametrize(('where', 'target'), [
    ('image', '@'), ('etc/hosts.kiwi', '@/hosts'), ('etc/apt', '../../../../../canary/apt')
])
def test_container_that_leads_kiwi_out_is_refused(
    storage: Storage, tmp_path: Path, canary: Path, where: str, target: str
) -> None:
    files = {
        path: value for path, value in GOOD.items()
        if path.rstrip('/') != where and not path.startswith(f'{where}/')
    }
    container(storage, tmp_path, {
        **files, where: ('link', target.replace('@', str(canary)))
    })
    described = describe_build(tmp_path / 'description')
    before = sorted(os.listdir(tmp_path))
    result = storage.kiwi(
        'stackbuild', '--stash=bad', f'--target-dir={tmp_path}/out',
        f'--description={described}', check=False
    )
    said = result.stdout + result.stderr
    assert result.returncode == 1 and 'Traceback' not in said
    assert 'link' in said, said
    assert sorted(os.listdir(tmp_path)) == before


#: what a description puts through srv, a link to the canary; how it is told
THROUGH = {
    'archive': ('<archive name="a.tar"/>', 'kiwi is stopped'),
    'archive, target': ('<archive name="b.tar" target_dir="/srv/sub"/>', 'is refused'),
    'outside': ('<archive name="b.tar" target_dir="/../../../x"/>', 'outside of the image'),
}


@pytest.mark.parametrize('kind', THROUGH)
def test_description_writes_through_no_link(
    storage: Storage, root: Path, tmp_path: Path, canary: Path, kind: str
) -> None:
    """The archive has no directory of that name, so tar follows what is there."""
    (root / 'srv').symlink_to(canary)
    storage.kiwi('stash', '--root', str(root))
    description = tmp_path / 'description'
    (description / 'srv').mkdir(parents=True)
    (description / 'srv/secret').write_text('written')
    storage.run('tar', '-C', str(description), '-cf', f'{description}/a.tar', 'srv/secret')
    storage.run('tar', '-C', f'{description}/srv', '-cf', f'{description}/b.tar', 'secret')
    words, told = THROUGH[kind]
    describe_build(description, words)
    before = sorted(os.listdir(tmp_path))
    result = storage.kiwi(
        'stackbuild', '--stash=small', f'--description={description}',
        f'--target-dir={tmp_path}/out', check=False
    )
    said = result.stdout + result.stderr
    assert result.returncode == 1 and 'Traceback' not in said
    assert told in said, said
    if 'stopped' not in told:
        assert sorted(os.listdir(tmp_path)) == before


def test_stash_and_dry_run_warn_of_links(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    (root / 'etc/hosts.kiwi').symlink_to('/etc/hosts')
    told = "'etc/hosts.kiwi' in it is, or is below, a link out of the root"
    stashed = storage.kiwi('stash', '--root', str(root))
    assert told in stashed.stdout + stashed.stderr
    describe_build(tmp_path / 'description')
    shown = storage.kiwi(
        'stackbuild', '--stash=small', '--dry-run', f'--target-dir={tmp_path}/out',
        f'--description={tmp_path}/description'
    )
    assert told in shown.stdout + shown.stderr
    # kiwi does not write there where it only makes the image
    created = storage.kiwi(
        'stackbuild', '--stash=small', '--dry-run', f'--target-dir={tmp_path}/out'
    )
    assert told not in created.stdout + created.stderr


def test_stacked_stash_writes_through_no_link(
    storage: Storage, tmp_path: Path, canary: Path, fast: List[str]
) -> None:
    """The lower one has links where the upper one has directories and files."""
    base = make_root(tmp_path / 'base', 'base')
    (base / 'srv').symlink_to(canary)
    (base / 'opt').symlink_to(canary / 'sub')
    (base / 'etc/secret').symlink_to(canary / 'secret')
    storage.kiwi('stash', '--root', str(base))
    upper = make_root(tmp_path / 'upper', 'upper')
    (upper / 'srv').mkdir()
    (upper / 'srv/secret').write_text('upper')
    (upper / 'opt/deeper').mkdir(parents=True)
    (upper / 'etc/secret').write_text('upper')
    storage.kiwi('stash', '--root', str(upper))
    storage.kiwi(
        'stackbuild', '--stash=base', '--stash=upper', f'--target-dir={tmp_path}/out',
        options=fast
    )
    built = image_root(tmp_path / 'out')
    assert (built / 'srv/secret').read_text() == 'upper'
    assert not (built / 'srv').is_symlink()
    check_no_secret(built)
