# SPDX-License-Identifier: GPL-3.0-or-later
"""A description of many parts: includes, profiles, scripts, overlays, users, archives."""
from __future__ import annotations

from pathlib import Path
from typing import List

from rich_description import (
    LOG, PROFILES, check_builds, container_labels, differences, prepare_rich, write_rich
)
from roots import RealRoot
from storages import KIWI, Storage, image_root


def test_a_description_of_many_parts(
    storage: Storage, tmp_path: Path, fast: List[str]
) -> None:
    """Rebuilt offline, built again and extended, it is what kiwi makes of nothing."""
    real = RealRoot('dnf4', tmp_path / 'root', tmp_path / 'work')
    description = write_rich('dnf4', tmp_path / 'rich')
    root = prepare_rich(storage, real, fast, description)
    storage.kiwi('stash', '--root', str(root))
    told = storage.stash('rich')
    assert told['type'] == 'oci' and set(told['profiles']) == PROFILES

    storage.run(
        'unshare', '--net', KIWI, '--temp-dir', str(storage.temp_dir), *fast, 'system',
        'stackbuild', '--stash', 'rich', '--target-dir', str(tmp_path / 'again')
    )
    # kiwi makes a container of it
    assert differences(root, image_root(tmp_path / 'again')) == ['etc/securetty', LOG]
    found = container_labels(tmp_path / 'again')
    assert found['org.opencontainers.image.vendor'] == 'Stack & Sons'
    assert found['name'] == 'rich' and 'commented' not in found

    check_builds(storage, real, fast, tmp_path, description)
