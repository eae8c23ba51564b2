# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the stashes, for the two commands that do."""
import sys
from typing import Any, Mapping, Optional, Sequence

from kiwi.privileges import Privileges

from kiwi_stackbuild_plugin.tasks.output import print_text


def print_stashes(
    name: Optional[str] = None, form: Optional[str] = None,
    args: Mapping[str, Any] = {}
) -> None:
    """Print the stashes in the storage, or in a registry.

    :param args: the options that have to do with a registry, --diff and --check
    :param form: json or table; without it a table if we print to a terminal
    :raises KiwiStashArgumentInvalid: for any other form
    """
    form = check_form(form) or ('table' if sys.stdout.isatty() else 'json')
    if args.get('--check') not in (None, False):
        _print_check(args['--check'], name, form, args)
        return
    if args.get('--diff') is not None:
        _print_difference(args['--diff'], name, form, args)
        return
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


def bare_check(usage: Optional[str], words: Sequence[str]) -> str:
    """Return a usage text in which --check has no value, if it is typed without one."""
    text = usage or ''
    return text.replace('--check=<n/m>', '--check') if '--check' in words else text


def _print_check(
    value: Any, name: Optional[str], form: str, args: Mapping[str, Any]
) -> None:
    from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
    for option in ('--diff', '--remote'):
        if args.get(option) is not None:
            raise KiwiStashArgumentInvalid(
                f'--check does not go with {option}', 'it reads what is stored here'
            )
    from kiwi_stackbuild_plugin.stash.check import (
        Part, check_document, check_stashes, format_check, parse_part
    )
    part = Part() if value is True else parse_part(value)
    Privileges.check_for_root_permissions()
    report = check_stashes(name, part)
    print_text(check_document(report) if form == 'json' else format_check(report))
    report.raise_damage()


def check_form(form: Optional[str]) -> Optional[str]:
    """Check the value of --format.

    :raises KiwiStashArgumentInvalid: if it is neither json nor table
    """
    if form not in (None, 'json', 'table'):
        from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
        raise KiwiStashArgumentInvalid(
            f'--format {form!r} is not known', 'it is json or table'
        )
    return form


def _print_difference(
    before: str, after: Optional[str], form: str, args: Mapping[str, Any]
) -> None:
    from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
    if after is None:
        raise KiwiStashArgumentInvalid(
            f'--diff {before!r}: with which image is it compared?',
            f'kiwi-ng system stash_list --diff={before} <image>'
        )
    from kiwi_stackbuild_plugin.stash.diff import (
        compare_images, difference_document, format_difference
    )
    from kiwi_stackbuild_plugin.storage.access import make_access
    from kiwi_stackbuild_plugin.storage.find import Policy
    Privileges.check_for_root_permissions()
    found = compare_images(before, after, Policy(args['--remote'], access=make_access(
        args['--authfile'], args['--tls-verify'], args['--cert-dir']
    )))
    print_text(
        difference_document(found) if form == 'json' else format_difference(found)
    )
