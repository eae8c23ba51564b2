# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions in YAML, as kiwi reads them where anymarkup is installed."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Tuple

import pytest
from noting import make_noting_root, write_role
from storages import KIWI, Storage, image_root
from trees import describe

YAML = '''image:
  '@stashed': small
  '@name': web
  repository: {'@type': apt-deb, '@alias': web, source: {'@path': 'http://web.invalid/'}}
  packages: {'@type': image, package: {'@name': web}}
'''


@pytest.fixture(scope='module')
def markup(tmp_path_factory: pytest.TempPathFactory) -> Tuple[str, ...]:
    """Give what starts kiwi with the module: then it reads XML in another way, too."""
    place = tmp_path_factory.mktemp('markup')
    installed = subprocess.run([
        sys.executable, '-m', 'pip', 'install', '-q', '--disable-pip-version-check',
        '--target', place, 'anymarkup'
    ], check=False, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f'anymarkup cannot be had here: {installed.stderr.strip()[-200:]}')
    return ('env', f'PYTHONPATH={place}')


def write_yaml(where: Path, text: str = YAML) -> str:
    """Write the role of write_role in YAML."""
    write_role(where)
    (where / 'config.xml').unlink()
    (where / 'web.kiwi').write_text(text)
    return str(where)


def build(storage: Storage, description: str, target: Path, wrapper: Tuple[str, ...]) -> Path:
    storage.kiwi(
        'stackbuild', '--description', description, '--root-only',
        '--target-dir', str(target), wrapper=wrapper
    )
    return image_root(target)


def test_yaml_is_what_xml_is(
    storage: Storage, tmp_path: Path, markup: Tuple[str, ...]
) -> None:
    """An extension of a stash, then the whole description that came of it."""
    storage.kiwi('stash', '--root', str(make_noting_root(tmp_path / 'root')))
    ours = ('image/stash.json', 'image/extension.xml', 'image/extension.markup', 'log')
    xml = build(storage, write_role(tmp_path / 'xml'), tmp_path / 'one', ())
    yaml = build(storage, write_yaml(tmp_path / 'yaml'), tmp_path / 'two', markup)
    one, two = (
        {path: (*told[:4], *told[5:]) for path, told in describe(root, ours).items()}
        for root in (xml, yaml)
    )
    assert one == two and b'etc/web' in two
    storage.kiwi('stash', '--root', str(yaml), '--container-name=web', wrapper=markup)
    whole = tmp_path / 'whole'
    whole.mkdir()
    told = storage.run(
        *markup, KIWI, 'image', 'info', '--description', str(yaml / 'image'), '--print-yaml'
    ).stdout
    (whole / 'web.kiwi').write_text(told[told.index('image:\n'):])
    storage.kiwi(
        'stackbuild', '--stash=web', '--description', str(whole), '--root-only',
        '--target-dir', str(tmp_path / 'three'), wrapper=markup
    )
    assert (image_root(tmp_path / 'three') / 'etc/web').is_file()


@pytest.mark.parametrize(('wrong', 'told'), [
    ("'@nope': x, '@type': image", 'web.kiwi: <packages>: no such attribute: nope="x"'),
    ("'@type': [image", 'web.kiwi: is no XML, and cannot be converted: AnyMarkupError'),
])
def test_what_is_wrong_is_named(
    storage: Storage, tmp_path: Path, markup: Tuple[str, ...], wrong: str, told: str
) -> None:
    description = write_yaml(tmp_path / 'yaml', YAML.replace("'@type': image", wrong, 1))
    failed = storage.kiwi(
        'stackbuild', '--description', description, '--root-only',
        '--target-dir', str(tmp_path / 'out'), wrapper=markup, check=False
    )
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1 and told in ' '.join(said.split())
    assert 'Traceback' not in said and not (tmp_path / 'out').exists()
