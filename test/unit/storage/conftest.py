# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage of its own for each test, with podman and skopeo that are fakes."""
from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest
from fake_storage import FakeStorage

from kiwi_stackbuild_plugin.host.workspace import Workspace, workspace


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStorage:
    """Give the storage that podman and skopeo work on."""
    return FakeStorage(tmp_path / 'fake', monkeypatch)


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    """Give a workspace whose notes are not undone at the end."""
    (tmp_path / 'tmp').mkdir()
    with workspace(str(tmp_path / 'tmp')) as made, made.held:
        yield made
