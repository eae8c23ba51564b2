# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the packages, install them where they belong, and use them.

    make packages [ARGS='wheel deb rpm install']
"""
from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ('demo', 'test', 'tools')]

from apt_sources import find_repository, proxy_environment
from builtin_root import make_root

import longrun
from longrun import RunFailed, timed

#: the system's own Python, not the one of a virtual environment
SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
COMMANDS = ('stash', 'stackbuild', 'stash_list')
#: what rpmlint says on Debian of any package that has not been through a
#: distribution's build service
RPMLINT_KNOWN = ('no-signature', 'no-packager-tag', 'no-group-tag', 'no-dependency-on')


def run(*argv: str, cwd: Optional[Path] = None, **variables: str) -> str:
    """Run a tool with some variables and return what it said."""
    return longrun.run(*argv, cwd=cwd, env=variables)


def expect(text: str, *words: str) -> None:
    """Make sure that all words are in a text."""
    missing = [word for word in words if word not in text]
    if missing:
        raise RunFailed(f'{missing} not in:\n{text}')


def one(folder: Path, pattern: str) -> Path:
    """Return the one file of a name in a directory."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise RunFailed(f'{folder}: {len(found)} of {pattern}')
    return found[0]


def digests(folder: Path) -> Dict[str, str]:
    """Return the digest of each file in a directory."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
    }


def copy_sources(target: Path) -> None:
    """Copy what a clone would have if all were committed."""
    names = run(
        'git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard',
        cwd=REPOSITORY
    ).split('\0')
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def build_python(work: Path) -> Path:
    """Build wheel and sdist twice, from two copies; return their directory."""
    made: List[Path] = []
    copy_sources(work / 'first')
    shutil.copytree(work / 'first', work / 'second')
    for name in ('first', 'second'):
        made.append(work / f'dist-{name}')
        run(sys.executable, '-m', 'build', '--outdir', str(made[-1]), '.',
            cwd=work / name, SOURCE_DATE_EPOCH='1700000000')
        time.sleep(1)
    if digests(made[0]) != digests(made[1]):
        raise RunFailed(f'two builds differ: {digests(made[0])} {digests(made[1])}')
    run(sys.executable, '-m', 'twine', 'check', '--strict',
        *map(str, made[0].iterdir()))
    return made[0]


def check_wheel(work: Path, dist: Path) -> None:
    """Install the wheel into a new environment and stash a tree."""
    run(sys.executable, '-m', 'venv', str(work / 'venv'))
    tools = work / 'venv/bin'
    run(str(tools / 'pip'), 'install', '-q', '--disable-pip-version-check',
        os.environ.get('KIWI', 'kiwi'), str(one(dist, '*.whl')))
    # found without the environment's directory in PATH
    for command in COMMANDS:
        page = run(str(tools / 'kiwi-ng'), 'system', command, 'help', MANPAGER='cat',
                   MANWIDTH='100')
        expect(page, f'kiwi::system::{command} - ')
    make_root(str(work / 'wheel-root'))
    told = run(
        str(tools / 'kiwi-ng'), 'system', 'stash', f'--root={work}/wheel-root',
        '--container-name=packages-wheel', '--dry-run'
    )
    expect(told, 'packages-wheel:latest', 'added')


def check_debian(work: Path, dist: Path) -> None:
    """Build the Debian package, install it beside Debian's kiwi, stash a tree."""
    source = unpack(work / 'deb', one(dist, '*.tar.gz'))
    shutil.copytree(source / 'package/debian', source / 'debian')
    run('dpkg-buildpackage', '-us', '-uc', '-b', cwd=source, PATH=SYSTEM_PATH)
    package = one(work / 'deb', '*.deb')
    mirror = find_repository()
    root = work / 'chroot'
    proxies = proxy_environment()
    run('debootstrap', '--variant=minbase', '--include=man-db,ca-certificates',
        mirror.suite, str(root), mirror.uri, **proxies)
    shutil.copy2(package, root / 'tmp/plugin.deb')
    in_chroot(root, 'apt-get -q update && DEBIAN_FRONTEND=noninteractive '
              'apt-get -q -y install --no-install-recommends /tmp/plugin.deb', **proxies)
    make_root(str(root / 'srv/root'))
    told = in_chroot(root, ' && '.join([
        'kiwi-ng --version', 'kiwi-ng system stash help | cat',
        'kiwi-ng system stash --root=/srv/root --container-name=packaged',
        'kiwi-ng system stash_list --format=table'
    ]), MANPAGER='cat')
    expect(told, 'KIWI (next generation) version 9.24', 'kiwi::system::stash - ',
           'packaged:latest is', 'IMAGE ID')
    print(f'  {package.name} works beside {told.splitlines()[0]}')


