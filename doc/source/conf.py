# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx: html and the manual pages from the same sources."""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

_NAMES: dict = {}
exec(  # noqa: S102 - one assignment; importing it would need kiwi
    (HERE.parents[1] / 'kiwi_stackbuild_plugin/version.py').read_text(), _NAMES
)

project = 'KIWI stackbuild plugin'
author = 'The authors of the KIWI stackbuild plugin'
copyright = author
version = release = _NAMES['__version__']

extensions = ['usage_text']
nitpicky = True
highlight_language = 'none'
html_theme = 'alabaster'
html_theme_options = {'description': 'Root trees as OCI images'}
html_static_path: list = []
