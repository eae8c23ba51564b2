# SPDX-License-Identifier: GPL-3.0-or-later
"""What kiwi's package managers call in a root: its own classes, a chroot that notes."""
from __future__ import annotations

import gc
import os
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest
from disks import stored
from kiwi.exceptions import KiwiCommandError, KiwiDescriptionInvalid
from kiwi.package_manager import PackageManager
from kiwi.repository.apt import RepositoryApt
from kiwi.system.setup import SystemSetup
from kiwi.utils.rpm_database import RpmDataBase
from kiwi.xml_description import XMLDescription
from lxml import isoschematron

from kiwi_stackbuild_plugin.description.facts import MANAGERS
from kiwi_stackbuild_plugin.description.schema import schema_version
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import (
    rules_compiled_once, verified_ahead, with_database_links, without_bootstrap
)

#: kiwi 10 and later tell dnf4 and dnf5 apart
TELLS_DNF = find_spec('kiwi.package_manager.dnf4') is not None
#: dnf is none of kiwi 10's: it reads such a description as one for dnf4
KNOWN = [name for name in MANAGERS if find_spec(f'kiwi.package_manager.{name}') and (
    name != 'dnf' or not TELLS_DNF
)]

#: in a root, what is at the place of the host's data base; where that leads afterwards
PLACES: Dict[str, Tuple[Callable[[Path], object], str]] = {
    'nothing': (lambda path: None, '../../usr/lib/sysimage/rpm'),
    'a link that leads nowhere': (
        lambda path: path.symlink_to('../../root/.rpmdb'), '../../usr/lib/sysimage/rpm'
    ),
    'a link to nothing of the host': (
        lambda path: path.symlink_to('/nowhere/of/the/host'), '../../usr/lib/sysimage/rpm'
    ),
    'a good link': (
        lambda path: path.symlink_to('../../usr/lib/sysimage/rpm'), '../../usr/lib/sysimage/rpm'
    ),
    'another good link': (lambda path: path.symlink_to('../../etc'), '../../etc'),
    'a directory': (Path.mkdir, ''),
}
DESCRIPTION = f'''<image schemaversion="{schema_version()}" name="rules">
<description type="system"><author>a</author><contact>c</contact>
<specification>s</specification></description>
<preferences><version>1.0.0</version><packagemanager>zypper</packagemanager>
<type image="oci"><containerconfig name="c"/></type></preferences>
<repository type="rpm-md"><source path="obs://a/b"/></repository>
<packages type="image"><package name="p"/></packages>
</image>'''


def make_tree(tmp_path: Path, programs: Sequence[str]) -> Path:
    """Make a root with programs; "a -> b" is a link."""
    folder = tmp_path / 'root/usr/bin'
    folder.mkdir(parents=True)
    (tmp_path / 'root/bin').symlink_to('usr/bin')
    for program in programs:
        name, arrow, target = program.partition(' -> ')
        if arrow:
            (folder / name).symlink_to(target)
        else:
            (folder / name).write_text('')
            (folder / name).chmod(0o755)
    return tmp_path / 'root'


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have chroot note its arguments in a file, one call a line."""
    notes = tmp_path / 'calls'
    (tmp_path / 'path').mkdir()
    fake = tmp_path / 'path/chroot'
    fake.write_text(f'#!/bin/sh\necho "$@" >>{notes}\n')
    fake.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}/path:{os.environ["PATH"]}')
    return notes


def install(name: str, root: Path, called: Path) -> List[List[str]]:
    """Let kiwi install a package in a root; return the words behind the root."""
    config: Dict[str, Any] = {
        f'{kind}_args': ['--config', f'{root}/kiwi.config'] for kind in (
            'dnf', 'dnf4', 'dnf5', 'microdnf', 'zypper', 'apt_get', 'pacman', 'apk'
        )
    }
    repository = SimpleNamespace(
        root_dir=str(root), runtime_config=lambda: {
            **config, 'bootstrap_repo': '', 'command_env': dict(os.environ), 'distribution': 'x',
            'distribution_path': 'x'
        },
        root_bind=SimpleNamespace(root_dir=str(root))
    )
    manager = PackageManager.new(repository, name)
    manager.request_package('vim')
    call = manager.process_install_requests()
    call.process.communicate()
    lines = called.read_text().splitlines()
    called.unlink()
    assert all(line.split()[0] == str(root) for line in lines)
    return [line.split()[1:] for line in lines]


@pytest.mark.parametrize('name', KNOWN)
def test_programs_are_those_that_this_kiwi_calls(
    tmp_path: Path, called: Path, name: str
) -> None:
    for number, program in enumerate(MANAGERS[name][1]):
        root = make_tree(tmp_path / str(number), [program, 'rpm', 'dpkg'])
        assert {words[0] for words in install(name, root, called)} == {program}


def test_pacman_reads_the_repositories_first(tmp_path: Path, called: Path) -> None:
    root = make_tree(tmp_path, ['pacman'])
    config = ['pacman', '--config', '/kiwi.config']
    with without_bootstrap(True):
        calls = install('pacman', root, called)
    assert calls == [[*config, '-Sy'], [*config, '-S', '--needed', 'vim']]
    assert install('pacman', root, called) == [[*config, '-S', '--needed', 'vim']]


@pytest.mark.parametrize('active', [True, False])
def test_apt_reads_the_status_of_dpkg(tmp_path: Path, active: bool) -> None:
    """It does by itself in kiwi 9; kiwi's own file is left as it is."""
    root = make_tree(tmp_path, [])
    shared = SimpleNamespace(
        root_dir=str(root), shared_location=str(tmp_path / 'shared')
    )
    with without_bootstrap(active):
        repository = RepositoryApt(shared)
    config = Path(repository.runtime_apt_get_config_file.name).read_text()
    assert ('"/var/lib/dpkg/status.kiwi"' in config) == (TELLS_DNF and not active)
    assert ('Dir::State::status "/var/lib/dpkg/status";' in config) == (
        TELLS_DNF and active
    )
    # kiwi 9 leaves it to the garbage collector
    getattr(repository.runtime_apt_get_config_file, 'close', lambda: None)()


