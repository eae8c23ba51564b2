# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands as kiwi 11 wants them: a dictionary of typer objects.

Options and texts are those of the usage texts that kiwi up to 10.3 reads.
On kiwi 11.1 a plugin's group wins over the command of the core of that name.
"""
import logging
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Mapping, Optional, Sequence

from kiwi.cli import Cli

from kiwi_stackbuild_plugin.tasks import system_stackbuild, system_stash, system_stash_list
from kiwi_stackbuild_typer_plugin.usage import command_help, option_help

if TYPE_CHECKING:
    import typer

log = logging.getLogger('kiwi')

#: parameters that cannot have the name of their option
_OPTIONS = {'form': '--format', 'show_list': '--list', 'print_as': '--print', 'name': '<name>'}
#: what else is there in the functions that typer calls
_NO_OPTION = ('words',)


def request(command: str, args: Mapping[str, Any]) -> None:
    """Ask kiwi to run a command of ours.

    All of them go to the task of stash_list, which no task of kiwi's core
    collides with; "stash_task" tells it what was meant.
    """
    Cli.subcommand_args['stash_list'] = {
        'help': False, **args, 'stash_task': command
    }
    Cli.global_args['command'] = 'stash_list'
    Cli.global_args['system'] = True
    Cli.cli_ok = True


def take_over_help(commands: Mapping[str, Any]) -> None:
    """Show our help for "stash help": kiwi 11.1 asks the task of its core."""
    core_request = getattr(Cli, 'request_manual_page', None)
    if core_request is None:
        return

    def request_manual_page(service: str, command: str) -> None:
        core_request(service, command)
        if service == 'system' and command in commands:
            request(command, {'help': True})

    Cli.request_manual_page = staticmethod(request_manual_page)


def group_class() -> Any:
    """Return a group that takes "help", "--" and options behind arguments."""
    import typer
    from typer.core import TyperGroup

    class PluginGroup(TyperGroup):
        """A command of ours; typer has groups only for what plugins add."""

        allow_interspersed_args = True

        def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
            if args == ['help']:
                request(str(ctx.info_name), {'help': True})
                raise typer.Exit(0)
            if 'kiwi' in self.commands:
                ctx.allow_interspersed_args = False
                if '--' in args:
                    args[args.index('--')] = 'kiwi'
            if ctx.info_name == 'stash_list':
                # an option with a value, or without one
                args = ['--check=1/1' if word == '--check' else word for word in args]
            return list(super().parse_args(ctx, args))

    return PluginGroup


def new_typer(usage: Optional[str], command: str, metavar: str = '') -> 'typer.Typer':
    """Return an empty typer object for a command, with its help text."""
    import typer
    return typer.Typer(
        cls=group_class(), help=command_help(usage, command),
        add_completion=False, invoke_without_command=True,
        subcommand_metavar=metavar
    )


def option(usage: Optional[str], name: str) -> Any:
    """Return an option of typer that looks as in the usage text."""
    import typer
    told = option_help(usage)[name]
    return typer.Option(
        name, help=told.text, metavar=told.metavar or None, show_default=False
    )


def by_option(given: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the arguments of a command as docopt gives them, by their options.

    :param given: the local variables of a function that typer calls
    """
    return {
        _OPTIONS.get(name, '--' + name.replace('_', '-')): value
        for name, value in given.items() if name not in _NO_OPTION
    }


