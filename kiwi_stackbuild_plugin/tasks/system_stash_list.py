# SPDX-License-Identifier: GPL-3.0-or-later
"""
usage: kiwi-ng system stash_list -h | --help
       kiwi-ng system stash_list help
       kiwi-ng system stash_list [--format=<json|table>]
           [--check=<n/m>]
           [--diff=<image>]
           [--remote=<URI>]
           [--authfile=<file>]
           [--cert-dir=<directory>]
           [--tls-verify=<true|false>]
           [<name>]

commands:
    stash_list
        list the stashes in the storage of podman, or those that a
        registry offers, or tell what changed between two images:
        packages first, then files
    stash_list help
        show manual page for stash_list command

options:
    --authfile=<file>
        file of logins for registries. By default that of podman
    --cert-dir=<directory>
        directory with the CA certificate (*.crt) of a registry, and
        with a client certificate where it wants one
    --check=<n/m>
        read the stored stashes again, each layer once, compare with
        what was recorded of them, and name what is damaged; nothing
        is built on that any more. Without a value all layers are
        read, with one slice n of m of them: a slice a day reads all
        of them in m days. The exit status is 1 if something is
        damaged
    --diff=<image>
        tell what changed from this image to the one named last. Both
        may be anything that --stash of stackbuild takes, stash or
        not; what has to be fetched for that is removed again
    --format=<json|table>
        form of the list. By default a table on a terminal and json
        otherwise
    --remote=<URI>
        registry to list, HOST or HOST/PREFIX, instead of the storage.
        With --diff the one that plain names are looked for in
    --tls-verify=<true|false>
        ask registries for TLS with a valid certificate. By default
        as the tools are configured, which is true
    <name>
        name, or name:tag, of the stash to list, with the chain of
        its layers and what each did to the packages. By default all
        are listed. With --diff the image to compare with
"""
import sys

from kiwi.tasks.base import CliTask

from kiwi_stackbuild_plugin.tasks.output import guard_output, keep_stdout_clean
from kiwi_stackbuild_plugin.tasks.stashes import bare_check, print_stashes

# docopt knows options with a value, and options without one
__doc__ = bare_check(__doc__, sys.argv)

# kiwi reads its configuration, and says so, before there is any task
keep_stdout_clean()


class SystemStash_ListTask(CliTask):  # type: ignore[misc]
    """The command "system stash_list"; on kiwi 11 all commands of the plugin.

    kiwi makes the class name from the command name. The front for kiwi 11
    says in "stash_task" which command it is, since a task by any other name
    would collide there with the one in kiwi's core.
    """

    def process(self) -> None:
        """Run the command that was asked for."""
        guard_output()
        args = self.command_args
        command = args.get('stash_task', 'stash_list')
        if command == 'stash':
            from kiwi_stackbuild_plugin.tasks.system_stash import stash_command
            stash_command(args)
        elif command == 'stackbuild':
            from kiwi_stackbuild_plugin.tasks.system_stackbuild import stackbuild_command
            stackbuild_command(args, self.global_args)
        elif args.get('help'):
            from kiwi_stackbuild_plugin.tasks.manual_page import show_manual
            show_manual('kiwi::system::stash_list', __doc__)
        else:
            print_stashes(args['<name>'], args['--format'], args)
