# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of many parts (test/descriptions/rich) by each package manager.

Its rules are those of public descriptions: AlmaLinux's and Fedora's kiwi-descriptions,
openSUSE's, and the build tests of kiwi. Nothing in it is taken from there.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import rpm_root
from apt_sources import find_repository
from roots import RealRoot
from rpm_repository import cached_repository
from storages import Storage, image_root
from trees import describe

DESCRIPTIONS = Path(__file__).resolve().parent / 'descriptions'
#: profiles of it, and what they require
PROFILE = 'Container-Base'
PROFILES = {'Container-Base', 'ContainerCore', 'Tools', 'ToolsBase'}
#: each script that ran
LOG = 'var/log/scripts'
_RPM = (
    'filesystem', 'stackos-release', 'bash', 'coreutils', 'grep', 'sed', 'rpm',
    'ca-certificates'
)
#: what tells when and in which order packages were installed, and logs
_VOLATILE = re.compile(
    r'image/stash\.json|\.kconfig|dev/.*|var/(log|cache)/(?!scripts$).*|etc/(passwd|shadow|group|gshadow|subuid|subgid)-'
    r'|(usr/lib/sysimage|var/lib)/rpm/rpmdb.*|var/lib/(dnf|zypp)/.*'
    r'|var/lib/(apt|dpkg)/.*|etc/ld\.so\.cache|etc/machine-id|var/lib/systemd/.*'
)


def write_rich(
    manager: str, where: Path, repository: Optional[Path] = None
) -> Path:
    """Write it into a new directory; return that.

    :param repository: of rpm packages, otherwise the cached one
    """
    shutil.copytree(DESCRIPTIONS / 'rich', where, symlinks=True)
    words = _of_apt() if manager == 'apt' else _of_rpm(
        manager, repository or cached_repository()
    )
    for path in (where / 'Rich.kiwi', *where.glob('*/*.xml')):
        text = path.read_text()
        for name, word in {
            **words, 'MANAGER': manager, 'UNINSTALL': _uninstall(manager)
        }.items():
            text = text.replace(f'@{name}@', word)
        path.write_text(text)
    for name in ('first', 'second'):
        write_archive(where / f'files/{name}.tar', f'of-{name}')
    return where


def write_richer(manager: str, stash: str, where: Path) -> Path:
    """Write the extension of a stash of it; return its directory."""
    shutil.copytree(DESCRIPTIONS / 'richer', where)
    for path, word, text in (
        (where / 'config.xml', '@STASH@', stash),
        (where / 'components/less.xml', '@UNINSTALL@', _uninstall(manager))
    ):
        path.write_text(path.read_text().replace(word, text))
    write_archive(where / 'files/third.tar', 'of-third')
    return where


def _uninstall(manager: str) -> str:
    """Return how packages go; kiwi's apt finds none to be uninstalled in a new root."""
    return 'delete' if manager == 'apt' else 'uninstall'


def _of_rpm(manager: str, repository: Path) -> Dict[str, str]:
    key = f'file://{repository}/repo.key'
    return {
        'KIND': 'rpm-md', 'SUITE': '', 'KEY': key, 'DEMO': 'stackdemo',
        'BOOTSTRAP': _packages(*_RPM, rpm_root.MANAGERS[manager]),
        'CORE': f'<repository type="rpm-md" alias="core"><source path="dir://{repository}">'
                f'<signing key="{key}"/></source></repository>',
        # Debian's zypper makes no pattern of a package
        'TOOLS': '<namedCollection name="tools"/>' if manager == 'dnf4'
                 else _packages('patterns-stackos-tools'),
        'UNINSTALLED': 'vim-tiny', 'DELETED': 'gzip'
    }


def _of_apt() -> Dict[str, str]:
    source = find_repository()
    suite = f'distribution="{source.suite}" components="main"'
    keys = ''.join(f'<signing key="file://{key}"/>' for key in source.keys)
    return {
        'KIND': 'apt-deb', 'SUITE': suite, 'KEY': f'file://{source.keys[0]}',
        'BOOTSTRAP': _packages('apt', 'base-files'), 'DEMO': 'hello',
        'CORE': f'<repository type="apt-deb" alias="core" {suite} repository_gpgcheck="true">'
                f'<source path="{source.uri}">{keys}</source></repository>',
        'TOOLS': f'<namedCollection name="tools"/>{_packages("tree", "less", "media-types")}',
        'UNINSTALLED': 'bc', 'DELETED': 'media-types'
    }


