# SPDX-License-Identifier: GPL-3.0-or-later
"""
usage: kiwi-ng system stackbuild -h | --help
       kiwi-ng system stackbuild --stash=<image>... --target-dir=<directory>
           [--description=<directory>]
           [--from-registry=<URI>]
           [-- <kiwi_args>...]
       kiwi-ng system stackbuild help

commands:
    stackbuild
        build an image from one or more stashes. Without a description
        the image is built from the stash as it is, with the
        description it carries (kiwi-ng system create). With a
        description that one is built on top of the stash
        (kiwi-ng system build)
    stackbuild help
        show manual page for stackbuild command

options:
    --description=<directory>
        the image description to build, or one that extends the
        description of the stash
    --from-registry=<URI>
        registry to pull the stashes from that are given by a plain
        name
    --stash=<image>
        the stash to build from: a stash name, an image ID, a registry
        reference or a transport:reference. This option can be
        specified multiple times, later stashes go on top
    --target-dir=<directory>
        the target directory to store the system image file(s)
    <kiwi_args>
        arguments for kiwi-ng system build, or for kiwi-ng system
        create where no description is given
"""
from typing import Any, Mapping

from kiwi.privileges import Privileges
from kiwi.tasks.base import CliTask


class SystemStackbuildTask(CliTask):  # type: ignore[misc]
    """The command "system stackbuild" of kiwi up to 10.3."""

    def process(self) -> None:
        """Build an image from stashes."""
        stackbuild_command(self.command_args, self.global_args)


def stackbuild_command(
    args: Mapping[str, Any], global_args: Mapping[str, Any]
) -> None:
    """Run "system stackbuild" with the arguments of docopt or typer.

    :param global_args: kiwi's global options, for the nested kiwi call
    """
    if args.get('help'):
        from kiwi_stackbuild_plugin.tasks.manual_page import show_manual
        show_manual('kiwi::system::stackbuild', __doc__)
        return
    Privileges.check_for_root_permissions()
    words = tuple(args['<kiwi_args>'] or ())
    if words and args.get('--') is False:
        # docopt takes both parts of "[-- <kiwi_args>...]" for optional
        from kiwi_stackbuild_plugin.errors import KiwiStashArgumentInvalid
        raise KiwiStashArgumentInvalid(
            f'{words[0]!r} is no argument of stackbuild',
            'arguments for kiwi go behind "--"'
        )
    from kiwi_stackbuild_plugin.stackbuild import StackbuildRequest, stackbuild
    stackbuild(StackbuildRequest(
        stashes=tuple(args['--stash']),
        target_dir=args['--target-dir'],
        description=args['--description'],
        from_registry=args['--from-registry'],
        kiwi_args=words,
        global_args=dict(global_args)
    ))