def load(path: Path, rule_broken: bool) -> Any:
    """Let kiwi read a description."""
    # a rule that the grammar does not know of
    path.write_text(DESCRIPTION.replace('oci', 'iso', rule_broken))
    return XMLDescription(str(path)).load()


@pytest.mark.filterwarnings('ignore:unclosed file.*kiwi_:ResourceWarning')
def test_rules_are_compiled_once_and_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'cache'))
    original = isoschematron.Schematron
    made: List[Any] = []
    monkeypatch.setattr(
        isoschematron, 'Schematron',
        lambda *words, **options: made.append(original(*words, **options)) or made[-1]
    )
    own = isoschematron.Schematron
    with rules_compiled_once():
        for _ in range(3):
            assert load(tmp_path / 'config.xml', False).get_name() == 'rules'
            with pytest.raises(KiwiDescriptionInvalid):
                load(tmp_path / 'config.xml', True)
    assert len(made) == 1
    assert isoschematron.Schematron is own
    # the files that kiwi leaves open, as long as the warning is not one
    gc.collect()


def data_base(root: Path) -> Any:
    """Give kiwi's own object, for a host and a root that differ in the place."""
    found = RpmDataBase.__new__(RpmDataBase)
    found.root_dir = str(root)
    found.rpmdb_host = SimpleNamespace(expand_query=lambda name: '/var/lib/rpm')
    found.rpmdb_image = SimpleNamespace(expand_query=lambda name: '/usr/lib/sysimage/rpm')
    return found


@pytest.mark.parametrize('what', PLACES)
def test_a_link_to_the_data_base_leads_there(tmp_path: Path, what: str) -> None:
    for name in ('var/lib', 'usr/lib/sysimage/rpm', 'etc'):
        (tmp_path / 'root' / name).mkdir(parents=True)
    place = tmp_path / 'root/var/lib/rpm'
    make, target = PLACES[what]
    make(place)
    with with_database_links():
        data_base(tmp_path / 'root').link_database_to_host_path()
    assert (os.readlink(place) if target else place.is_dir() and '') == target


def test_no_link_outside_of_the_root_is_removed(tmp_path: Path) -> None:
    for name in ('root/var', 'root/usr/lib/sysimage/rpm', 'outside'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'root/var/lib').symlink_to('../../outside')
    (tmp_path / 'outside/rpm').symlink_to('nowhere')
    with with_database_links(), pytest.raises(KiwiCommandError):
        data_base(tmp_path / 'root').link_database_to_host_path()
    assert os.readlink(tmp_path / 'outside/rpm') == 'nowhere'


def in_memory(path: Path) -> int:
    """Return how many bytes of a file are in the page cache."""
    return int(subprocess.run(
        ['fincore', '--bytes', '--noheadings', '--output=RES', path], check=True,
        stdout=subprocess.PIPE
    ).stdout)


def test_files_are_read_while_packages_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = stored(tmp_path, 2)
    path = Path(info.directories[0], 'large')
    with open(path, 'wb') as out:
        out.write(os.urandom(1 << 20))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(path) == 1 << 20:
        pytest.skip('this file system keeps all in memory')

    def verify(self: Any, target_dir: str) -> str:
        for _ in range(600):
            if in_memory(path) == 1 << 20:
                return f'{target_dir}/verified'
            time.sleep(0.05)
        return 'nobody has read it'
    monkeypatch.setattr(SystemSetup, 'export_package_verification', verify)
    with verified_ahead(info):
        told = SystemSetup.export_package_verification(SimpleNamespace(), 'out')
    assert told == 'out/verified'
    assert SystemSetup.export_package_verification is verify
