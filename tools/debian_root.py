#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a small Debian root tree with kiwi, from this machine's mirror.

The demo, the integration tests and the benchmark all use it, as a module or:

    tools/debian_root.py --target DIR [--package NAME...] [--name NAME]
        [--type-attr KEY=VALUE...] [--kiwi PATH] [--cache DIR]
    tools/debian_root.py --description-only DIR [...]
    tools/debian_root.py --print-repo-args
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from apt_sources import (
    AptRepository, MirrorUnavailable, find_repository, proxy_environment
)

TEMPLATE = Path(__file__).resolve().parent.parent / 'demo/description'


class RootPrepareFailed(Exception):
    """kiwi did not build the root; the text has the end of its log."""


@dataclass(frozen=True)
class RootPlan:
    """What to build; the defaults give 219 MB with Python."""

    packages: Tuple[str, ...] = ()
    name: str = 'stash-demo'
    #: attributes of kiwi's <type>, such as ('image', 'oci')
    type_attributes: Tuple[Tuple[str, str], ...] = ()


def prepare_root(
    target: str, plan: Optional[RootPlan] = None, kiwi: str = 'kiwi-ng',
    cache: Optional[str] = None, repository: Optional[AptRepository] = None
) -> str:
    """Build a root tree with "kiwi-ng system prepare" and return its path.

    Everything kiwi needs besides (description, log, package cache, gpg home)
    is in a temporary directory, so several builds can run at the same time.

    :param target: the new root, must not exist
    :param kiwi: name or path of kiwi-ng
    :param cache: directory to keep packages in, for one build at a time
    :param repository: the mirror, otherwise the machine's own
    :raises MirrorUnavailable: no mirror answers
    :raises RootPrepareFailed: kiwi failed; what it left is removed
    """
    target = os.path.abspath(target)
    if os.path.lexists(target):
        raise RootPrepareFailed(f'{target}: exists already')
    source = repository or find_repository()
    # below /var/tmp: packages and gpg sockets need room and short names
    with tempfile.TemporaryDirectory(
        prefix='debian-root.', dir='/var/tmp'
    ) as work:
        write_description(f'{work}/description', plan, source)
        os.makedirs(f'{work}/gnupg', mode=0o700)
        os.makedirs(f'{work}/tmp')
        command = [
            kiwi, f'--logfile={work}/log', f'--temp-dir={work}/tmp',
            f'--shared-cache-dir={os.path.abspath(cache or work + "/cache")}',
            'system', 'prepare',
            f'--description={work}/description', f'--root={target}'
        ]
        try:
            _run_kiwi(command, work)
        except BaseException:
            _remove_root(target)
            raise
    return target


def write_description(
    directory: str, plan: Optional[RootPlan] = None,
    repository: Optional[AptRepository] = None
) -> str:
    """Write the demo's description, changed to the plan, and return its path.

    :param directory: made if it does not exist
    :param repository: the mirror, otherwise the machine's own
    """
    plan = plan or RootPlan()
    source = repository or find_repository()
    tree = ElementTree.parse(TEMPLATE / 'config.xml')
    image = tree.getroot()
    image.set('name', plan.name)
    for key, value in plan.type_attributes:
        _element(image, 'preferences/type').set(key, value)
    packages = _element(image, "packages[@type='image']")
    for name in plan.packages:
        ElementTree.SubElement(packages, 'package', name=name)
    node = _element(image, 'repository')
    node.attrib.update({
        'alias': source.suite, 'distribution': source.suite,
        'components': ' '.join(source.components) or 'main',
        'repository_gpgcheck': 'true'
    })
    path = _element(node, 'source')
    path.set('path', source.uri)
    for key_file in source.keys:
        ElementTree.SubElement(path, 'signing', key=f'file://{key_file}')
    os.makedirs(directory, exist_ok=True)
    tree.write(f'{directory}/config.xml', encoding='utf-8', xml_declaration=True)
    return directory


def kiwi_environment(work: str) -> Dict[str, str]:
    """Variables for kiwi: a gpg home of its own below work, apt's proxies."""
    return {**proxy_environment(), **os.environ, 'GNUPGHOME': f'{work}/gnupg'}


def _run_kiwi(command: List[str], work: str) -> None:
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=kiwi_environment(work), check=False
        )
    except OSError as issue:
        raise RootPrepareFailed(f'{command[0]}: {issue.strerror}') from issue
    finally:
        stop_agent(f'{work}/gnupg')
    if process.returncode:
        told = process.stdout.decode(errors='replace').splitlines()[-25:]
        raise RootPrepareFailed('\n'.join([
            f'{" ".join(command)}: exit status {process.returncode}', *told
        ]))


def _element(parent: ElementTree.Element, path: str) -> ElementTree.Element:
    found = parent.find(path)
    if found is None:
        raise RootPrepareFailed(f'{TEMPLATE}/config.xml has no {path}')
    return found


def _remove_root(target: str) -> None:
    """Remove a half root, unless something is still mounted in it."""
    mounts = Path('/proc/self/mountinfo').read_text(encoding='utf-8')
    if any(
        line.split()[4].startswith(target + '/') for line in mounts.splitlines()
    ):
        print(f'{target}: still mounted, left in place', file=sys.stderr)
        return
    shutil.rmtree(target, ignore_errors=True)


def stop_agent(home: str) -> None:
    """End the gpg-agent of our own gpg home (gpg starts it by itself)."""
    if shutil.which('gpgconf'):
        subprocess.run(
            ['gpgconf', '--homedir', home, '--kill', 'all'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False
        )


def main() -> int:
    """Command line; prints the path of what was made."""
    parser = argparse.ArgumentParser(
        description='Prepare a small Debian root with kiwi.'
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--target', help='the new root')
    what.add_argument('--description-only', metavar='DIR')
    what.add_argument('--print-repo-args', action='store_true')
    parser.add_argument('--package', action='append', default=[])
    parser.add_argument('--name', default=RootPlan.name)
    parser.add_argument('--type-attr', action='append', default=[])
    parser.add_argument('--kiwi', default='kiwi-ng')
    parser.add_argument('--cache', help='directory to keep packages in')
    given = parser.parse_args()
    plan = RootPlan(
        tuple(given.package), given.name,
        tuple(_key_and_value(entry) for entry in given.type_attr)
    )
    try:
        if given.print_repo_args:
            print(f'--set-repo={find_repository().kiwi_argument()}')
        elif given.description_only:
            print(write_description(given.description_only, plan))
        else:
            print(prepare_root(given.target, plan, given.kiwi, given.cache))
    except (MirrorUnavailable, RootPrepareFailed) as issue:
        print(f'debian_root: {issue}', file=sys.stderr)
        return 1
    return 0


def _key_and_value(entry: str) -> Tuple[str, str]:
    key, _, value = entry.partition('=')
    return key, value


if __name__ == '__main__':
    sys.exit(main())
