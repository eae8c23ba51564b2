# SPDX-License-Identifier: GPL-3.0-or-later
"""The older kiwis of "make matrix", each in an environment of its own.

All other tests run on the kiwi that is installed, the newest unless told.
"""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matrix import environments
from matrix.combination import run_combination

pytestmark = pytest.mark.integration


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, built once."""
    return environments.build_wheel(tmp_path_factory.mktemp('wheel'))


@pytest.mark.parametrize('kiwi', ['9.24.61', '10.3.11'])
def test_kiwi(kiwi: str, wheel: Path) -> None:
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    interpreter = environments.find_interpreters().get(version) or sys.executable
    outcomes = run_combination(interpreter, version, kiwi, wheel)
    failed = [outcome for outcome in outcomes if outcome.problem]
    assert not failed, '\n'.join(f'{each.step}: {each.problem}' for each in failed)
