# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures of the integration tests."""
from __future__ import annotations

from integration.conftest import fast, real, storage

__all__ = ['fast', 'real', 'storage']
