# SPDX-License-Identifier: GPL-3.0-or-later
"""The package mirror of this machine, read from its apt configuration."""
from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

_APT_HELPER = '/usr/lib/apt/apt-helper'
_SIDE_SUITES = ('-updates', '-security', '-backports', '/updates', '-proposed')
_OPTIONS = re.compile(r'\[([^\]]*)\]')


class MirrorUnavailable(Exception):
    """This machine has no apt mirror that answers; the text says which."""


@dataclass(frozen=True)
class AptRepository:
    """One suite of one mirror, with the keyrings that sign it."""

    uri: str
    suite: str
    components: Tuple[str, ...]
    keys: Tuple[str, ...]

    def kiwi_argument(self) -> str:
        """Value of kiwi's --set-repo and --add-repo for this repository.

        Fields: source, type, alias, priority, imageinclude, package_gpgcheck,
        {signing keys}, components, distribution, repo_gpgcheck
        """
        keys = ':'.join(f'file://{key}' for key in self.keys)
        return ','.join((
            self.uri, 'apt-deb', self.suite, '', 'false', 'true',
            f'{{{keys}}}', ' '.join(self.components), self.suite, 'true'
        ))


def find_repository(config_dir: str = '/etc/apt') -> AptRepository:
    """Return the first main suite in the machine's sources that answers.

    :param config_dir: apt's configuration directory
    :raises MirrorUnavailable: none is configured, or none answers
    """
    candidates = [
        repository for repository in read_sources(config_dir)
        if not repository.suite.endswith(_SIDE_SUITES)
        and re.match(r'(https?|ftp|file|copy):/', repository.uri)
    ]
    for repository in candidates:
        if mirror_answers(repository):
            return repository
    tried = ', '.join(f'{entry.uri} {entry.suite}' for entry in candidates)
    raise MirrorUnavailable(
        f'no package mirror answers ({tried})' if tried
        else f'no binary package source in {config_dir}'
    )


def mirror_answers(repository: AptRepository) -> bool:
    """Fetch the suite's InRelease, by apt's own means (proxies, logins)."""
    if not os.access(_APT_HELPER, os.X_OK):
        return False
    with tempfile.TemporaryDirectory(prefix='apt-mirror.') as scratch:
        return subprocess.run(
            [
                _APT_HELPER, '-o', 'Acquire::Retries=2',
                '-o', 'Acquire::http::Timeout=20',
                '-o', 'APT::Sandbox::User=root', 'download-file',
                f'{repository.uri}/dists/{repository.suite}/InRelease',
                f'{scratch}/InRelease'
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False
        ).returncode == 0


def proxy_environment() -> Dict[str, str]:
    """Return apt's proxies as variables: the new root has no apt.conf."""
    found = {}
    for scheme in ('http', 'https'):
        told = subprocess.run(
            ['apt-config', 'shell', 'VALUE', f'Acquire::{scheme}::Proxy'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        ).stdout.decode()
        value = ''.join(shlex.split(told)).partition('=')[2]
        if value and value != 'DIRECT':
            found[f'{scheme}_proxy'] = value
    return found


def read_sources(config_dir: str) -> List[AptRepository]:
    """Return all binary package sources, in the order apt reads them."""
    found: List[AptRepository] = []
    listed = [f'{config_dir}/sources.list'] + sorted(
        glob(f'{config_dir}/sources.list.d/*')
    )
    for name in listed:
        if not os.path.isfile(name):
            continue
        text = Path(name).read_text(encoding='utf-8', errors='replace')
        if name.endswith('.sources'):
            found.extend(_parse_deb822(text))
        elif name.endswith('.list'):
            found.extend(_parse_lines(text))
    return found


def _parse_lines(text: str) -> Iterator[AptRepository]:
    """One-line style of sources.list(5): deb [options] uri suite components."""
    for written in text.splitlines():
        line = written.partition('#')[0].strip()
        options = _OPTIONS.search(line)
        words = _OPTIONS.sub('', line, count=1).split()
        if len(words) < 4 or words[0] != 'deb':
            continue
        settings = dict(
            word.split('=', 1) for word in (options[1] if options else '').split()
            if '=' in word
        )
        yield _repository(
            words[1], words[2], words[3:],
            settings.get('signed-by', '').split(',')
        )


def _parse_deb822(text: str) -> Iterator[AptRepository]:
    """Stanzas of fields; a line that begins with a blank continues a field."""
    lines = [line for line in text.splitlines() if not line.startswith('#')]
    for stanza in re.split(r'\n\s*\n', '\n'.join(lines)):
        fields: Dict[str, str] = {}
        key = ''
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[key] = f'{fields.get(key, "")} {line.strip()}'
            elif ':' in line:
                key, value = line.split(':', 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if (
            'deb' not in fields.get('types', '').split()
            or fields.get('enabled', 'yes').lower() in ('no', 'false')
        ):
            continue
        for uri in fields.get('uris', '').split():
            for suite in fields.get('suites', '').split():
                yield _repository(
                    uri, suite, fields.get('components', '').split(),
                    re.split(r'[,\s]+', fields.get('signed-by', ''))
                )


def _repository(
    uri: str, suite: str, components: Sequence[str], signed_by: Sequence[str]
) -> AptRepository:
    """Without key files (none named, or a key in the text): the system's."""
    keys = [name for name in signed_by if os.path.isfile(name)] or sorted(
        name for pattern in (
            '/usr/share/keyrings/*-archive-keyring.gpg', '/etc/apt/trusted.gpg',
            '/etc/apt/trusted.gpg.d/*.gpg', '/etc/apt/trusted.gpg.d/*.asc'
        ) for name in glob(pattern)
    )
    return AptRepository(
        uri.rstrip('/'), suite, tuple(components), tuple(keys)
    )
