# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in the description of a container that lead out of it; see canaries.py."""
from __future__ import annotations

from pathlib import Path
from typing import Iterator, List

import pytest
from canaries import GOOD, SECRET, check_no_secret, container, make_canary
from storages import Storage
from trees import CONFIG, describe

#: what stands at the end of config.xml, and what is said; '@' is the canary
#: directory, '^' enough steps up to the root of the machine
SECTIONS = {
    'archive': ('<packages type="image"><archive name="^@/evil"/></packages>', ''),
    'absolute': ('<packages type="image"><archive name="@/evil"/></packages>', ''),
    'deep': ('<packages type="image"><archive name="a/b/^@/evil"/></packages>', ''),
    'read': ('<packages type="image"><archive name="@/secret"/></packages>',
             'neither beside'),
    'file': ('<packages type="image"><file name="^@/evil"/></packages>', ''),
    'target': ('<packages type="image"><file name="evil" target="^@/new"/></packages>',
               'leads out'),
    'target_dir': ('<packages type="image"><archive name="evil" target_dir="^@"/></packages>',
                   'leads out'),
    'customize': ('<repository customize="@/secret"><source path="dir:///r"/></repository>',
                  'is absolute'),
    'credentials': ('<repository username="a" password="b">'
                    '<source path="http://h/r?credentials=^@/new"/></repository>',
                    'no plain name'),
    'this': ('<repository><source path="this://^@"/></repository>', 'leads up'),
    'key': ('<repository><source path="dir:///r"><signing key="file://@/secret"/></source>'
            '</repository>', 'not everybody may read'),
    'include': ('<include from="file://@/included.xml"/>', '<include> of'),
    'include-this': ('<include from="this://^@/included.xml"/>', '<include> of'),
    'profile': ('<profiles><profile name="@/sub" description="d" import="true"/></profiles>',
                'is absolute'),
}
#: built without a description, by "kiwi-ng system create"
CREATED = {
    name: SECTIONS[name] for name in ('include', 'include-this', 'profile')
} | {
    'vagrant': ('<preferences profiles="v"><type image="oem" filesystem="ext4" format="vagrant">'
                '<vagrantconfig provider="libvirt" virtualsize="1"'
                ' embedded_vagrantfile="@/secret"/></type>'
                '</preferences><profiles><profile name="v" description="d" import="true"/>'
                '</profiles>', 'is absolute'),
}


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that looks worth reading and writing; it must not change."""
    place = make_canary(tmp_path / 'canary')
    (place / 'secret').chmod(0o600)
    before = describe(place)
    yield place
    assert describe(place) == before


def bad(storage: Storage, place: Path, canary: Path, section: str) -> None:
    """Put a container with a section in its description into the storage."""
    section = section.replace('^', '../' * 12).replace('@', str(canary))
    config = CONFIG.format(schema='7.4', name='bad').replace('</image>', f'{section}</image>')
    container(storage, place, {
        **GOOD, 'image/config.xml': config.encode(), 'image/evil': b'*/1 * * * * evil'
    })


@pytest.mark.parametrize('kind', SECTIONS)
def test_extended_description_leads_nowhere(
    storage: Storage, tmp_path: Path, canary: Path, kind: str
) -> None:
    section, says = SECTIONS[kind]
    bad(storage, tmp_path, canary, section)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/config.xml').write_text('<image stashed="bad" name="mine"/>')
    result = storage.kiwi(
        'stackbuild', f'--description={tmp_path}/mine', f'--target-dir={tmp_path}/out',
        '--dry-run', check=False
    )
    said = result.stdout + result.stderr
    assert result.returncode == (1 if says else 0), said
    assert says in said and SECRET not in said and 'Traceback' not in said
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', CREATED)
def test_description_built_as_it_is_leads_nowhere(
    storage: Storage, tmp_path: Path, canary: Path, kind: str
) -> None:
    section, says = CREATED[kind]
    bad(storage, tmp_path, canary, section)
    words = ['--type=oem'] if kind == 'vagrant' else []
    result = storage.kiwi(
        'stackbuild', '--stash=bad', f'--target-dir={tmp_path}/out', options=words,
        check=False
    )
    said = result.stdout + result.stderr
    assert result.returncode == 1 and says in said, said
    assert SECRET not in said and 'Traceback' not in said
    assert not (tmp_path / 'out').exists()


def test_built_description_is_inside(
    storage: Storage, tmp_path: Path, canary: Path, fast: List[str]
) -> None:
    """The archive that kiwi kept is used, where the name led out."""
    bad(storage, tmp_path, canary, SECTIONS['file'][0] + (
        '<repository type="apt-deb"><source path="dir:///nonexistent"/></repository>'
    ))
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/config.xml').write_text('<image stashed="bad" name="mine"/>')
    storage.kiwi(
        'stackbuild', f'--description={tmp_path}/mine', f'--target-dir={tmp_path}/out',
        options=fast
    )
    check_no_secret(tmp_path / 'out')
    assert (tmp_path / 'out/build/description/evil').is_file()


def test_what_is_shown_of_a_description_is_printable(
    storage: Storage, tmp_path: Path, canary: Path
) -> None:
    config = CONFIG.format(schema='7.4', name='bad').replace(
        'Test Author', '\u009b31m \u202e \u2028'
    )
    container(storage, tmp_path, {**GOOD, 'image/config.xml': config.encode()})
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/config.xml').write_text('<image stashed="bad" name="mine"/>')
    said = storage.kiwi(
        'stackbuild', f'--description={tmp_path}/mine', f'--target-dir={tmp_path}/out',
        '--dry-run'
    ).stdout
    assert r'\x9b31m \u202e' in said
    assert said.replace('\n', '').isprintable()
