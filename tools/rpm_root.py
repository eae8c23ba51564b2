#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a small root tree with kiwi by zypper or dnf 4 (tools/rpm_repository.py).

    tools/rpm_root.py zypper|dnf4 --target DIR [--package NAME...] [--name NAME]
        [--type-attr KEY=VALUE...] [--kiwi PATH]
    tools/rpm_root.py zypper|dnf4 --description-only DIR [...]
"""
from __future__ import annotations

import argparse
import os
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from apt_sources import MirrorUnavailable
from kiwi_root import Description, RootPrepareFailed, build_root
from rpm_repository import RepositoryFailed, cached_repository

TEMPLATE = Path(__file__).resolve().parent.parent / 'demo/stackos'
#: what kiwi calls a package manager, and the package that it is in
MANAGERS = {'zypper': 'zypper', 'dnf4': 'dnf'}


@dataclass(frozen=True)
class RpmPlan:
    """What to build; without more packages 121 MB with zypper, 169 MB with dnf.

    :param manager: one of MANAGERS
    :param type_attributes: of kiwi's <type>, such as ('image', 'oci')
    """

    manager: str
    packages: Tuple[str, ...] = ()
    name: str = 'stackos-demo'
    type_attributes: Tuple[Tuple[str, str], ...] = ()


def prepare_root(
    target: str, plan: RpmPlan, kiwi: str = 'kiwi-ng', repository: Optional[Path] = None
) -> str:
    """Build a root tree with "kiwi-ng system prepare" and return its path.

    :param target: the new root, must not exist
    :param kiwi: name or path of kiwi-ng
    :param repository: of packages, otherwise the cached one
    :raises MirrorUnavailable: the repository has to be made, and no mirror answers
    :raises RepositoryFailed: it cannot be made
    :raises RootPrepareFailed: kiwi failed; what it left is removed
    """
    source = repository or cached_repository()
    return build_root(
        target, lambda where: write_description(where, plan, source), kiwi
    )


def write_description(
    directory: str, plan: RpmPlan, repository: Optional[Path] = None
) -> str:
    """Write the description, changed to the plan, and return its path.

    :param directory: made if it does not exist
    :param repository: of packages, otherwise the cached one
    """
    source = repository or cached_repository()
    description = Description(TEMPLATE, plan.name, plan.type_attributes)
    description.element('preferences/packagemanager').text = plan.manager
    description.add_packages('bootstrap', [MANAGERS[plan.manager]])
    description.add_packages('image', plan.packages)
    description.element('repository/source').set('path', f'dir://{source}')
    return description.write(directory)


def bootstrap_packages() -> List[str]:
    """Return what a root begins with, without the package manager."""
    tree = ElementTree.parse(TEMPLATE / 'config.xml')
    return [node.attrib['name'] for node in tree.iterfind(
        "packages[@type='bootstrap']/package"
    )]


def main() -> int:
    """Command line; prints the path of what was made."""
    parser = argparse.ArgumentParser(
        description='Prepare a small root with zypper or dnf by kiwi.'
    )
    parser.add_argument('manager', choices=sorted(MANAGERS))
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--target', help='the new root')
    what.add_argument('--description-only', metavar='DIR')
    parser.add_argument('--package', action='append', default=[])
    parser.add_argument('--name', default=RpmPlan.name)
    parser.add_argument('--type-attr', action='append', default=[])
    parser.add_argument('--kiwi', default='kiwi-ng')
    given = parser.parse_args()
    plan = RpmPlan(
        given.manager, tuple(given.package), given.name,
        tuple(tuple(entry.split('=', 1)) for entry in given.type_attr)
    )
    try:
        if given.description_only:
            print(write_description(given.description_only, plan))
        else:
            print(prepare_root(given.target, plan, given.kiwi))
    except (MirrorUnavailable, RepositoryFailed, RootPrepareFailed) as issue:
        print(f'rpm_root: {issue}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
