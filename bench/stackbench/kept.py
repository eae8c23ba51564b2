# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as JSON, one line each, to which later runs add theirs."""
from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, Callable, List, Optional


def read(path: Optional[str], kind: Callable[..., Any]) -> List[Any]:
    """Return what earlier runs have kept; others' kinds of results are passed over."""
    if not path or not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as lines:
        found = [json.loads(line) for line in lines]
    return [
        kind(**{name: value for name, value in one.items() if name != 'kind'})
        for one in found if one['kind'] == getattr(kind, '__name__', '')
    ]


def add(results: List[Any], result: Any, path: Optional[str]) -> None:
    """Take a result, and keep it at once: a run may be ended."""
    results.append(result)
    if path:
        with open(path, 'a', encoding='utf-8') as out:
            out.write(json.dumps({'kind': type(result).__name__, **asdict(result)}) + '\n')
