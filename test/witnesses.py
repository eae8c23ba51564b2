# SPDX-License-Identifier: GPL-3.0-or-later
"""Stash a tree, and look at what was stored through podman, umoci and the import."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Tuple

from storages import Storage
from trees import describe

IMPORTER = Path(__file__).resolve().parent / 'importer.py'
#: what a stash writes into the tree
RECORD = ('image/stash.json',)


def stash(storage: Storage, root: Path, *words: str, **more: Any) -> str:
    result = storage.kiwi('stash', '--root', str(root), *words, **more)
    return (result.stdout + result.stderr).strip()


def import_tree(storage: Storage, target: Path, *names: str) -> Path:
    storage.run(
        sys.executable, str(IMPORTER), str(storage.temp_dir),
        str(target), *(names or ('small',))
    )
    return target


def unpack(storage: Storage, where: Path, name: str = 'small') -> Path:
    """Let umoci unpack a stash that skopeo exported."""
    where.mkdir()
    storage.run(
        'skopeo', 'copy', '--quiet', f'containers-storage:localhost/{name}',
        f'oci:{where}/layout:x'
    )
    storage.run(
        'umoci', 'unpack', '--image', f'{where}/layout:x', str(where / 'bundle')
    )
    return where / 'bundle/rootfs'


def mounted(storage: Storage, name: str = 'small') -> Dict[bytes, Tuple[Any, ...]]:
    tree = describe(storage.mount(f'localhost/{name}'))
    storage.unmount(f'localhost/{name}')
    return tree
