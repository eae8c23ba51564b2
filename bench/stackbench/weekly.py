# SPDX-License-Identifier: GPL-3.0-or-later
"""The weekly base: a tree prepared anew, stashed on that of the week before."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from stackbench.cases import NAME, layer_sizes
from stackbench.meter import BenchFailed, empty_page_cache
from stackbench.parties import OURS, REPOSITORY, Party, stash_command
from stackbench.sandbox import Sandbox, make_sandbox
from stackbench.trees import copy_tree

sys.path.insert(0, str(REPOSITORY / 'tools'))

from rpm_repository import cached_repository

NOTHING, UPDATED = 'nothing updated', 'three packages updated'
#: installed in the roots: small, with programs, with many files
_PACKAGES = ('grep', 'sed', 'perl-modules-5.36')
_RPM_PACKAGES = ('tree', 'bash', 'rpm-common')
#: of ours, with one more each time
_OPTIONS = ('--ignore-times', '--reproducible')
#: the installed files are to be those of the package before
_AS_IT_IS = ('debug_package %{nil}', '__os_install_post %{nil}', '_build_id_links none')
_SPEC = '''Name: {name}
Version: {version}
Release: {release}.bench
Summary: {name}
License: MIT
AutoReqProv: no
%description
{name}
%install
cp -a {tree}/. %{{buildroot}}
%files
{files}
'''


@dataclass(frozen=True)
class Week:
    """Two prepares of one description, and what happened between them."""

    label: str
    first: str
    second: str
    update: bool = False


@dataclass(frozen=True)
class Result:
    """One stash of the second tree; layer and content are bytes."""

    week: Week
    way: str
    seconds: float
    layer: Optional[int]
    files: int = 0
    content: int = 0


Say = Callable[[Result], None]


def run_week(
    arena: str, week: Week, parties: Sequence[Tuple[Party, str]], say: Say
) -> None:
    """Stash the first tree, then the second, by each party in a storage of its own."""
    for party, place in parties:
        base = f'{arena}/weekly-{party.key}'
        shutil.rmtree(base, ignore_errors=True)
        box, root = make_sandbox(f'{base}/box'), f'{base}/root'
        copy_tree(week.first, root)
        _stash(box, place, root)
        copy_tree(week.second, root)
        Path(root, 'image/stash.json').unlink(missing_ok=True)
        if week.update:
            update_packages(root)
        if party is OURS:
            _stash_ours(box, place, root, week, say)
        else:
            before = len(layer_sizes(box))
            seconds = _stash(box, place, root)
            say(Result(week, party.title, seconds, sum(layer_sizes(box)[before:])))
        shutil.rmtree(base)


def _stash_ours(box: Sandbox, place: str, root: str, week: Week, say: Say) -> None:
    for count in range(len(_OPTIONS) + 1):
        words = _OPTIONS[:count]
        way = ', '.join((OURS.title, ' '.join(words))) if words else OURS.title
        base = ('--base', f'{NAME}:latest', '--tag', f'week{len(words)}', *words)
        document = json.loads(subprocess.run(
            box.command([
                *stash_command(place, root, NAME), *base, '--dry-run', '--format=json'
            ]), env=box.environment, check=True, stdout=subprocess.PIPE
        ).stdout)['files']
        seconds = _stash(box, place, root, *base)
        told = json.loads(subprocess.run(
            box.command([
                f'{place}/bin/kiwi-ng', 'system', 'stash_list', '--format=json',
                f'{NAME}:week{len(words)}'
            ]), env=box.environment, check=True, stdout=subprocess.PIPE
        ).stdout)['stashes']
        say(Result(
            week, way, seconds, told[0]['layer_size'],
            document['added'] + document['changed'], document['bytes']
        ))
        os.unlink(f'{root}/image/stash.json')


def _stash(box: Sandbox, place: str, root: str, *words: str) -> float:
    empty_page_cache()
    return box.run([*stash_command(place, root, NAME), *words]).seconds


def update_packages(root: str) -> None:
    """Install three packages anew, with a higher version and one file more in each."""
    packages, query, update = (
        (_PACKAGES, ('dpkg', '-s'), _update_deb)
        if os.path.exists(f'{root}/var/lib/dpkg/status')
        else (_RPM_PACKAGES, ('rpm', '-q'), _update_rpm)
    )
    for package in packages:
        # one that is not there would be an addition
        _run_or_say(package, ['chroot', root, *query, package])
        update(root, package)


def _update_rpm(root: str, package: str) -> None:
    work = f'{root}/root/bench-update'
    shutil.rmtree(work, ignore_errors=True)
    tree = Path(work, 'tree')
    tree.mkdir(parents=True)
    found, = cached_repository().glob(f'*/{package}-[0-9]*.rpm')
    shutil.copy(found, f'{work}/old.rpm')
    subprocess.run(['rpm2archive', 'old.rpm'], cwd=work, check=True)
    subprocess.run(['tar', '-xzf', f'{work}/old.rpm.tgz', '-C', tree], check=True)
    name, version, release, *files = subprocess.run(
        ['rpm', '-qp', '--qf', r'%{NAME}\n%{VERSION}\n%{RELEASE}\n[%{FILENAMES}\n]', found],
        check=True, capture_output=True, text=True
    ).stdout.splitlines()
    note = f'/usr/share/doc/{package}/bench'
    (tree / note[1:]).parent.mkdir(parents=True, exist_ok=True)
    (tree / note[1:]).write_text('updated\n', encoding='ascii')
    listed = [
        f'"{path}"' if not (tree / path[1:]).is_dir() or (tree / path[1:]).is_symlink()
        else f'%dir "{path}"' for path in files
    ]
    Path(work, 'new.spec').write_text(_SPEC.format(
        name=name, version=version, release=release, tree=tree,
        files='\n'.join([*listed, note])
    ), encoding='utf-8')
    _run_or_say(package, [
        'rpmbuild', '-bb', '--quiet', f'--define=_topdir {work}',
        *(f'--define={word}' for word in _AS_IT_IS), f'{work}/new.spec'
    ])
    made, = Path(work).glob('RPMS/*/*.rpm')
    _run_or_say(package, [
        'chroot', root, 'rpm', '-U', '--nodeps', f'/{made.relative_to(root)}'
    ])
    shutil.rmtree(work)


def _run_or_say(package: str, words: Sequence[str]) -> None:
    done = subprocess.run(
        words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'DEBIAN_FRONTEND': 'noninteractive'}
    )
    if done.returncode:
        raise BenchFailed(f'{package}: {done.stdout.decode(errors="replace")[-300:]}')


def _update_deb(root: str, package: str) -> None:
    work = f'{root}/root/bench-update'
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    subprocess.run(
        ['apt-get', '-o', 'APT::Sandbox::User=root', 'download', '-q', package],
        cwd=work, check=True, stdout=subprocess.DEVNULL
    )
    found, = Path(work).glob('*.deb')
    subprocess.run(['dpkg-deb', '-R', found, f'{work}/tree'], check=True)
    control = Path(work, 'tree/DEBIAN/control')
    text = control.read_text(encoding='utf-8')
    control.write_text(
        re.sub(r'(?m)^(Version: .*)$', r'\1+bench', text), encoding='utf-8'
    )
    note = Path(work, f'tree/usr/share/doc/{package}/bench')
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text('updated\n', encoding='ascii')
    subprocess.run(
        ['dpkg-deb', '-b', '-Zgzip', f'{work}/tree', f'{work}/new.deb'], check=True,
        stdout=subprocess.DEVNULL
    )
    _run_or_say(package, ['chroot', root, 'dpkg', '-i', '/root/bench-update/new.deb'])
    shutil.rmtree(work)


def table(results: Sequence[Result]) -> List[str]:
    """Return the results as a Markdown table."""
    lines = [
        '| tree | since last week | stash | seconds | layer | files stored, content '
        '| against the peer |', '|---|---|---|---|---|---|---|'
    ]
    for result in results:
        peer = next((
            one.seconds for one in results
            if one.week == result.week and not one.way.startswith(OURS.title)
        ), None)
        ours = result.way.startswith(OURS.title)
        lines.append(
            f'| {result.week.label} | {UPDATED if result.week.update else NOTHING} '
            f'| {result.way} | {result.seconds:.2f} s | {(result.layer or 0) / 1000:,.1f} kB | '
            + (f'{result.files}, {result.content / 1000:,.1f} kB' if ours else '')
            + f' | {f"**{peer / result.seconds:.1f}**" if ours and peer else ""} |'
        )
    return lines