def in_chroot(root: Path, command: str, **variables: str) -> str:
    """Run a shell command in a chroot; its mounts end with it."""
    script = (
        # tools that unpack layers expect "/" to be a mount
        f'mount --bind {root} {root} && mount -t proc proc {root}/proc && '
        f'mount --rbind /sys {root}/sys && mount --rbind /dev {root}/dev && '
        f'mount -t tmpfs run {root}/run && '
        'unset CONTAINERS_STORAGE_CONF TMPDIR; '
        f'exec chroot {root} /bin/sh -ec "$0"'
    )
    return run('unshare', '--mount', '--', '/bin/sh', '-ec', script, command,
               PATH=SYSTEM_PATH, LC_ALL='C.UTF-8', **variables)


def check_rpm(work: Path, dist: Path) -> None:
    """Build the RPM and look at its contents."""
    top = work / 'rpm'
    (top / 'SOURCES').mkdir(parents=True)
    archive = one(dist, '*.tar.gz')
    shutil.copy2(archive, top / 'SOURCES')
    template = one(REPOSITORY / 'package', '*-spec-template').read_text(encoding='utf-8')
    version = archive.name[:-len('.tar.gz')].rpartition('-')[2]
    spec = top / 'plugin.spec'
    spec.write_text(template.replace('@VERSION@', version), encoding='utf-8')
    libraries = '/usr/lib/python3/dist-packages'
    # Debian has no RPM data base to look requirements up in, nor the macros
    run('rpmbuild', '-bb', '--nodeps', '--define', f'_topdir {top}',
        '--define', '__python3 /usr/bin/python3',
        '--define', f'python3_sitelib {libraries}', str(spec),
        PATH=SYSTEM_PATH, DEB_PYTHON_INSTALL_LAYOUT='deb')
    package = str(one(top / 'RPMS/noarch', '*.rpm'))
    expect(
        run('rpm', '-qlp', package), f'{libraries}/kiwi_stackbuild_plugin/stash/stash.py',
        f'{libraries}/kiwi_stackbuild_typer_plugin/cli.py', '/usr/share/licenses/',
        *(f'/usr/share/man/man8/kiwi::system::{command}.8' for command in COMMANDS)
    )
    expect(run('rpm', '-qp', '--requires', package), 'podman', 'skopeo', 'python3-kiwi')
    told = subprocess.run(
        ['rpmlint', package], stdout=subprocess.PIPE, text=True, check=False,
        env={**os.environ, 'PATH': SYSTEM_PATH}
    ).stdout
    wrong = [
        line for line in told.splitlines() if re.search(r': E: ', line)
        and not any(word in line for word in RPMLINT_KNOWN)
    ]
    if wrong:
        raise RunFailed('\n'.join(wrong))


def check_install(work: Path, _dist: Path) -> None:
    """Run "make install" into a directory, from a copy of the sources."""
    copy_sources(work / 'install-source')
    run('make', 'install', f'DESTDIR={work}/destination', 'PREFIX=/usr',
        f'PYTHON={sys.executable}', cwd=work / 'install-source')
    for name in ('stash.py', 'extension.rng', 'tasks/system_stash.py'):
        one(work / 'destination/usr', f'l*/**/kiwi_stackbuild_plugin/{name}')
    for command in COMMANDS:
        one(work / 'destination/usr/share/man/man8', f'kiwi::system::{command}.8')


def unpack(folder: Path, archive: Path) -> Path:
    """Unpack an sdist and return its directory."""
    folder.mkdir()
    run('tar', '-xzf', str(archive), '-C', str(folder))
    return next(folder.iterdir())


CHECKS: Dict[str, Callable[[Path, Path], None]] = {
    'wheel': check_wheel, 'install': check_install, 'rpm': check_rpm,
    'deb': check_debian
}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('check', nargs='*', help=', '.join(CHECKS))
    return longrun.main('packages', check_all, parser)


def check_all(given: argparse.Namespace) -> int:
    """Build what all checks need, then check."""
    with longrun.work_directory('packages') as work:
        with timed('wheel and sdist'):
            build_python(work)
        for name in given.check or CHECKS:
            with timed(name):
                CHECKS[name](work, work / 'dist-first')
    return 0


if __name__ == '__main__':
    sys.exit(main())
