# SPDX-License-Identifier: GPL-3.0-or-later
"""What "system stackbuild" is asked for."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

from kiwi_stackbuild_plugin.storage.access import DEFAULT_ACCESS, Access


@dataclass(frozen=True)
class StackbuildRequest:
    """What "system stackbuild" was asked for; fields are its options.

    global_args is kiwi's own dictionary of its global options.
    """

    stashes: Tuple[str, ...]
    target_dir: str
    description: Optional[str] = None
    from_registry: Optional[str] = None
    dry_run: bool = False
    keep_scripts: bool = False
    kiwi_args: Tuple[str, ...] = ()
    global_args: Mapping[str, Any] = field(default_factory=dict)
    pull: Optional[str] = None
    max_age: Optional[str] = None
    access: Access = DEFAULT_ACCESS
