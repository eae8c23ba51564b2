# SPDX-License-Identifier: GPL-3.0-or-later
"""Each promise of the documentation names tests, and these exist."""
from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(
    # the tests of a promise are an indented paragraph of their own
    r'\n\n(   ``test/)', r'\n\1',
    (ROOT / 'doc/source/promises.rst').read_text(encoding='utf-8')
)
NAMED: List[str] = re.findall(r'``(test/\S+?::\w+)``', TEXT)


@pytest.mark.parametrize('named', NAMED)
def test_named_tests_exist(named: str) -> None:
    path, _, name = named.partition('::')
    tree = ast.parse((ROOT / path).read_text(encoding='utf-8'))
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_each_promise_names_a_test() -> None:
    """A promise and its tests are one block between empty lines."""
    promised = TEXT[:TEXT.index('What is not promised')]
    blocks = [
        block for block in promised.strip().split('\n\n')
        if not re.search(r'\n[=-]+$', block)
    ][1:]
    assert len(blocks) >= 20
    assert [block for block in blocks if '::' not in block] == []
