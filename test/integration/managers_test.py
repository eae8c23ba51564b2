# SPDX-License-Identifier: GPL-3.0-or-later
"""The main paths on real roots by apt, dnf 4 and zypper."""
from __future__ import annotations

import json
from pathlib import Path
from typing import List

from roots import RealRoot
from storages import KIWI, Storage, image_root


def build(
    storage: Storage, real: RealRoot, target: Path, fast: List[str], *words: str
) -> str:
    """Build from a stash with what installs packages set up; what kiwi said."""
    return storage.kiwi(
        'stackbuild', '--target-dir', str(target), *words,
        options=[*fast, *real.options], env=real.environment
    ).stdout


def test_main_job(
    storage: Storage, real: RealRoot, tmp_path: Path, fast: List[str]
) -> None:
    """Stash, nothing changed, change, stash; rebuilt without any network."""
    words = ('stash', '--root', str(real.path), '--container-name', 'real')
    storage.kiwi(*words, '--verify')
    real.installed(real.path)
    storage.kiwi(*words)
    assert storage.stash('real')['layers'] == 1
    (real.path / 'etc/motd').write_text('1234\n')
    storage.kiwi(*words, '--verify')
    stash = storage.stash('real')
    assert stash['layers'] == 2
    assert stash['layer_size'] <= 16384
    rebuilt = tmp_path / 'rebuilt'
    storage.run(
        'unshare', '--net', KIWI, '--temp-dir', str(storage.temp_dir), *fast,
        'system', 'stackbuild', '--stash', 'real', '--target-dir', str(rebuilt)
    )
    root = image_root(rebuilt)
    assert (root / 'etc/motd').read_text() == '1234\n'
    assert json.loads((root / 'image/stash.json').read_text())['image'] == stash['id']
    assert real.installed(root) == real.installed(real.path)
    assert real.audit(root) == ''
