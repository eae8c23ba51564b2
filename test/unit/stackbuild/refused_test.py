# SPDX-License-Identifier: GPL-3.0-or-later
"""What kiwi refuses itself is refused before anything is fetched or copied."""
from __future__ import annotations

import logging
from pathlib import Path

import pytest
from kiwi.exceptions import KiwiError
from rich_description import PROFILE, write_rich
from trees import describe

from kiwi_stackbuild_plugin.stackbuild import kiwi_call
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest, read_given
from kiwi_stackbuild_plugin.stackbuild.target import Target

#: kiwi leaves one open where a description is not valid
pytestmark = [
    pytest.mark.filterwarnings('ignore:unclosed file.*kiwi_xslt:ResourceWarning'),
    pytest.mark.usefixtures('kiwi_as_imported')
]
REFUSED = [
    # file of the description, what is replaced in it, by what, what kiwi says
    ('Rich.kiwi', './components/files.xml', './components/gone.xml', ''),
    ('Rich.kiwi', '<version>1.0.0</version>', '', 'version'),
    ('platforms/container.xml', 'profile="Tools"', 'profile="Nowhere"', 'Nowhere'),
    ('platforms/container.xml', '<image>\n',
     '<image><include from="this://./components/users.xml"/>', 'nested includes'),
    ('platforms/tar.xml', 'profiles="Tar">', 'profiles="Tools"><type image="oci"/>',
     'Conflicting image type setup'),
    ('components/archives.xml', 'files/first.tar', 'files/gone.tar',
     'Specified archive files/gone.tar does not exist'),
    ('components/files.xml', '"of-bob"', '"of-nobody"',
     'Specified file of-nobody does not exist'),
    ('repositories/core.xml', 'repo.key', 'gone.key', 'gone.key does not exist'),
]


def read(where: Path, *change: str) -> kiwi_call.KiwiCall:
    (where / 'repository').mkdir()
    (where / 'repository/repo.key').touch()
    description = write_rich('dnf4', where / 'rich', where / 'repository')
    if change:
        text = (description / change[0]).read_text()
        assert change[1] in text
        (description / change[0]).write_text(text.replace(*change[1:3]))
    before = describe(where)
    try:
        return read_given(StackbuildRequest(
            ('stash',), str(where / 'target'), str(description),
            global_args={'--profile': [PROFILE]}
        ), Target(str(where / 'target')), str(where)).call
    finally:
        assert describe(where) == before


@pytest.mark.parametrize('row', REFUSED, ids=lambda row: f'{row[0]}: {row[2]}')
def test_it_is_refused_and_nothing_is_made(tmp_path: Path, row: tuple[str, ...]) -> None:
    with pytest.raises(KiwiError) as issue:
        read(tmp_path, *row)
    assert row[3] in f'{issue.value}'


def test_what_is_right_is_not_refused(tmp_path: Path) -> None:
    assert read(tmp_path).task.xml_state.get_build_type_name() == 'oci'


def test_a_local_repository_for_the_image_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only with the arguments that are applied later it is known which there are."""
    task = read(
        tmp_path, 'repositories/core.xml', '<repository ', '<repository imageinclude="true" '
    ).task
    with pytest.raises(KiwiError, match='publicly available'):
        kiwi_call.check_repositories(task)
    monkeypatch.setattr(logging.getLogger('kiwi'), 'propagate', True)
    kiwi_call.check_repositories(task, dry_run=True)
    assert 'kiwi will refuse to build it: ' in caplog.text
    assert 'publicly available' in caplog.messages[-1] and '\n' not in caplog.messages[-1]
