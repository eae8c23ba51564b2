# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's schema, compiled once in a process: two thirds of what loading a description takes.

Kiwi makes XSLT of its Schematron rules and compiles that each time; the rules are
those of its own file, so the result is the same.
"""
from __future__ import annotations

from typing import Any, Dict, Tuple

from kiwi.defaults import Defaults
from lxml import etree, isoschematron

_compiled: Dict[Tuple[bytes, str], Any] = {}
_compile = isoschematron.Schematron


def _kept(document: Any, **options: Any) -> Any:
    """Return the rules in a document, compiled now or before."""
    key = etree.tostring(document), repr(sorted(options.items()))
    if key not in _compiled:
        _compiled[key] = _compile(document, **options)
    return _compiled[key]


def keep_compiled() -> None:
    """Have kiwi compile the same rules once."""
    isoschematron.Schematron = _kept


def compile_now() -> None:
    """Compile kiwi's rules as it would itself, for all processes that are forked later."""
    keep_compiled()
    isoschematron.Schematron(etree.parse(Defaults.get_schema_file()), store_report=True)
