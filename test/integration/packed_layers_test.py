# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers are packed once, however often they are written; the result is skopeo's."""
from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import pytest
from containers import describe_container
from storages import Storage

from kiwi_stackbuild_plugin.image.cache import WORTH

AUTHORS = 'org.opencontainers.image.authors'


@pytest.fixture
def large(root: Path) -> Path:
    """Give a tree whose layer is worth to be kept, with an author whom Go escapes."""
    (root / 'usr/large').write_bytes(random.Random(1).randbytes(WORTH))
    config = root / 'image/config.xml'
    config.write_text(re.sub(
        '<author>.*?</author>', '<author>Ü &lt;a&amp;b&gt;</author>', config.read_text()
    ))
    return root


def packed(storage: Storage) -> List[Path]:
    return sorted(Path(storage.environment['KIWI_STASH_CACHE'], 'layers').glob('*'))


def manifest(storage: Storage, reference: str) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads(
        storage.run('skopeo', 'inspect', '--raw', reference).stdout
    )
    return found


def digest(storage: Storage, reference: str) -> str:
    return hashlib.sha256(subprocess.run(
        ['skopeo', 'inspect', '--raw', reference], env=storage.environment,
        stdout=subprocess.PIPE, check=True
    ).stdout).hexdigest()


def test_what_is_written_is_what_skopeo_writes(
    storage: Storage, large: Path, tmp_path: Path
) -> None:
    """The first time, when it is packed, and the second, when it is not."""
    storage.kiwi('stash', '--root', str(large))
    (large / 'etc/new').write_text('new')
    name = 'containers-storage:localhost/small:latest'
    places = [f'oci-archive:{tmp_path}/1.tar:x', f'oci:{tmp_path}/2:x']
    storage.kiwi(
        'stash', '--root', str(large), *(f'--export={place}' for place in places[:1])
    )
    file, = packed(storage)
    storage.kiwi('stash', '--container-name=small', *(
        f'--export={place}' for place in [*places, f'oci-archive:{tmp_path}/3.tar:x']
    ))
    assert packed(storage) == [file]
    storage.run('skopeo', 'copy', '--quiet', name, f'oci:{tmp_path}/skopeo:x')
    wanted = digest(storage, f'oci:{tmp_path}/skopeo:x')
    for place in [*places, f'oci-archive:{tmp_path}/3.tar:x']:
        assert digest(storage, place) == wanted, place
    assert manifest(storage, places[0])['annotations'][AUTHORS] == 'Ü <a&b>'
    wanted = image_id(storage, 'small')
    storage.run('podman', 'rmi', '--all', '--force')
    storage.run('podman', 'load', '-i', f'{tmp_path}/1.tar')
    assert image_id(storage, 'x') == wanted


def image_id(storage: Storage, name: str) -> str:
    return storage.run('podman', 'image', 'inspect', '--format={{.Id}}', name).stdout


def pack_otherwise(file: Path) -> str:
    """Put other bytes of the same layer in place, which show where they come from."""
    data = gzip.compress(gzip.decompress(file.read_bytes()), 1)
    found = hashlib.sha256(data).hexdigest()
    file.write_bytes(data)
    file.rename(file.with_name(f'{file.name[:64]}.{found}'))
    return f'sha256:{found}'


@pytest.mark.parametrize('damaged', [False, True])
def test_container_takes_the_packed_base(
    storage: Storage, large: Path, tmp_path: Path, fast: List[str], damaged: bool
) -> None:
    describe_container(large, 'oci')
    storage.kiwi('stash', '--root', str(large), f'--export=oci-archive:{tmp_path}/1.tar:x')
    before = manifest(storage, f'oci-archive:{tmp_path}/1.tar:x')['layers']
    wanted = pack_otherwise(packed(storage)[0])
    if damaged:
        os.truncate(packed(storage)[0], 100)
        wanted = before[0]['digest']
    storage.kiwi(
        'stackbuild', '--stash=small', f'--target-dir={tmp_path}/out', options=fast
    )
    archive, = (tmp_path / 'out').glob('*.oci.tar')
    layers = manifest(storage, f'oci-archive:{archive}')['layers']
    assert layers[0]['digest'] == wanted and len(layers) == 2
    storage.run('skopeo', 'copy', '--quiet', f'oci-archive:{archive}', f'dir:{tmp_path}/dir')
    assert len(packed(storage)) == 1


def test_many_at_once(storage: Storage, large: Path, tmp_path: Path) -> None:
    storage.kiwi('stash', '--root', str(large))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda number: storage.kiwi(
            'stash', '--container-name=small', f'--export=oci-archive:{tmp_path}/{number}.tar'
        ), range(4)))
    assert len({(tmp_path / f'{number}.tar').read_bytes() for number in range(4)}) == 1
    assert len(packed(storage)) == 1


def test_prune_drops_what_no_image_has(storage: Storage, large: Path, tmp_path: Path) -> None:
    for tag in ('one', 'two', 'three'):
        (large / f'usr/{tag}').write_bytes(random.Random(tag).randbytes(WORTH))
        storage.kiwi(
            'stash', '--root', str(large), f'--tag={tag}',
            f'--export=oci-archive:{tmp_path}/{tag}.tar', *(['--no-base'] if tag == 'two' else [])
        )
    assert len(packed(storage)) == 3
    storage.kiwi('stash', '--prune', '--keep-last=1')
    staying = json.loads(storage.run(
        'podman', 'image', 'inspect', '--format={{json .RootFS.Layers}}', 'small:three'
    ).stdout)
    assert {path.name[:64] for path in packed(storage)} == {one[7:] for one in staying}
