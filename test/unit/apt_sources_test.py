# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror of the machine, read from both formats of apt's sources."""
from __future__ import annotations

from pathlib import Path
from typing import List

import pytest
from apt_sources import AptRepository, MirrorUnavailable, find_repository, read_sources


def sources(tmp_path: Path, name: str, text: str) -> List[AptRepository]:
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(text, encoding='utf-8')
    return read_sources(str(tmp_path))


def test_deb822(tmp_path: Path) -> None:
    key = tmp_path / 'key.gpg'
    key.touch()
    found = sources(tmp_path, 'sources.list.d/a.sources', f'''
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: one one-updates
Components: main
 contrib
Signed-By: {key}

Enabled: no
Types: deb
URIs: http://mirror.example/other
Suites: two
Components: main
''')
    assert found == [
        AptRepository(
            'http://mirror.example/debian', suite, ('main', 'contrib'), (str(key),)
        ) for suite in ('one', 'one-updates')
    ]


def test_one_line(tmp_path: Path) -> None:
    key = tmp_path / 'key.gpg'
    key.touch()
    found = sources(tmp_path, 'sources.list', f'''
# deb http://mirror.example/no one main
deb-src http://mirror.example/debian one main
deb [arch=amd64 signed-by={key}] http://mirror.example/debian one main extra # end
''')
    assert found == [
        AptRepository('http://mirror.example/debian', 'one', ('main', 'extra'), (str(key),))
    ]


def test_other_files_are_not_read(tmp_path: Path) -> None:
    assert not sources(
        tmp_path, 'sources.list.d/a.list.disabled', 'deb http://mirror.example one main\n'
    )


def test_key_in_the_text_gives_the_keyrings_of_the_system(tmp_path: Path) -> None:
    found = sources(tmp_path, 'sources.list.d/a.sources', '''
Types: deb
URIs: http://mirror.example/debian
Suites: one
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
''')
    assert [entry.suite for entry in found] == ['one']
    assert all(Path(key).is_file() for key in found[0].keys)


def test_no_source_at_all(tmp_path: Path) -> None:
    with pytest.raises(MirrorUnavailable, match='no binary package source'):
        find_repository(str(tmp_path))


def test_mirror_that_does_not_answer(tmp_path: Path) -> None:
    sources(tmp_path, 'sources.list', f'deb file:{tmp_path}/nothing one main\n')
    with pytest.raises(MirrorUnavailable, match='no package mirror answers'):
        find_repository(str(tmp_path))


def test_argument_for_kiwi() -> None:
    entry = AptRepository('http://mirror.example/debian', 'one', ('main',), ('/k1', '/k2'))
    assert entry.kiwi_argument() == (
        'http://mirror.example/debian,apt-deb,one,,false,true,'
        '{file:///k1:file:///k2},main,one,true'
    )
