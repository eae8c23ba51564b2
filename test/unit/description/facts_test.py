# SPDX-License-Identifier: GPL-3.0-or-later
"""What a root tree is: programs, os-release and links made by hand."""
from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from kiwi_stackbuild_plugin.description.facts import is_bootstrapped
from kiwi_stackbuild_plugin.description.facts import (
    MANAGERS, BaseFacts, derived_uris, join_facts, read_facts
)
from kiwi_stackbuild_plugin.tree.opening import open_tree
from zoo import write

#: kiwi 10 and later tell dnf4 and dnf5 apart
TELLS_DNF = find_spec('kiwi.package_manager.dnf4') is not None


def make_tree(tmp_path: Path, names: Sequence[str]) -> Path:
    """Make a root with files, of usr/bin if no other; "a -> b" is a link."""
    root = tmp_path / 'root'
    (root / 'usr/bin').mkdir(parents=True)
    (root / 'bin').symlink_to('usr/bin')
    for program in names:
        name, arrow, target = program.partition(' -> ')
        path = root / (name if '/' in name else f'usr/bin/{name}')
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            path.symlink_to(target)
        else:
            path.touch()
    return root


def facts_of(root: Path) -> BaseFacts:
    fd = open_tree(str(root))
    before = len(os.listdir('/proc/self/fd'))
    try:
        return read_facts(fd)
    finally:
        assert len(os.listdir('/proc/self/fd')) == before
        os.close(fd)


@pytest.mark.parametrize(('programs', 'ten', 'nine'), [
    # in a root: what is there for kiwi 10 and 11, and for kiwi 9
    (['dnf5', 'dnf -> dnf5'], {'dnf5'}, {'dnf', 'dnf4', 'dnf5'}),
    (['dnf-3', 'dnf -> dnf-3'], {'dnf', 'dnf4'}, {'dnf', 'dnf4'}),
    (['dnf-3', 'dnf4 -> dnf-3'], {'dnf', 'dnf4'}, set()),
    (['dnf'], set(), {'dnf', 'dnf4'}),
    (['dnf4'], {'dnf', 'dnf4'}, set()),
    (['dnf -> /usr/bin/nowhere', 'dnf-3 -> nowhere'], set(), set()),
    (['microdnf -> dnf5', 'dnf5'], {'dnf5', 'microdnf'}, {'dnf5', 'microdnf'}),
    (['zypper -> /bin/zypper.real', 'zypper.real'], {'zypper'}, {'zypper'}),
    (['zypper -> ../../../../../bin/sh'], set(), set()),
    (['zypper -> zypper'], set(), set()),
])
def test_managers_that_a_root_has(
    tmp_path: Path, programs: List[str], ten: object, nine: object
) -> None:
    facts = facts_of(make_tree(tmp_path, [*programs, 'rpm']))
    assert facts.managers == (ten if TELLS_DNF else nine)
    assert MANAGERS.keys() >= facts.managers
    assert all(is_bootstrapped(facts, name) for name in facts.managers)


@pytest.mark.parametrize(('names', 'formats', 'managers'), [
    ([], set(), set()),
    (['dpkg', 'apt-get'], {'deb'}, {'apt'}), (['dpkg'], {'deb'}, set()),
    (['apk', 'pacman'], {'apk', 'pacman'}, {'apk', 'pacman'}),
    (['sbin/apk'], {'apk'}, {'apk'}), (['usr/sbin/zypper'], set(), {'zypper'}),
    # merged directories, and alternatives through etc
    (['sbin -> usr/sbin', 'usr/sbin -> bin', 'apk'], {'apk'}, {'apk'}),
    (['zypper -> /etc/alternatives/z', 'etc/alternatives/z -> /usr/bin/z2', 'z2'],
     set(), {'zypper'}),
    # not of the tree, no program, not there
    (['zypper -> /proc/self/exe'], set(), set()), (['zypper -> ..'], set(), set()),
    (['usr/bin/apk/x'], set(), set()), (['opt/apk', 'usr/local/bin/zypper'], set(), set()),
    (['zypper -> z', 'z -> zypper'], set(), set()), (['sbin -> /sbin'], set(), set()),
], ids=lambda value: ' '.join(sorted(value)))
def test_programs_of_a_root(
    tmp_path: Path, names: List[str], formats: object, managers: object
) -> None:
    facts = facts_of(make_tree(tmp_path, names))
    assert (facts.formats, facts.managers) == (formats, managers)


