# SPDX-License-Identifier: GPL-3.0-or-later
"""What stashes remember of how they were built, by label and by tree."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from stored_images import own_labels
from trees import make_root

from kiwi_stackbuild_plugin.description.description import EXCLUDE_FILES
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid, KiwiStashRootInvalid
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stackbuild.remembered import (
    built_as, copy_stashed, find_described, remembered
)
from kiwi_stackbuild_plugin.stackbuild.stacking import Step

OLD: Dict[str, str] = {labels.META: 'KIWI'}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / 'root')


def step(root: Path, told: Dict[str, str] = OLD) -> Step:
    return Step(ImageInfo('f' * 64, (f'localhost/{root.name}:v1',), labels=told), str(root))


@pytest.mark.parametrize(('has', 'expected'), [
    ('abc', 'c'), ('ab', 'b'), ('ac', 'c'), ('a', 'a')
])
def test_last_description_is_built(tmp_path: Path, has: str, expected: str) -> None:
    steps = []
    for name in 'abc':
        steps.append(step(make_root(tmp_path / name)))
        if name not in has:
            (tmp_path / name / 'image/config.xml').unlink()
    assert find_described(steps).path == str(tmp_path / expected)


def test_no_description_at_all(tmp_path: Path) -> None:
    for name in 'ab':
        (tmp_path / name).mkdir()
    with pytest.raises(KiwiStashDescriptionInvalid) as issue:
        find_described([step(tmp_path / 'a'), step(tmp_path / 'b')])
    assert 'localhost/a:v1, localhost/b:v1: no image description' in issue.value.summary
    assert '--description' in issue.value.hint


def test_description_behind_a_link_is_none(root: Path, tmp_path: Path) -> None:
    (root / 'image/config.xml').rename(tmp_path / 'config.xml')
    (root / 'image/config.xml').symlink_to('../../config.xml')
    with pytest.raises(KiwiStashRootInvalid, match=r"'image/config\.xml' is not read"):
        find_described([step(root)])
    with pytest.raises(KiwiStashRootInvalid, match=r"'image/config\.xml' is not read"):
        copy_stashed(step(root), str(tmp_path))


def test_description_is_copied_as_plain_files(root: Path, tmp_path: Path) -> None:
    (root / 'image/config.sh').write_text('x')
    (root / 'image/config.sh').chmod(0o755)
    (root / 'image/link').symlink_to('/etc/passwd')
    (root / 'image/stash.json').write_text('{}')
    where = tmp_path / 'work'
    where.mkdir()
    directory = copy_stashed(step(root), str(where))
    assert directory == str(where / 'stashed')
    assert sorted(os.listdir(directory)) == ['config.sh', 'config.xml']
    assert os.access(f'{directory}/config.sh', os.X_OK)


def test_stash_with_an_exclude_file_that_is_none_is_not_built(
    root: Path, tmp_path: Path
) -> None:
    """kiwi would end in a traceback, after all the work."""
    for name in EXCLUDE_FILES:
        file = root / os.fsdecode(name)
        file.write_text('- usr')
        with pytest.raises(KiwiStashDescriptionInvalid, match='not a list of patterns'):
            copy_stashed(step(root), str(tmp_path))
        file.unlink()


@pytest.mark.parametrize(('profile', 'told', 'expected'), [
    ("kiwi_profiles='a,b'\nkiwi_type='oem'\n", OLD, (['a', 'b'], 'oem')),
    ("kiwi_profiles='a,,b,'\n", OLD, (['a', 'b'], '')),
    ("kiwi_profiles=''\nkiwi_type=''\n", OLD, ([], '')), (None, OLD, ([], '')),
    ("kiwi_profiles='a'\nkiwi_type='oem'\n", own_labels(PROFILES='c,d', TYPE='tbz'),
     (['c', 'd'], 'tbz')),
    # an empty label tells that there were none
    ("kiwi_profiles='a'\nkiwi_type='oem'\n", own_labels(PROFILES='', TYPE=''), ([], '')),
    # nonsense in a label is as if it was not there
    ("kiwi_profiles='a'\nkiwi_type='oem'\n", own_labels(PROFILES='--x', TYPE='a b'),
     (['a'], 'oem')),
])
def test_how_a_stash_was_built(
    root: Path, profile: Optional[str], told: Dict[str, str], expected: Tuple[List[str], str]
) -> None:
    (root / '.profile').unlink()
    if profile is not None:
        (root / '.profile').write_text(profile)
    assert built_as(step(root, told)) == expected


@pytest.mark.parametrize(('given', 'expected'), [
    ({}, {'--profile': ['a'], '--type': 'oem'}),
    ({'--profile': [], '--type': None}, {'--profile': ['a'], '--type': 'oem'}),
    ({'--profile': ['x']}, {'--profile': ['x'], '--type': 'oem'}),
    ({'--type': 'iso', '--debug': True}, {'--profile': ['a'], '--type': 'iso', '--debug': True}),
])
def test_what_is_given_comes_first(
    root: Path, given: Dict[str, Any], expected: Dict[str, Any]
) -> None:
    before = dict(given)
    assert remembered(step(root, own_labels(PROFILES='a', TYPE='oem')), given) == expected
    assert given == before, "kiwi's own dictionary stays"


def test_nothing_is_remembered(root: Path) -> None:
    assert remembered(step(root, own_labels(PROFILES='', TYPE='')), {'--type': ''}) == {
        '--type': ''
    }
