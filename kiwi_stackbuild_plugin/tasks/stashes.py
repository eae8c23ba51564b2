# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the stashes, for the two commands that do."""
import sys
from typing import Any, Mapping, Optional

from kiwi_stackbuild_plugin.tasks.output import print_text


def print_stashes(
    name: Optional[str] = None, form: Optional[str] = None,
    args: Mapping[str, Any] = {}
) -> None:
    """Print the stashes in the storage, or in a registry.

    :param args: the options that have to do with a registry
    :param form: json or table; without it a table if we print to a terminal
    :raises KiwiStashArgumentInvalid: for any other form
    """
    form = form if form is not None else (
        'table' if sys.stdout.isatty() else 'json'
    )
    from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
    if form not in ('json', 'table'):
        raise KiwiStashArgumentInvalid(
            f'--format {form!r} is not known', 'it is json or table'
        )
    from kiwi_stackbuild_plugin.stash.stash_list import (
        format_json, format_table, list_remote, list_stashes
    )
    if args.get('--remote') is None:
        stashes = list_stashes(name)
    else:
        from kiwi_stackbuild_plugin.storage.access import make_access
        stashes = list_remote(args['--remote'], name, make_access(
            args['--authfile'], args['--tls-verify'], args['--cert-dir']
        ))
    print_text(format_json(stashes) if form == 'json' else format_table(stashes))
