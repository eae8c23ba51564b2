# SPDX-License-Identifier: GPL-3.0-or-later
"""The package data base of a stack: what it does not know, and what is made of it."""
from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Callable, Dict

import pytest
from package_stacks import STATUS, Stacker, copy_of, debs_of, install_deb, remove_deb

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.stackbuild.stacked_packages import enter_packages


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Give a tree with two packages."""
    tree = tmp_path / 'base'
    for name in ('var/lib/dpkg/updates', 'var/lib/dpkg/info', 'etc'):
        (tree / name).mkdir(parents=True)
    for name in ('libbase', 'old'):
        install_deb(tree, name, files=[f'usr/share/{name}/file'])
    return tree


@pytest.fixture
def web(base: Path) -> Path:
    tree = copy_of(base, 'web')
    install_deb(tree, 'nginx', '1.2', ['usr/sbin/nginx'])
    return tree


@pytest.fixture
def mail(base: Path) -> Path:
    tree = copy_of(base, 'mail')
    install_deb(tree, 'postfix', '3', ['usr/sbin/postfix'])
    return tree


def test_what_the_data_base_does_not_know_is_named(
    stacked: Stacker, base: Path, web: Path, mail: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remove_deb(web, 'old')
    stack = stacked(web, (mail, base))
    plan = stack.look()
    assert plan.lines == (
        'The package data base of the result does not know (1):',
        '    nginx 1.2 amd64 of web:v1',
        'It has, though they are not there or in another version (1):', '    old 1 amd64',
        '--merge-packages makes it one that knows what is there'
    )
    before = (stack.root / STATUS).read_bytes()
    enter_packages(plan, str(stack.root))
    assert (stack.root / STATUS).read_bytes() == before
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 5


@pytest.mark.parametrize('shared', [True, False])
def test_dpkg_knows_all_packages(
    stacked: Stacker, base: Path, web: Path, mail: Path, shared: bool
) -> None:
    """dpkg itself is asked, of a stack on one base and of a union."""
    stack = stacked(web, (mail, base if shared else None))
    plan = stack.merge()
    assert plan.lines == (
        'Entered into the package data base (1):', '    nginx 1.2 amd64 of web:v1'
    )
    assert debs_of(stack.root) == {'libbase': '1', 'old': '1', 'nginx': '1.2', 'postfix': '3'}


def test_dpkg_forgets_what_is_gone(
    stacked: Stacker, base: Path, web: Path, mail: Path
) -> None:
    """Three stashes: removed by the first, updated by the second, known to the third."""
    remove_deb(web, 'old')
    update = copy_of(base, 'update')
    install_deb(update, 'libbase', '2', ['usr/share/libbase/file2'])
    stack = stacked(web, (update, base), (mail, base))
    assert stack.merge().merged
    assert debs_of(stack.root) == {'libbase': '2', 'nginx': '1.2', 'postfix': '3'}
    assert not (stack.root / 'usr/share/old/file').exists()


def test_nothing_is_said_or_written_where_all_is_known(
    stacked: Stacker, base: Path, web: Path
) -> None:
    more = copy_of(web, 'more')
    install_deb(more, 'php', files=['usr/bin/php'])
    stack = stacked(web, (more, web))
    assert stack.look().lines == () and stack.merge().writes == ()


#: a file that holds records of many packages, in the base, in each of two stashes, merged
RECORDS: Dict[str, Dict[str, str]] = {
    'var/lib/dpkg/diversions': {
        'base': '/a\n/a.real\np\n', 'web': '/a\n/a.real\np\n/w\n/w.real\nq\n',
        'mail': '/m\n/m.real\nr\n', 'merged': '/w\n/w.real\nq\n/m\n/m.real\nr\n'
    },
    'var/lib/dpkg/statoverride': {
        'base': '', 'web': 'root root 755 /a b\n', 'mail': 'root adm 4755 /m\n',
        'merged': 'root root 755 /a b\nroot adm 4755 /m\n'
    },
    'var/lib/dpkg/arch': {
        'base': 'amd64\n', 'web': 'amd64\ni386\n', 'mail': 'amd64\narm64\n',
        'merged': 'amd64\ni386\narm64\n'
    },
    'var/lib/dpkg/triggers/File': {
        'base': '/usr/share/x x\n', 'web': '/usr/share/x x\n/w w/noawait\n',
        'mail': '/usr/share/x x\n/m m\n', 'merged': '/usr/share/x x\n/w w/noawait\n/m m\n'
    },
    'var/lib/dpkg/triggers/ldconfig': {
        'base': 'libc\n', 'web': 'libc\nw\n', 'mail': 'm\n', 'merged': 'w\nm\n'
    },
    'var/lib/apt/extended_states': {
        'base': '', 'web': 'Package: w\nArchitecture: amd64\nAuto-Installed: 1\n\n',
        'mail': 'Package: m\nArchitecture: amd64\nAuto-Installed: 1\n\n',
        'merged': 'Package: w\nArchitecture: amd64\nAuto-Installed: 1\n\n'
                  'Package: m\nArchitecture: amd64\nAuto-Installed: 1\n\n'
    },
    'var/cache/debconf/config.dat': {
        'base': '', 'web': 'Name: w/q\nTemplate: w/q\nOwners: w\n\n',
        'mail': 'Name: m/q\nTemplate: m/q\nOwners: m\n\n',
        'merged': 'Name: w/q\nTemplate: w/q\nOwners: w\n\n'
                  'Name: m/q\nTemplate: m/q\nOwners: m\n\n'
    }
}


@pytest.mark.parametrize('path', sorted(RECORDS))
def test_records_of_both_are_kept(
    stacked: Stacker, base: Path, web: Path, mail: Path, path: str
) -> None:
    for name, tree in (('base', base), ('web', web), ('mail', mail)):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(RECORDS[path][name])
        (tree / path).chmod(0o640)
    stack = stacked(web, (mail, base))
    stack.merge()
    assert (stack.root / path).read_text() == RECORDS[path]['merged']
    assert (stack.root / path).stat().st_mode & 0o7777 == 0o640


def alternative(tree: Path, path: str, priority: int) -> None:
    """Make a tree with one choice of "editor", as update-alternatives does it."""
    for name in ('var/lib/dpkg/alternatives', 'etc/alternatives', 'usr/bin'):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(path)
    (tree / f'{path}.1').write_text(path)
    (tree / 'var/lib/dpkg/alternatives/editor').write_text(
        f'auto\n/usr/bin/editor\neditor.1\n/usr/bin/editor.1\n\n/{path}\n{priority}\n/{path}.1\n\n'
    )
    for name in ('editor', 'editor.1'):
        target = f'/{path}' + name.partition('editor')[2]
        (tree / f'etc/alternatives/{name}').symlink_to(target)
        (tree / f'usr/bin/{name}').symlink_to(f'/etc/alternatives/{name}')


@pytest.mark.parametrize(('web_priority', 'best'), [(50, 'usr/bin/vim'), (30, 'usr/bin/nano')])
def test_the_best_alternative_is_chosen(
    stacked: Stacker, base: Path, web: Path, mail: Path, web_priority: int, best: str
) -> None:
    alternative(web, 'usr/bin/vim', web_priority)
    alternative(mail, 'usr/bin/nano', 40)
    (mail / 'usr/bin/nano.1').unlink()
    stack = stacked(web, (mail, base))
    stack.merge()
    assert os.readlink(stack.root / 'etc/alternatives/editor') == f'/{best}'
    group = (stack.root / 'var/lib/dpkg/alternatives/editor').read_text()
    assert '/usr/bin/vim\n' in group and '/usr/bin/nano\n' in group
    # a page that is not there, as where a description deletes them
    assert (stack.root / 'usr/bin/editor.1').is_symlink() is (best == 'usr/bin/vim')


def refuse_two_versions(web: Path, mail: Path) -> None:
    install_deb(web, 'libbase', '2')
    install_deb(mail, 'libbase', '3')


def refuse_one_file(web: Path, mail: Path) -> None:
    install_deb(web, 'one', files=['usr/bin/same'])
    install_deb(mail, 'two', files=['usr/bin/same'])


def refuse_one_file_behind_a_link(web: Path, mail: Path) -> None:
    for tree in (web, mail):
        (tree / 'usr/bin').mkdir(parents=True, exist_ok=True)
        (tree / 'bin').symlink_to('usr/bin')
    install_deb(web, 'one', files=['bin/same'])
    install_deb(mail, 'two', files=['usr/bin/same'])


def refuse_update_of_what_is_gone(web: Path, mail: Path) -> None:
    remove_deb(web, 'old')
    install_deb(mail, 'old', '2')


def refuse_another_manager(web: Path, mail: Path) -> None:
    for tree in (web, mail):
        for name in ('libbase', 'old', 'nginx', 'postfix'):
            if tree is mail:
                remove_deb(tree, name)
    place = mail / 'lib/apk/db'
    place.mkdir(parents=True)
    (place / 'installed').write_text('P:busybox\nV:1\nA:x\n\n')


def refuse_apk(web: Path, mail: Path) -> None:
    for tree, name in ((web, 'one'), (mail, 'two')):
        place = tree / 'lib/apk/db'
        place.mkdir(parents=True)
        (place / 'installed').write_text(f'P:{name}\nV:1\nA:x\n\n')


def refuse_interrupted(web: Path, mail: Path) -> None:
    (mail / 'var/lib/dpkg/updates/0001').write_text('Package: x\n')


def refuse_damaged_alternatives(web: Path, mail: Path) -> None:
    (mail / 'var/lib/dpkg/alternatives').mkdir()
    (mail / 'var/lib/dpkg/alternatives/x').write_text('auto\n')


def refuse_unreadable(web: Path, mail: Path) -> None:
    (mail / STATUS).unlink()
    (mail / STATUS).symlink_to('/etc/passwd')


def refuse_odd_name(web: Path, mail: Path) -> None:
    with open(mail / STATUS, 'a', encoding='ascii') as status:
        status.write('Package: ../../x\nVersion: 1\nArchitecture: amd64\n\n')


@pytest.mark.parametrize(('spoil', 'union', 'why'), [
    (refuse_two_versions, False, 'libbase is there in two versions, 2 amd64 of web:v1 and 3'),
    (refuse_one_file, False, 'usr/bin/same is a file of one (web:v1) and of two (mail:v1)'),
    (refuse_one_file_behind_a_link, False, 'usr/bin/same is a file of one'),
    (refuse_update_of_what_is_gone, False, 'old is updated by mail:v1 and removed by'),
    (refuse_another_manager, True, 'the packages are of different package managers: deb in web'),
    (refuse_apk, False, 'data bases of apk are not merged'),
    (refuse_interrupted, False, 'dpkg was interrupted in mail:v1 (var/lib/dpkg/updates)'),
    (refuse_damaged_alternatives, False, 'var/lib/dpkg/alternatives/x: cut off'),
    (refuse_unreadable, False, 'the deb packages cannot be read: var/lib/dpkg/status: '),
    (refuse_odd_name, False, "'../../x': no name of a package"),
])
def test_what_cannot_be_merged_is_refused_in_one_line(
    stacked: Stacker, base: Path, web: Path, mail: Path,
    spoil: Callable[[Path, Path], None], union: bool, why: str
) -> None:
    spoil(web, mail)
    stack = stacked(web, (mail, None if union else base))
    before = (stack.root / STATUS).read_bytes() if (stack.root / STATUS).is_file() else b''
    with pytest.raises(KiwiStashArgumentInvalid) as refused:
        stack.merge()
    assert refused.value.summary.startswith(f'--merge-packages: {why}')
    assert '\n' not in refused.value.summary and refused.value.hint
    if before:
        assert (stack.root / STATUS).read_bytes() == before


def install_pacman(tree: Path, name: str) -> None:
    place = tree / f'var/lib/pacman/local/{name}-1-1'
    place.mkdir(parents=True)
    (place / 'desc').write_text(f'%NAME%\n{name}\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n\n')


def test_packages_of_pacman_come_together_by_themselves(
    stacked: Stacker, base: Path, web: Path, mail: Path
) -> None:
    for name in ('libbase', 'old'):
        remove_deb(base, name)
    for tree, name in ((base, 'all'), (web, 'all'), (web, 'one'), (mail, 'all'), (mail, 'two')):
        install_pacman(tree, name)
        (tree / STATUS).write_text('')
    stack = stacked(web, (mail, base))
    assert stack.look().lines == () == stack.merge().lines
    assert sorted(path.name for path in (stack.root / 'var/lib/pacman/local').iterdir()) == [
        'all-1-1', 'one-1-1', 'two-1-1'
    ]


def test_what_apk_does_not_know_is_named(
    stacked: Stacker, base: Path, web: Path, mail: Path
) -> None:
    refuse_apk(web, mail)
    assert '    one 1 x of web:v1' in stacked(web, (mail, base)).look().lines
