# SPDX-License-Identifier: GPL-3.0-or-later
"""Extensions on a real Debian: the page "Four images from one stash", and more."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest
from debian_root import kiwi_environment
from documents import REPOSITORY, page_script
from roots import package_cache
from runtime_config import write_fast_config
from storages import KIWI, Storage

PAGE = REPOSITORY / 'doc/source/variants.rst'
IMAGES = {
    'probe.tar': 'probe*.tar.xz', 'probe.container': 'probe*.oci.tar',
    'records.tar': 'records*.tar.xz', 'records.container': 'records*.oci.tar'
}


@pytest.fixture
def reader(storage: Storage, tmp_path: Path) -> Dict[str, str]:
    """Give the environment of a reader of the page, with kiwi-ng in PATH."""
    work = tmp_path / 'kiwi'
    (work / 'gnupg').mkdir(parents=True, mode=0o700)
    (work / 'bin').mkdir()
    config = write_fast_config(work / 'kiwi.yml')
    (work / 'bin/kiwi-ng').write_text(
        f'#!/bin/sh\nexec {KIWI} --temp-dir={storage.temp_dir} '
        f'{package_cache()} --config={config} "$@"\n'
    )
    (work / 'bin/kiwi-ng').chmod(0o755)
    return {
        **kiwi_environment(str(work)), **storage.environment,
        'GNUPGHOME': f'{work}/gnupg', 'PATH': f'{work}/bin:{os.environ["PATH"]}'
    }


def test_four_images_from_one_stash(
    storage: Storage, debian_root: Path, tmp_path: Path, reader: Dict[str, str]
) -> None:
    work = tmp_path / 'work'
    work.mkdir()
    debian_root.rename(work / 'root')
    done = subprocess.run(
        ['bash'], cwd=work, env=reader, text=True, check=False, timeout=1500,
        input=page_script(PAGE, ('run', 'run-slow')), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout[-5000:]
    for name, pattern in IMAGES.items():
        assert len(list((work / name).glob(pattern))) == 1, name
        role = name.partition('.')[0]
        root = work / name / 'build/image-root'
        assert (root / ('usr/bin/curl' if role == 'probe' else 'usr/bin/sqlite3')).is_file()
        assert (root / ('etc/curlrc' if role == 'probe' else 'etc/sqliterc')).is_file()
        assert f'name="{role}"' in (root / 'image/config.xml').read_text()
        assert 'stashed="debian"' in (root / 'image/extension.xml').read_text()
    for text in work.glob('*/*.kiwi'):
        assert len(text.read_text().splitlines()) <= 15
    base = storage.stash('debian')
    layers: List[int] = [
        storage.stash(name.replace('.', '-'))['layer_size'] for name in IMAGES
    ]
    assert base['layers'] == 1
    assert sum(layers) < base['layer_size']
    print(json.dumps({'base': base['layer_size'], 'layers': layers}))
