# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a root tree with "kiwi-ng system prepare", and leave nothing beside it."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from apt_sources import proxy_environment


class RootPrepareFailed(Exception):
    """kiwi did not build the root; the text has the end of its log."""


class Description:
    """kiwi's description, changed from a template.

    :param template: directory with its config.xml
    :param type_attributes: of kiwi's <type>, such as ('image', 'oci')
    """

    def __init__(
        self, template: Path, name: str, type_attributes: Iterable[Tuple[str, str]]
    ) -> None:
        self._template = template / 'config.xml'
        self._tree = ElementTree.parse(self._template)
        self._tree.getroot().set('name', name)
        for key, value in type_attributes:
            self.element('preferences/type').set(key, value)

    def element(self, path: str) -> ElementTree.Element:
        """Return the first element of a path.

        :raises RootPrepareFailed: the template has none
        """
        found = self._tree.getroot().find(path)
        if found is None:
            raise RootPrepareFailed(f'{self._template} has no {path}')
        return found

    def add_packages(self, kind: str, names: Iterable[str]) -> None:
        """Add packages to the section of a type."""
        packages = self.element(f"packages[@type='{kind}']")
        for name in names:
            ElementTree.SubElement(packages, 'package', name=name)

    def write(self, directory: str) -> str:
        """Write it into a directory, made if it does not exist; return that."""
        os.makedirs(directory, exist_ok=True)
        self._tree.write(
            f'{directory}/config.xml', encoding='utf-8', xml_declaration=True
        )
        return directory


def build_root(
    target: str, write_description: Callable[[str], object], kiwi: str = 'kiwi-ng',
    cache: Optional[str] = None
) -> str:
    """Build a root tree and return its path.

    Everything kiwi needs besides (description, log, package cache, gpg home)
    is in a temporary directory, so several builds can run at the same time.

    :param target: the new root, must not exist
    :param write_description: writes it into a directory
    :param kiwi: name or path of kiwi-ng
    :param cache: directory to keep packages in, for one build at a time
    :raises RootPrepareFailed: kiwi failed; what it left is removed
    """
    target = os.path.abspath(target)
    if os.path.lexists(target):
        raise RootPrepareFailed(f'{target}: exists already')
    # below /var/tmp: packages and gpg sockets need room and short names
    with tempfile.TemporaryDirectory(
        prefix='kiwi-root.', dir='/var/tmp'
    ) as work:
        write_description(f'{work}/description')
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