def make_stash() -> 'typer.Typer':
    """Return "system stash"."""
    usage = system_stash.__doc__
    stash = new_typer(usage, 'stash')

    @stash.callback()
    def run(
        root: Annotated[Optional[str], option(usage, '--root')] = None,
        container_name: Annotated[Optional[str], option(usage, '--container-name')] = None,
        tag: Annotated[Optional[str], option(usage, '--tag')] = None,
        base: Annotated[Optional[str], option(usage, '--base')] = None,
        no_base: Annotated[bool, option(usage, '--no-base')] = False,
        label: Annotated[Optional[List[str]], option(usage, '--label')] = None,
        export: Annotated[Optional[List[str]], option(usage, '--export')] = None,
        authfile: Annotated[Optional[str], option(usage, '--authfile')] = None,
        cert_dir: Annotated[Optional[str], option(usage, '--cert-dir')] = None,
        tls_verify: Annotated[Optional[str], option(usage, '--tls-verify')] = None,
        sbom: Annotated[bool, option(usage, '--sbom')] = False,
        sign_by: Annotated[Optional[str], option(usage, '--sign-by')] = None,
        sign_passphrase_file: Annotated[
            Optional[str], option(usage, '--sign-passphrase-file')
        ] = None,
        strict: Annotated[bool, option(usage, '--strict')] = False,
        verify: Annotated[bool, option(usage, '--verify')] = False,
        ignore_times: Annotated[bool, option(usage, '--ignore-times')] = False,
        clamp_mtime: Annotated[bool, option(usage, '--clamp-mtime')] = False,
        reproducible: Annotated[bool, option(usage, '--reproducible')] = False,
        dry_run: Annotated[bool, option(usage, '--dry-run')] = False,
        form: Annotated[Optional[str], option(usage, '--format')] = None,
        prune: Annotated[bool, option(usage, '--prune')] = False,
        keep_last: Annotated[Optional[str], option(usage, '--keep-last')] = None,
        keep_weekly: Annotated[Optional[str], option(usage, '--keep-weekly')] = None,
        show_list: Annotated[bool, option(usage, '--list')] = False
    ) -> None:
        args = by_option(locals())
        check_stash(args)
        request('stash', args)

    return stash


def check_stash(args: Mapping[str, Any]) -> None:
    """Check what the usage text of "stash" says about options that go together."""
    import typer
    if args['--list']:
        check_alone(args, ('--list',), '--list takes no other option')
    if args['--prune']:
        check_prune(args)
        return
    if args['--keep-last'] is not None or args['--keep-weekly'] is not None:
        raise typer.BadParameter('--keep-last and --keep-weekly need --prune')
    if not args['--list'] and args['--root'] is None:
        check_copy(args)
    if args['--base'] is not None and args['--no-base']:
        raise typer.BadParameter('--base and --no-base exclude each other')


def check_alone(args: Mapping[str, Any], own: Sequence[str], why: str) -> None:
    """Refuse options but its own; {} in the reason is the option."""
    import typer
    for name, value in args.items():
        if name not in own and value not in (None, False, []):
            raise typer.BadParameter(why.format(name))


def check_prune(args: Mapping[str, Any]) -> None:
    """Check that "stash --prune" has no options but its own."""
    check_alone(args, (
        '--prune', '--keep-last', '--keep-weekly', '--container-name', '--dry-run'
    ), '{} does not go with --prune')


def check_copy(args: Mapping[str, Any]) -> None:
    """Check the options of "stash" without --root: a copy of a stored stash."""
    import typer
    if not args['--export'] or args['--container-name'] is None:
        raise typer.BadParameter(
            '--root is missing, or --export with --container-name'
        )
    check_alone(args, (
        '--export', '--container-name', '--tag', '--authfile', '--cert-dir', '--tls-verify',
        '--sbom', '--sign-by', '--sign-passphrase-file'
    ), '{} needs --root')


#: settings of click for a command that takes any words
PASS_ON = {
    'allow_extra_args': True, 'ignore_unknown_options': True,
    'allow_interspersed_args': False
}


