# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine takes images of a place without a look at their signatures.

podman and skopeo hold policy.json against what they copy; this tells where an
image must be copied for that. Source: containers-policy.json(5).
"""
from __future__ import annotations

import json
import os
from typing import Any, Iterator, List

_ANYTHING = [{'type': 'insecureAcceptAnything'}]
_USER = '.config/containers/policy.json'
_SYSTEM = '/etc/containers/policy.json'


def accepts_anything(name: str) -> bool:
    """Tell whether an image of a registry is taken whatever its signatures are.

    A policy that cannot be read accepts nothing: the tools will say why.

    :param name: host/name:tag or host/name@digest
    """
    path = os.path.join(os.path.expanduser('~'), _USER)
    try:
        with open(path if os.path.exists(path) else _SYSTEM, encoding='utf-8') as text:
            policy = json.load(text)
        rules = (policy.get('transports') or {}).get('docker') or {}
        return bool(_first(rules, name, policy.get('default')) == _ANYTHING)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _first(rules: Any, name: str, default: Any) -> Any:
    return next((rules[scope] for scope in scopes(name) if scope in rules), default)


def scopes(name: str) -> Iterator[str]:
    """Yield the scopes that hold for an image, the most specific first."""
    place = name.partition('@')[0]
    head, slash, tail = place.rpartition('/')
    yield name
    parts: List[str] = f'{head}{slash}{tail.partition(":")[0]}'.split('/')
    for count in range(len(parts), 0, -1):
        yield '/'.join(parts[:count])
    labels = parts[0].partition(':')[0].split('.')
    for count in range(1, len(labels)):
        yield f'*.{".".join(labels[count:])}'
    yield ''
