# SPDX-License-Identifier: GPL-3.0-or-later
"""Manual pages out of the pages of the commands, by docutils alone.

    doc/source/manual_pages.py DIRECTORY

setup.py calls it too: a package is built without Sphinx.
"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from docutils import nodes
from docutils.core import publish_doctree, publish_from_doctree
from docutils.parsers.rst import directives
from docutils.writers import manpage

from usage_text import Usage, UsageOptions

#: command -> what its page says under NAME
COMMANDS: Dict[str, str] = {
    'stash': 'store a root tree as a container image',
    'stackbuild': 'build an image from stashes',
    'stash_list': 'list the stashes',
}
_SETTINGS: Dict[str, Any] = {
    'input_encoding': 'utf-8', 'output_encoding': 'utf-8',
    # a mistake in a page ends the build
    'halt_level': 2, 'report_level': 2, 'file_insertion_enabled': False,
    'raw_enabled': False,
    # a page has no colours; Pygments is not there where a package is built
    'syntax_highlight': 'none'
}


def page_name(command: str) -> str:
    """Return the name that kiwi looks a command's page up by."""
    return f'kiwi::system::{command}'


def write_pages(directory: str) -> List[str]:
    """Write all pages into a directory, which is made, and return their paths."""
    directives.register_directive('usage', Usage)
    directives.register_directive('usage-options', UsageOptions)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for command, about in COMMANDS.items():
        path = folder / f'{page_name(command)}.8'
        path.write_bytes(_render(command, about))
        written.append(str(path))
    return written


def _render(command: str, about: str) -> bytes:
    source = HERE / f'commands/{command}.rst'
    tree = publish_doctree(
        source.read_text(encoding='utf-8'), str(source),
        settings_overrides={**_SETTINGS, 'input_encoding': 'unicode'}
    )
    # the title of the web page is the command as it is typed
    title = next(iter(tree.findall(nodes.title)))
    title.children = [nodes.Text(page_name(command))]
    tree.insert(1, nodes.subtitle('', about))
    tree.insert(2, nodes.docinfo('', _field('manual section', '8'),
                                 _field('manual group', 'KIWI NG')))
    written: bytes = publish_from_doctree(
        tree, writer=manpage.Writer(), settings_overrides=_SETTINGS
    )
    return _without_version(written)


def _field(name: str, value: str) -> nodes.field:
    return nodes.field(
        '', nodes.field_name('', name), nodes.field_body('', nodes.paragraph('', value))
    )


def _without_version(page: bytes) -> bytes:
    """Leave out the comment at the top that only tells which docutils wrote it."""
    lines = page.split(b'\n')
    while lines[0].startswith(b'.\\"'):
        del lines[0]
    return b'\n'.join([b".\\\" Made from the plugin's documentation", *lines])


if __name__ == '__main__':
    print('\n'.join(write_pages(sys.argv[1])))
