# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx directives that show the usage text of a command.

The text is written once, as docstring of the task that kiwi reads:

    .. usage:: system_stash             the calls, as a literal block
    .. usage-options:: system_stash     the options, as a definition list
"""
from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Dict, List

from docutils import nodes
from docutils.parsers.rst import Directive

TASKS = Path(__file__).resolve().parents[2] / 'kiwi_stackbuild_plugin/tasks'
_SECTION = re.compile(r'^(usage|commands|options):', re.MULTILINE)
_INDENT = re.compile(r'^ {4}(?=\S)', re.MULTILINE)


def read_usage(task: str) -> Dict[str, str]:
    """Return the sections of a task's docstring, without importing kiwi."""
    source = (TASKS / f'{task}.py').read_text(encoding='utf-8')
    text = ast.get_docstring(ast.parse(source), clean=False) or ''
    parts = _SECTION.split(text.strip())
    return {
        name: body.rstrip() for name, body in zip(parts[1::2], parts[2::2])
    }


def depend_on_task(directive: Directive) -> None:
    """Have Sphinx read the page again when the task has changed."""
    directive.state.document.settings.record_dependencies.add(
        str(TASKS / f'{directive.arguments[0]}.py')
    )


class Usage(Directive):
    """The calls of a command."""

    required_arguments = 1

    def run(self) -> List[nodes.Node]:
        """Return a literal block."""
        depend_on_task(self)
        body = read_usage(self.arguments[0])['usage']
        lines = [line[7:] if line[:7].isspace() else line.strip()
                 for line in body.splitlines()]
        text = '\n'.join(lines)
        return [nodes.literal_block(text, text, language='none')]


class UsageOptions(Directive):
    """The options of a command."""

    required_arguments = 1

    def run(self) -> List[nodes.Node]:
        """Return a definition list, one entry an option."""
        depend_on_task(self)
        found = nodes.definition_list()
        body = read_usage(self.arguments[0])['options']
        for entry in _INDENT.split(body)[1:]:
            term, _, told = entry.partition('\n')
            found += nodes.definition_list_item(
                '', nodes.term('', '', nodes.literal('', term.strip())),
                nodes.definition('', nodes.paragraph('', ' '.join(told.split())))
            )
        return [found]


def setup(app: Any) -> Dict[str, bool]:
    """Register the directives (called by Sphinx)."""
    app.add_directive('usage', Usage)
    app.add_directive('usage-options', UsageOptions)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
