# SPDX-License-Identifier: GPL-3.0-or-later
"""Packed layers: what comes back, and what is never believed."""
from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Callable, List, Optional

import pytest

from kiwi_stackbuild_plugin.image import cache
from kiwi_stackbuild_plugin.image.cache import (
    drop_layers, find_packed, keep_packed, one_packer
)

LAYER, OTHER = (f'sha256:{digit * 64}' for digit in 'ab')
DATA = b'packed ' * 1000


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory for the cache."""
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache/layers'


def keep(tmp_path: Path, layer: str = LAYER, data: bytes = DATA) -> str:
    digest = f'sha256:{hashlib.sha256(data).hexdigest()}'
    (tmp_path / 'blob').write_bytes(data)
    keep_packed(layer, digest, str(tmp_path / 'blob'))
    (tmp_path / 'blob').unlink()
    return digest


def read(layer: str = LAYER) -> Optional[bytes]:
    with find_packed(layer) as found:
        if found is None:
            return None
        data = Path(f'/proc/self/fd/{found.fd}').read_bytes()
        assert (found.digest, found.size) == (
            f'sha256:{hashlib.sha256(data).hexdigest()}', len(data)
        )
        return data


def test_what_was_kept_comes_back(tmp_path: Path, place: Path) -> None:
    digest = keep(tmp_path)
    assert read() == DATA and read(OTHER) is None
    assert os.listdir(place) == [f'{LAYER[7:]}.{digest[7:]}']
    assert place.stat().st_mode & 0o777 == place.parent.stat().st_mode & 0o777 == 0o700


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def lead_out(file: Path) -> None:
    file.rename(file.parents[2] / 'elsewhere')
    file.symlink_to(file.parents[2] / 'elsewhere')


@pytest.mark.parametrize('spoil', [
    flip, lambda file: os.truncate(file, 5), lambda file: os.truncate(file, 0), lead_out,
    lambda file: file.chmod(0o666), lambda file: os.chown(file, 7, 7),
    lambda file: file.parent.chmod(0o777), lambda file: os.chown(file.parent, 7, 7),
    lambda file: file.parents[1].chmod(0o770), lambda file: os.chown(file.parents[1], 7, 7),
    lambda file: (file.unlink(), os.mkfifo(file)), lambda file: (file.unlink(), file.mkdir()),
], ids=[
    'bit', 'short', 'empty', 'link', 'writable', 'owner', 'directory-writable',
    'directory-owner', 'above-writable', 'above-owner', 'pipe', 'directory'
])
def test_what_is_not_ours_or_damaged_is_not_used(
    tmp_path: Path, place: Path, spoil: Callable[[Path], object]
) -> None:
    keep(tmp_path)
    file, = place.iterdir()
    spoil(file)
    assert read() is None


@pytest.mark.parametrize('spoil', [flip, lambda file: os.truncate(file, 0)])
def test_damage_is_removed_and_made_good(
    tmp_path: Path, place: Path, spoil: Callable[[Path], object]
) -> None:
    keep(tmp_path)
    spoil(next(place.iterdir()))
    assert read() is None and not list(place.iterdir())
    keep(tmp_path)
    assert read() == DATA


def test_nothing_is_kept_where_others_can_write(tmp_path: Path, place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o777)
    keep(tmp_path)
    assert not list(place.iterdir())


def test_no_cache(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('KIWI_STASH_CACHE', '')
    keep(tmp_path)
    with one_packer():
        assert read() is None
    assert not place.exists()
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('KIWI_STASH_CACHE', str(tmp_path / 'file/below'))
    keep(tmp_path)
    with one_packer():
        assert read() is None


def test_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> None:
        raise OSError(18, 'Invalid cross-device link')

    monkeypatch.setattr(os, 'link', refuse)
    keep(tmp_path)
    assert read() == DATA


def test_full_disk_costs_the_cache_only(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(cache, 'replace', refuse)
    keep(tmp_path)
    assert read() is None and not list(place.iterdir())


def test_those_used_last_stay(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, '_MOST', 3 * len(DATA))
    layers: List[str] = [f'sha256:{number:064x}' for number in range(4)]
    for number, layer in enumerate(layers[:3]):
        keep(tmp_path, layer)
        os.utime(next(place.glob(f'{layer[7:]}.*')), (number, number))
    assert read(layers[0]) == DATA, 'is used, and so the newest'
    keep(tmp_path, layers[3])
    assert [read(layer) is not None for layer in layers] == [True, False, True, True]


def test_what_a_killed_run_left_is_removed(tmp_path: Path, place: Path) -> None:
    keep(tmp_path)
    (place / f'.{"c" * 64}.{"d" * 64}.1').write_text('half')
    keep(tmp_path, OTHER)
    assert len(list(place.iterdir())) == 2 and read() == read(OTHER) == DATA


def test_what_is_removed_stays_readable_for_the_block(tmp_path: Path, place: Path) -> None:
    keep(tmp_path)
    keep(tmp_path, OTHER)
    with find_packed(LAYER) as found:
        drop_layers([LAYER])
        assert found and Path(f'/proc/self/fd/{found.fd}').read_bytes() == DATA
    assert read() is None and read(OTHER) == DATA


def test_one_packs_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    said: List[str] = []

    def pack() -> None:
        with one_packer():
            said.append('second')

    with one_packer():
        second = threading.Thread(target=pack)
        second.start()
        second.join(0.1)
        said.append('first')
    second.join()
    assert said == ['first', 'second'] and caplog.text.count('waiting for it') == 1
