# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems of their own for tests: files and overlays, mounted."""
from __future__ import annotations

import secrets
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

from storages import mounts_below

from kiwi_stackbuild_plugin.image.image import ImageInfo

_MAKE = {
    'ext4': ('mkfs.ext4', '-q'), 'xfs': ('mkfs.xfs', '-q'), 'btrfs': ('mkfs.btrfs', '-q')
}


@contextmanager
def disk(where: Path, kind: str, size: int = 512 << 20) -> Iterator[Path]:
    """Make a file system and mount it; what is mounted in it at the end goes too.

    :param size: bytes, of which only what is written takes room
    """
    image, place = where / f'{kind}.disk', where / kind
    with open(image, 'wb') as out:
        out.truncate(size)
    place.mkdir()
    subprocess.run([*_MAKE[kind], image], check=True)
    subprocess.run(['mount', '-o', 'loop', image, place], check=True)
    try:
        yield place
    finally:
        for point in reversed(mounts_below(place)):
            subprocess.run(['umount', '--lazy', point], check=False)
        subprocess.run(['umount', place], check=True)
        image.unlink()


@contextmanager
def overlay(where: Path, lower: Sequence[Path], upper: Path) -> Iterator[Path]:
    """Mount layers, the topmost first, with one to write to."""
    merged, work = where / 'merged', where / 'work'
    for path in (merged, work, upper):
        path.mkdir(exist_ok=True)
    with overlay_at(merged, lower, upper, work):
        yield merged


@contextmanager
def overlay_at(merged: Path, lower: Sequence[Path], upper: Path, work: Path) -> Iterator[None]:
    """Mount layers with directories that are there, with the options of stackbuild."""
    subprocess.run([
        'mount', '-t', 'overlay', 'overlay', '-o',
        f'lowerdir={":".join(map(str, lower))},upperdir={upper},workdir={work},'
        'index=off,metacopy=off,redirect_dir=off,xino=auto', merged
    ], check=True)
    try:
        yield
    finally:
        subprocess.run(['umount', merged], check=True)


def stored(where: Path, count: int) -> ImageInfo:
    """Make layers as the overlay driver keeps them.

    Each has a file of its own, and one that it replaces.
    """
    top = where / ('long' * 20) / 'overlay'
    (top / 'l').mkdir(parents=True)
    paths = []
    for number in range(count):
        layer, name = top / f'{number:064}', secrets.token_hex(13).upper()
        (layer / 'diff').mkdir(parents=True)
        (layer / 'link').write_text(name)
        (top / 'l' / name).symlink_to(f'../{layer.name}/diff')
        (layer / f'diff/{number}').write_text('')
        (layer / 'diff/all').write_text(str(number))
        paths.append(str(layer / 'diff'))
    return ImageInfo(
        'f' * 64, driver='overlay', directories=tuple(paths),
        layers=tuple(f'sha256:{number}' for number in range(count))
    )
