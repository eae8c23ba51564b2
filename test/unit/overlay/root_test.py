# SPDX-License-Identifier: GPL-3.0-or-later
"""Which root can be an overlay, and which directory is one."""
from __future__ import annotations

from pathlib import Path

import pytest

from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.layer.extras import Extra
from kiwi_stackbuild_plugin.overlay import root as roots


@pytest.mark.parametrize(('xattr', 'path', 'why'), [
    ('user.mine', 'etc/hosts', ''),
    ('trusted.overlay.opaque', 'etc/hosts', 'marks of overlays'),
    ('user.overlay.whiteout', 'etc/hosts', 'marks of overlays'),
    ('user.mine', 'etc/selinux/config', 'SELinux'),
])
def test_why_a_tree_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xattr: str, path: str, why: str
) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text('')
    monkeypatch.setattr(roots, 'reason_against', lambda info, target: '')
    monkeypatch.setattr(
        roots, 'extras_of', lambda info: {b'etc': Extra(None, ((xattr, b'y'),))}
    )
    reason = roots.why_copied(ImageInfo('f' * 64), str(tmp_path), '/')
    assert why in reason and bool(why) is bool(reason)


@pytest.mark.parametrize(('mode', 'kind', 'expected'), [
    (0o700, 'directory', True), (0o777, 'directory', False), (0o700, 'file', False),
    (0o700, 'link', False), (0, 'nothing', False)
])
def test_what_is_an_overlay_root(
    tmp_path: Path, mode: int, kind: str, expected: bool
) -> None:
    root, beside = tmp_path / 'image-root', tmp_path / 'image-root.overlay'
    root.mkdir()
    if kind == 'directory':
        beside.mkdir()
        beside.chmod(mode)
    elif kind == 'file':
        beside.write_text('')
    elif kind == 'link':
        beside.symlink_to(root)
    assert roots.is_overlay(str(root)) is expected