def _packages(*names: str) -> str:
    return ''.join(f'<package name="{name}"/>' for name in names)


def write_archive(path: Path, name: str) -> None:
    """Write a tar archive with one file, of no certain time."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, 'w') as archive:
        entry = tarfile.TarInfo(name)
        entry.mode = 0o640
        archive.addfile(entry)


def differences(one: Path, other: Path) -> List[str]:
    """Return the paths that two trees differ in, but for times and what depends on them."""
    first, second = _comparable(one), _comparable(other)
    return sorted(
        path for path in {*first, *second} if first.get(path) != second.get(path)
    )


def _comparable(root: Path) -> Dict[str, Tuple[Any, ...]]:
    return {
        os.fsdecode(path): (*entry[:4], *entry[5:])
        for path, entry in describe(root).items()
        if not _VOLATILE.fullmatch(os.fsdecode(path))
    }


def prepare_rich(
    storage: Storage, real: RealRoot, fast: List[str], description: Path,
    profile: str = PROFILE
) -> Path:
    """Let kiwi prepare the root from nothing."""
    storage.kiwi(
        'prepare', '--description', str(description), '--root', str(real.path),
        options=[*fast, '--profile', profile], env=real.environment
    )
    return real.path


def build_root(
    storage: Storage, real: RealRoot, fast: List[str], target: Path, *words: str,
    profile: str = ''
) -> Path:
    """Build a root on stashes."""
    storage.kiwi(
        'stackbuild', '--target-dir', str(target), '--root-only', *words,
        options=[*fast, *(['--profile', profile] if profile else [])], env=real.environment
    )
    return image_root(target)


def container_labels(target: Path) -> Any:
    """Return the labels of the container that was built."""
    with tarfile.open(next(target.glob('*.oci.tar'))) as archive:
        def load(name: str) -> Any:
            stream = archive.extractfile(name)
            assert stream is not None
            return json.load(stream)

        def blob(descriptor: Any) -> Any:
            return load('blobs/' + descriptor['digest'].replace(':', '/'))
        return blob(blob(load('index.json')['manifests'][0])['config'])['config']['Labels']


def check_builds(
    storage: Storage, real: RealRoot, fast: List[str], tmp_path: Path, description: Path
) -> Path:
    """Build the same description on its stash, then an extension; return the root of that."""
    same = build_root(
        storage, real, fast, tmp_path / 'same', '--stash', 'rich',
        '--description', str(description), profile=PROFILE
    )
    check_same(real, real.path, same)
    richer = build_root(
        storage, real, fast, tmp_path / 'richer', '--description',
        str(write_richer(real.manager, 'rich', tmp_path / 'extension'))
    )
    check_richer(real, real.path, richer)
    return richer


def check_same(real: RealRoot, root: Path, same: Path) -> None:
    """See that a root is the first one, with what kiwi does again done twice."""
    assert differences(root, same) == [LOG]
    assert real.installed(same) == real.installed(root)
    assert real.audit(same) == []
    ran = (root / LOG).read_text()
    assert (same / LOG).read_text() == ran * 2


def check_richer(real: RealRoot, root: Path, richer: Path) -> None:
    """See that the extension did what it says, and nothing again."""
    before, after = set(real.installed(root)), set(real.installed(richer))
    assert {name.rpartition('-')[0].rpartition('-')[0] for name in before - after} <= {'less'}
    assert (richer / 'usr/bin/htop').is_file() and not (richer / 'usr/bin/less').exists()
    assert real.audit(richer) == []
    changed = {
        path for path in differences(root, richer)
        if not path.startswith(('usr/', 'etc/libnl', 'image/', 'home/alice', 'var/'))
    }
    accounts = {f'etc/{name}' for name in ('group', 'gshadow', 'passwd', 'shadow')}
    assert changed - accounts - {'etc/subgid', 'etc/subuid'} == {
        # with the version
        '.profile', 'etc/stack/new', 'etc/stack/tools', 'of-third'
    }
    assert (richer / LOG).read_text() == (
        (root / LOG).read_text() + 'config.sh of the extension\n'
    )
    assert (richer / 'image/exclude_files.yaml').read_text() == (
        (root / 'image/exclude_files.yaml').read_text()
    )
