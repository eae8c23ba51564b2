# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a path podman's storage can unpack."""
from __future__ import annotations

from kiwi_stackbuild_plugin.host.command import run_command

#: less the terminating zero
_PATH_MAX = 4095


def longest_path() -> int:
    """Return the most bytes that a path in a tree may have.

    The storage works with whole paths:
    <graph root>/overlay/<64 digits>/diff/<path in the tree>.
    """
    result = run_command(['podman', 'info', '--format', '{{.Store.GraphRoot}}'])
    return _PATH_MAX - len(
        f'{result.stdout.strip()}/overlay//diff/'.encode(errors='surrogateescape')
    ) - 64