def test_a_root_that_is_no_root(tmp_path: Path) -> None:
    assert facts_of(tmp_path) == BaseFacts()


@pytest.mark.parametrize(('text', 'told'), [
    ('# x\nID=debian\nID_LIKE="a b"\nVERSION_CODENAME=bookworm\nVERSION_ID="12"\nBAD="\n',
     ('debian', ('a', 'b'), 'bookworm', '12')),
    ("ID='x'\r\nVERSION_ID=\n", ('x', (), '', '')), ('ID=a\nID=b\n', ('b', (), '', '')),
    ('ID=a b\nVERSION_ID=$(id)', ('', (), '', '$(id)')), (' ID=a\nid=b', ('', (), '', '')),
    ('ID="a\x1b[2J"\n', ('', (), '', '')), ('', ('', (), '', '')), ('\0' * 99, ('', (), '', '')),
])
def test_os_release(tmp_path: Path, text: str, told: Any) -> None:
    root = make_tree(tmp_path, [])
    write(root / 'etc/os-release', text.encode())
    facts = facts_of(root)
    assert (facts.distribution, facts.related, facts.codename, facts.version) == told


@pytest.mark.parametrize(('names', 'told'), [
    (['etc/os-release -> ../usr/lib/os-release', 'usr/lib/os-release'], 'usr'),
    (['etc/os-release', 'usr/lib/os-release'], 'usr'), (['etc/os-release'], 'etc'),
    (['etc/os-release', 'usr/lib/os-release -> /etc/os-release'], 'etc'),
    (['etc/os-release -> /etc/os-release'], ''), (['etc/os-release/x'], ''),
    (['etc -> /etc'], ''), (['usr/lib/os-release/x', 'etc/os-release'], 'etc'),
], ids=lambda value: ' '.join(sorted(value)))
def test_os_release_is_that_of_the_tree(
    tmp_path: Path, names: List[str], told: str
) -> None:
    root = make_tree(tmp_path, names)
    for name in ('usr/lib', 'etc'):
        path = root / name / 'os-release'
        if path.is_file() and not path.is_symlink() and not path.parent.is_symlink():
            path.write_text(f'ID={name.partition("/")[0]}\n')
    assert facts_of(root).distribution == told


def test_of_trees_that_are_stacked_the_first_is_the_base() -> None:
    one = BaseFacts(frozenset({'apt'}), frozenset({'deb'}), 'debian', ('x',), 'bookworm', '12')
    two = BaseFacts(frozenset({'apk'}), frozenset({'apk'}), 'alpine', (), 'c', '3')
    assert join_facts([one, two]) == BaseFacts(
        frozenset({'apt', 'apk'}), frozenset({'deb', 'apk'}), 'debian', ('x',), 'bookworm', '12'
    )
    assert join_facts(iter([BaseFacts(), one])).distribution == ''


@pytest.mark.parametrize(('files', 'expected'), [
    ({}, set()), ({'image/config.xml': '<image/>'}, set()),
    ({'image/config.xml': '<image><preferences><type image="a" derived_from="obs://a"/>'
      '<type image="b"/></preferences><preferences><type image="c" derived_from="obs://c"/>'
      '<type image="d" derived_from=""/></preferences></image>'}, {'obs://a', 'obs://c'}),
    ({'image/config.xml': '<image'}, set()),
    ({'image/config.xml': '<!DOCTYPE image><image><type derived_from="a"/></image>'}, set()),
    ({'image/config.xml/x': ''}, set()), ({'image': ''}, set()),
])
def test_what_a_tree_is_derived_from(
    tmp_path: Path, files: Dict[str, str], expected: object
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text.encode())
    fd = open_tree(str(tmp_path))
    assert derived_uris(fd) == expected
    os.close(fd)
