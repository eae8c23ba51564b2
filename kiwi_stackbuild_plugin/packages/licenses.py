# SPDX-License-Identifier: GPL-3.0-or-later
"""Licences as data bases of packages have them, as SPDX has them.

Source: SPDX 2.3, annex D "SPDX license expressions".
"""
from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from typing import Dict, List, Optional, Sequence, Tuple

NOTHING_SAID = 'NOASSERTION'

_IDENTIFIERS = os.path.join(os.path.dirname(__file__), 'spdx_licenses.txt')
_REFERENCE = re.compile(r'LicenseRef-[A-Za-z0-9.-]+')
_TOKEN = re.compile(r'[()]|[^\s()]+')
_WITH = 'WITH '


class Licenses:
    """Makes expressions of what data bases say; texts has what is no expression."""

    def __init__(self) -> None:
        #: by their reference
        self.texts: Dict[str, str] = {}

    def expression(self, told: Sequence[str]) -> str:
        """Return one expression for all licences of a package.

        What is no expression of SPDX, as with the older short names of Fedora,
        becomes a reference to its own words.
        """
        found = [self._one(text.strip()) for text in told if text.strip()]
        if len(found) > 1:
            found = [f'({one})' if ' OR ' in one else one for one in found]
        return ' AND '.join(dict.fromkeys(found)) or NOTHING_SAID

    def _one(self, text: str) -> str:
        parsed = parse_expression(text)
        if parsed is None:
            reference = f'LicenseRef-{hashlib.sha256(text.encode()).hexdigest()[:16]}'
            self.texts[reference] = text
            return reference
        expression, references = parsed
        for reference in references:
            self.texts.setdefault(reference, reference)
        return expression


def parse_expression(text: str) -> Optional[Tuple[str, Tuple[str, ...]]]:
    """Read an expression of identifiers that SPDX knows.

    :returns: it in SPDX's own spelling, and the references in it; None if it is none
    """
    words: List[str] = []
    depth = 0
    #: what may come next: an operand, or what stands behind one
    operand, exception = True, False
    for part in _TOKEN.findall(text):
        word: Optional[str] = part
        if exception:
            word, exception = _known().get(_WITH + part.lower()), False
        elif operand and part != '(':
            word = part if _REFERENCE.fullmatch(part) else _known().get(part.lower())
            operand = False
        elif operand:
            depth += 1
        elif part in ('AND', 'OR'):
            operand = True
        elif part == 'WITH' and words[-1] != ')' and 'WITH' not in words[-2:]:
            exception = True
        else:
            word = None if part != ')' else part
            depth -= 1
        if word is None or depth < 0:
            return None
        words.append(word)
    if operand or exception or depth:
        return None
    spelled = ' '.join(words).replace('( ', '(').replace(' )', ')')
    return spelled, tuple(word for word in words if _REFERENCE.fullmatch(word))


@cache
def _known() -> Dict[str, str]:
    """Return SPDX's identifiers by their lower case; exceptions behind 'WITH '."""
    with open(_IDENTIFIERS, encoding='ascii') as listed:
        lines = [line.strip() for line in listed if not line.startswith('#')]
    return {
        _WITH + line[len(_WITH):].lower() if line.startswith(_WITH) else line.lower():
        line[len(_WITH):] if line.startswith(_WITH) else line for line in lines
    }
