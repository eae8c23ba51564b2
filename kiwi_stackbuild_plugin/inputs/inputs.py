# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of a build by name, and their key; what a record of them says.

A record comes out of a label or a file: it is a stranger's word until checked.
"""
from __future__ import annotations

import hashlib
import json
from typing import List, Mapping, Optional

#: name of an input, such as 'description', and what tells that it is the same;
#: an empty value is never the same: it could not be found out
Inputs = Mapping[str, str]

SCHEMA = 1
#: characters of a record, of one name or value in it, and how many
_LIMIT = 1 << 18
_WORD_LIMIT = 4096
_COUNT_LIMIT = 4096


def digest_of(text: str) -> str:
    """Return the SHA-256 digest of a text."""
    return f'sha256:{hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}'


def key_of(inputs: Inputs) -> str:
    """Return one digest over all inputs."""
    return digest_of(json.dumps(dict(sorted(inputs.items()))))


def encode_inputs(inputs: Inputs) -> str:
    """Return the record of inputs: JSON on one line, the same for the same inputs."""
    return json.dumps(
        {'schema': SCHEMA, 'key': key_of(inputs), 'inputs': dict(sorted(inputs.items()))},
        separators=(',', ':')
    )


def decode_inputs(text: str) -> Optional[Inputs]:
    """Read a record, None for what is none."""
    if len(text) > _LIMIT:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get('schema') != SCHEMA:
        return None
    inputs = found.get('inputs')
    if not isinstance(inputs, dict) or len(inputs) > _COUNT_LIMIT or not all(
        isinstance(word, str) and len(word) <= _WORD_LIMIT
        for pair in inputs.items() for word in pair
    ):
        return None
    return inputs if found.get('key') == key_of(inputs) else None


def changed_inputs(before: Inputs, now: Inputs) -> List[str]:
    """Return a line on each input that is not the same, in the order of now.

    :returns: nothing if nothing changed
    """
    return [
        f'{name} {_how(before.get(name), value)}' for name, value in now.items()
        if not value or before.get(name) != value
    ] + [f'{name} is gone' for name in before if name not in now]


def _how(before: Optional[str], now: str) -> str:
    if not now:
        return 'cannot be asked, which counts as changed'
    if before is None:
        return 'is new'
    # what is no digest says more than that it changed
    plain = before and ':' not in before + now and len(before + now) < 80
    return f'changed from {before} to {now}' if plain else 'changed'
