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
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from apt_sources import AptRepository, MirrorUnavailable, find_repository
from kiwi_root import (
    Description, RootPrepareFailed, build_root, kiwi_environment, stop_agent
)

__all__ = [
    'MirrorUnavailable', 'RootPlan', 'RootPrepareFailed', 'find_repository',
    'kiwi_environment', 'prepare_root', 'stop_agent', 'write_description'
]

TEMPLATE = Path(__file__).resolve().parent.parent / 'demo/description'


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

    :param target: the new root, must not exist
    :param kiwi: name or path of kiwi-ng
    :param cache: directory to keep packages in, for one build at a time
    :param repository: the mirror, otherwise the machine's own
    :raises MirrorUnavailable: no mirror answers
    :raises RootPrepareFailed: kiwi failed; what it left is removed
    """
    source = repository or find_repository()
    return build_root(
        target, lambda where: write_description(where, plan, source), kiwi, cache
    )


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
    description = Description(TEMPLATE, plan.name, plan.type_attributes)
    description.add_packages('image', plan.packages)
    node = description.element('repository')
    node.attrib.update({
        'alias': source.suite, 'distribution': source.suite,
        'components': ' '.join(source.components) or 'main',
        'repository_gpgcheck': 'true'
    })
    path = description.element('repository/source')
    path.set('path', source.uri)
    for key_file in source.keys:
        ElementTree.SubElement(path, 'signing', key=f'file://{key_file}')
    return description.write(directory)


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