def make_stackbuild() -> 'typer.Typer':
    """Return "system stackbuild", with what follows in a command "kiwi"."""
    usage = system_stackbuild.__doc__
    stackbuild = new_typer(usage, 'stackbuild', '[-- <kiwi_args>...]')
    words: Dict[str, Any] = {}

    @stackbuild.callback()
    def run(
        target_dir: Annotated[Optional[str], option(usage, '--target-dir')] = None,
        matrix: Annotated[Optional[str], option(usage, '--matrix')] = None,
        only: Annotated[Optional[List[str]], option(usage, '--only')] = None,
        jobs: Annotated[Optional[str], option(usage, '--jobs')] = None,
        print_as: Annotated[Optional[str], option(usage, '--print')] = None,
        stash: Annotated[Optional[List[str]], option(usage, '--stash')] = None,
        description: Annotated[Optional[str], option(usage, '--description')] = None,
        from_registry: Annotated[Optional[str], option(usage, '--from-registry')] = None,
        pull: Annotated[Optional[str], option(usage, '--pull')] = None,
        max_age: Annotated[Optional[str], option(usage, '--max-age')] = None,
        authfile: Annotated[Optional[str], option(usage, '--authfile')] = None,
        cert_dir: Annotated[Optional[str], option(usage, '--cert-dir')] = None,
        tls_verify: Annotated[Optional[str], option(usage, '--tls-verify')] = None,
        container_tool: Annotated[Optional[str], option(usage, '--container-tool')] = None,
        keep_scripts: Annotated[bool, option(usage, '--keep-scripts')] = False,
        merge_packages: Annotated[bool, option(usage, '--merge-packages')] = False,
        mount: Annotated[Optional[str], option(usage, '--mount')] = None,
        unmount: Annotated[Optional[str], option(usage, '--unmount')] = None,
        overlay: Annotated[bool, option(usage, '--overlay')] = False,
        root_only: Annotated[bool, option(usage, '--root-only')] = False,
        stash_as: Annotated[Optional[str], option(usage, '--stash-as')] = None,
        export: Annotated[Optional[List[str]], option(usage, '--export')] = None,
        if_changed: Annotated[bool, option(usage, '--if-changed')] = False,
        dry_run: Annotated[bool, option(usage, '--dry-run')] = False
    ) -> None:
        words.update(by_option(locals()))
        check_matrix(words)
        request('stackbuild', {**words, '<kiwi_args>': []})

    return add_kiwi(stackbuild, usage, words)


def check_matrix(args: Mapping[str, Any]) -> None:
    """Check what the usage text of "stackbuild" says about --matrix."""
    import typer
    alone = ('--only', '--jobs', '--print')
    for name in ('--mount', '--unmount'):
        if args[name] is not None:
            check_alone(args, (name,), f'{{}} does not go with {name}')
            return
    if args['--matrix'] is not None:
        own = ('--matrix', '--target-dir', '--if-changed', *alone)
        check_alone(args, own, '{} does not go with --matrix')
        return
    if args['--target-dir'] is None:
        raise typer.BadParameter('--target-dir is missing')
    check_alone({name: args[name] for name in alone}, (), '{} needs --matrix')


def add_kiwi(
    stackbuild: 'typer.Typer', usage: Optional[str], words: Mapping[str, Any]
) -> 'typer.Typer':
    """Add the command that takes the arguments for kiwi; return the same object."""
    import typer

    @stackbuild.command(
        'kiwi', help=option_help(usage)['<kiwi_args>'].text,
        add_help_option=False, context_settings=PASS_ON
    )
    def kiwi(ctx: typer.Context) -> None:
        request('stackbuild', {**words, '<kiwi_args>': list(ctx.args)})

    return stackbuild


def make_stash_list() -> 'typer.Typer':
    """Return "system stash_list"."""
    import typer
    usage = system_stash_list.__doc__
    stash_list = new_typer(usage, 'stash_list')
    told = option_help(usage)['<name>']

    @stash_list.callback()
    def run(
        name: Annotated[
            Optional[str],
            typer.Argument(metavar=told.metavar, help=told.text)
        ] = None,
        form: Annotated[Optional[str], option(usage, '--format')] = None,
        check: Annotated[Optional[str], option(usage, '--check')] = None,
        diff: Annotated[Optional[str], option(usage, '--diff')] = None,
        remote: Annotated[Optional[str], option(usage, '--remote')] = None,
        authfile: Annotated[Optional[str], option(usage, '--authfile')] = None,
        cert_dir: Annotated[Optional[str], option(usage, '--cert-dir')] = None,
        tls_verify: Annotated[Optional[str], option(usage, '--tls-verify')] = None
    ) -> None:
        request('stash_list', by_option(locals()))

    return stash_list


def load() -> Dict[str, Any]:
    """Return the commands, or none of them with a line that says why.

    They are converted once here: typer finds what it does not like only
    then, which must not be when another command of kiwi is run.
    """
    try:
        from typer.main import get_command
        made = {
            'stash': make_stash(), 'stackbuild': make_stackbuild(),
            'stash_list': make_stash_list()
        }
        for command in made.values():
            get_command(command)
        take_over_help(made)
    except Exception as issue:  # noqa: BLE001 - kiwi has to go on working
        log.warning(
            'kiwi_stackbuild_plugin is not available, '
            'it does not work with this typer or kiwi: %r', issue
        )
        return {}
    return made


typers = load()
