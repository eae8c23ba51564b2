# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the documentation with the table, written by "run --write-doc"."""
from __future__ import annotations

from typing import Callable, List, Sequence, Tuple

from matrix.cell import Outcome
from matrix.environments import REPOSITORY
from matrix.table import Result, Results, list_table, notes, releases_table

Runner = Callable[[], List[Outcome]]
PAGE = REPOSITORY / 'doc/source/matrix.rst'
HEAD = '''.. Written by test/matrix/run --write-doc, do not edit.

Versions of kiwi
================

One distribution serves kiwi 9.24 to 11. Up to 10.3 kiwi reads command lines
with docopt, from version 11 on with typer; the commands and their options are
the same.

What kiwi 11 has itself
-----------------------

kiwi 11.0 has no stash commands. From 11.1 on its core has simple commands
``system stash`` (``--root``, ``--tag``, ``--container-name``, ``--list``) and
``system stackbuild`` (``--stash``, ``--target-dir``, ``--description``,
``--from-registry``); there is no ``stash_list``.

With the plugin installed all three commands are those of the plugin, in
whatever order the two were installed. It adds the stash as a difference to the
image the tree came from (``--base``, ``--no-base``), ``--label``, ``--export``,
``--strict``, ``--verify``, ``--dry-run``, the list as JSON, several references
for ``--stash``, all global options for the nested build, and descriptions that
extend the one of the stash.

What happens on uninstall
-------------------------

kiwi is what it was before: from 11.1 on ``stash`` and ``stackbuild`` are the
core's again, in older versions all three commands are gone. Stashes stay in the
storage of podman; they are ordinary images. kiwi's core can build from them by
name.

What was tested
---------------

Each cell is an environment of its own. It runs the help texts, wrong command
lines with their exit status, a first stash, a second one of a changed tree,
``stash_list``, ``stackbuild`` without and with a description, and a stash of
the result, with the real podman and skopeo; then the plugin is uninstalled. For
each kiwi one cell also installs the plugin before kiwi, and runs the unit tests
of all that touches kiwi.

'''
ROOTS = '''
Real roots, by each package manager: the main paths (``test/integration/managers_test.py``),
a description of many parts (``test/descriptions/rich``: includes, profiles that need
others, scripts, users, archives, ignored and deleted packages) with an extension of it,
compared with what kiwi makes from nothing, and for dnf 4 and zypper both places of the
rpm data base on build hosts with others, and ``derived_from``; for pacman bootstrap,
stash, the same description with a package more, and an extension:

'''


def write(
    kiwis: Sequence[str], pythons: Sequence[str], results: Results,
    releases: Sequence[Tuple[str, str, Result]], newest: str, roots: Results
) -> None:
    """Write the page."""
    text = HEAD + list_table(kiwis, pythons, results) + '\n'
    for note in notes(results):
        text += f'\nn/a: {note}\n'
    if newest:
        text += f'\nThe newest kiwi on the package index was {newest}.\n'
    if roots:
        text += ROOTS + list_table(
            sorted({manager for manager, _ in roots}),
            sorted({kiwi for _, kiwi in roots}), roots, 'roots by', 'kiwi'
        ) + '\n'
    if releases:
        text += (
            "\nWith a release's own kiwi, podman and skopeo on its own Python, the "
            'plugin\ninstalled beside them:\n\n' + releases_table(releases) + '\n'
        )
    PAGE.write_text(text, encoding='utf-8')
