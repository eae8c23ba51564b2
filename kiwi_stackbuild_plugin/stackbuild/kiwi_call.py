# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's own tasks called from ours, with all global options, on every kiwi.

A kiwi task takes its arguments from sys.argv. Kiwi up to 10.3 reads them with
docopt, kiwi 11 with typer; neither is imported here.
"""
from __future__ import annotations

import inspect
import io
import logging
import os
import re
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple

from kiwi.exceptions import KiwiCommandNotLoaded, KiwiError
from kiwi.system.setup import SystemSetup
from kiwi.xml_state import XMLState

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.host.text import without_login
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import (
    TOOL_CHAIN, warning_of_file_system
)

log = logging.getLogger('kiwi')

#: the description that kiwi keeps in a root (SystemSetup.import_description)
ROOT_DESCRIPTION = 'image/config.xml'
# options of kiwi-ng itself that select no behaviour of a task
_NOT_FORWARDED = ('--help', '--version', '--compat')


@dataclass(frozen=True)
class KiwiCall:
    """A kiwi task that accepted its command line and was not started yet.

    :param task: None where kiwi has nothing to do
    """

    argv: Tuple[str, ...]
    task: Any


def prepare_create(
    root_dir: str, target_dir: str, global_args: Mapping[str, Any],
    extra: Sequence[str]
) -> KiwiCall:
    """Prepare "kiwi-ng system create"; nothing on disk is touched.

    The root has its description in image/config.xml, whatever the name of
    the file was that it came from. Unless told, kiwi takes a /config.xml of
    some program in the root, or its first /*.kiwi where there is no other.

    :param global_args: kiwi's own dictionary of global options
    :param extra: the user's arguments for the command
    :raises KiwiStashArgumentInvalid: kiwi does not accept the arguments
    """
    from kiwi.tasks.system_create import SystemCreateTask
    return _prepare(
        SystemCreateTask, 'create',
        {'--root': root_dir, '--target-dir': target_dir}, (),
        global_words({**global_args, '--kiwi-file': ROOT_DESCRIPTION}), extra
    )


def prepare_build(
    description: str, target_dir: str, global_args: Mapping[str, Any],
    extra: Sequence[str]
) -> KiwiCall:
    """Prepare "kiwi-ng system build" on the root in the target directory.

    Nothing on disk is touched.

    :param global_args: kiwi's own dictionary of global options
    :param extra: the user's arguments for the command
    :raises KiwiStashArgumentInvalid: kiwi does not accept the arguments
    """
    from kiwi.tasks.system_build import SystemBuildTask
    return _prepare(
        SystemBuildTask, 'build',
        {'--description': description, '--target-dir': target_dir},
        ('--allow-existing-root',), global_words(global_args), extra
    )


def prepare_root(
    description: Optional[str], root_dir: str, global_args: Mapping[str, Any],
    extra: Sequence[str]
) -> KiwiCall:
    """Prepare "kiwi-ng system prepare" on a root that will be there.

    Nothing on disk is touched.

    :param description: without one kiwi has nothing to do
    :param global_args: kiwi's own dictionary of global options
    :param extra: the user's arguments for the command
    :raises KiwiStashArgumentInvalid: kiwi does not accept the arguments
    """
    if description is None:
        if extra:
            raise KiwiStashArgumentInvalid(
                f'{" ".join(extra)}: with --root-only and no --description nothing is '
                'done by kiwi that could take arguments',
                'give a description, or leave them out'
            )
        return KiwiCall((), None)
    from kiwi.tasks.system_prepare import SystemPrepareTask
    return _prepare(
        SystemPrepareTask, 'prepare',
        {'--description': description, '--root': root_dir},
        ('--allow-existing-root',), global_words(global_args), extra
    )


def load(call: KiwiCall, directory: str, kiwi_file: str = '') -> None:
    """Let a build task read a description, and refuse now what it refuses as it begins.

    :raises KiwiError: what kiwi has against it
    """
    call.task.load_xml_description(directory, kiwi_file)
    # whether that is needed is not known yet
    _check(call.task, call.task.checks_before_command_args, TOOL_CHAIN)


def check_repositories(task: Any, dry_run: bool = False) -> None:
    """Let a build task refuse now what it refuses when it knows its arguments.

    :param dry_run: only say that it would
    :raises KiwiError: what kiwi has against it
    """
    try:
        _check(task, task.checks_after_command_args)
    except KiwiError as issue:
        if not dry_run:
            raise
        log.warning('kiwi will refuse to build it: %s', ' '.join(f'{issue}'.split()))


def _check(task: Any, checks: Mapping[str, Any], left_out: str = '') -> None:
    task.run_checks({name: args for name, args in checks.items() if name != left_out})


def apply_options(task: Any) -> None:
    """Change the loaded description of a build task as its arguments will.

    So that what is decided before kiwi starts is decided on what it will build;
    kiwi loads the description again and does the same. Logins are left out:
    kiwi removes a file of them as it reads it.

    :raises KiwiStashArgumentInvalid: for an attribute that no type has: kiwi
        would build nothing then, with exit status 0
    """
    state, args = task.xml_state, task.command_args
    for word in args.get('--set-type-attr') or ():
        _set_attribute(state.build_type, word)
    if args.get('--set-release-version'):
        _set_release_version(state, args['--set-release-version'])
    if args.get('--ignore-repos'):
        state.delete_repository_sections()
    elif args.get('--ignore-repos-used-for-build'):
        state.delete_repository_sections_used_for_build()
    if args.get('--set-repo'):
        state.set_repository(*task._get_repo_parameters(args['--set-repo'], None))
    for word in args.get('--add-repo') or ():
        state.add_repository(*task._get_repo_parameters(word, None))
    uri = args.get('--set-container-derived-from')
    if uri and state.build_type.get_derived_from():
        state.set_derived_from_image_uri(uri)


def _set_attribute(build_type: Any, word: str) -> None:
    name, equals, value = word.partition('=')
    setter = getattr(build_type, f'set_{name}', None)
    if not equals or setter is None:
        raise KiwiStashArgumentInvalid(
            f'--set-type-attr={word}: ' + (
                f'<type> has no attribute {name!r}' if equals
                else 'not of the form attribute=value'
            )
        )
    setter(value)


def _set_release_version(state: Any, version: str) -> None:
    sections = state.get_preferences_sections()
    for section in sections:
        if section.get_release_version():
            section.get_release_version()[0] = version
            return
    if sections:
        sections[0].add_release_version(version)


def run(call: KiwiCall) -> None:
    """Run a prepared task to its end; errors of kiwi pass through."""
    if call.task is None:
        return
    with kiwi_argv(call.argv), warning_of_file_system(call.task):
        call.task.process()


@contextmanager
def kiwi_argv(argv: Sequence[str]) -> Iterator[None]:
    """Give kiwi another command line for the time of a with block."""
    ours = sys.argv
    sys.argv = list(argv)
    try:
        yield
    finally:
        sys.argv = ours


def global_words(global_args: Mapping[str, Any]) -> List[str]:
    """Return kiwi's global options as words of a command line.

    Values given twice for an option that can be repeated are given once.
    """
    words: List[str] = []
    for name in _global_options(global_args):
        value = global_args.get(name)
        if value is None or value is False:
            continue
        if value is True:
            words.append(name)
        elif isinstance(value, (list, tuple)):
            words.extend(f'{name}={item}' for item in dict.fromkeys(value))
        else:
            words.append(f'{name}={value}')
    return words


def without_credentials(words: Sequence[str]) -> Iterator[str]:
    """Leave out the logins of repositories, --set-repo-credentials and the like."""
    secret = False
    for word in words:
        option, equals, _ = word.partition('=')
        if not secret and not option.endswith('-credentials'):
            yield word
        secret = option.endswith('-credentials') and not equals


def _global_options(global_args: Mapping[str, Any]) -> List[str]:
    """Return the names of the global options of the kiwi that runs.

    Docopt tells them by the dictionary. Kiwi 11 mixes the options of the
    command in, there the signature of the function they are made from tells.
    """
    from kiwi.cli import Cli
    names = list(global_args)
    if hasattr(Cli, 'main'):
        names = [
            '--' + name.replace('_', '-')
            for name in inspect.signature(Cli.main).parameters
        ]
    return [
        name for name in names
        if name.startswith('--') and name not in _NOT_FORWARDED
    ]


def label_tree(state: XMLState, root: str) -> None:
    """Let kiwi give a root its SELinux labels, as it does when it prepares one.

    They belong to the host that writes them, so no stash has them. Without a
    policy in the root nothing is done.

    :raises KiwiError: from setfiles of the root
    """
    SystemSetup(state, root).setup_selinux_file_contexts()


def _prepare(
    task_class: Any, command: str, forced: Mapping[str, str],
    flags: Sequence[str], words: Sequence[str], extra: Sequence[str]
) -> KiwiCall:
    """Construct a task under its command line; forced options come last."""
    for word in extra:
        _check_word(word, command, tuple(forced))
    argv = (
        'kiwi-ng', *words, 'system', command,
        *(word for word in extra if word not in flags), *flags,
        *(f'{name}={value}' for name, value in forced.items())
    )
    task = _construct(task_class, argv, command, extra)
    # kiwi 11.0 asks for it in "system create" without setting it
    task.command_args.setdefault('help', False)
    taken = [name for name in flags if not task.command_args[name]] + [
        name for name, value in forced.items()
        if os.path.abspath(f'{task.command_args[name]}') != os.path.abspath(value)
    ]
    if taken:
        raise _refused(command, extra, f'the last one takes {taken[0]} for its value')
    return KiwiCall(argv, task)


def _check_word(word: str, command: str, forced: Sequence[str]) -> None:
    option = word.partition('=')[0]
    # docopt takes abbreviations too
    fights = [
        name for name in forced
        if option.startswith('--') and option != '--' and name.startswith(option)
    ]
    if fights:
        raise KiwiStashArgumentInvalid(
            f'{word} cannot be passed on to kiwi-ng system {command}: '
            f'stackbuild sets {fights[0]} itself',
            'leave it out of the arguments for kiwi'
        )
    if option in ('--', '-h', '--help'):
        raise KiwiStashArgumentInvalid(
            f'{word} cannot be passed on to kiwi-ng system {command}',
            f'kiwi-ng system {command} --help shows what it accepts'
        )


def _construct(
    task_class: Any, argv: Sequence[str], command: str, extra: Sequence[str]
) -> Any:
    """Let kiwi read the command line; its complaints become our error."""
    said = io.StringIO()
    try:
        with kiwi_argv(argv), redirect_stdout(said), redirect_stderr(said):
            return task_class(should_perform_task_setup=False)
    except SystemExit as issue:
        # docopt's usage error is a SystemExit with the text, typer prints it
        text = issue.code if isinstance(issue.code, str) else said.getvalue()
        raise _refused(command, extra, _complaint(text, extra)) from None
    except KiwiCommandNotLoaded as issue:
        raise _refused(command, extra, _complaint(str(issue), extra)) from None


def _refused(
    command: str, extra: Sequence[str], reason: str
) -> KiwiStashArgumentInvalid:
    given = without_login(' '.join(without_credentials(extra))) or 'the options'
    return KiwiStashArgumentInvalid(
        f'kiwi-ng system {command} does not accept {given}'
        + (f': {without_login(reason)}' if reason else ''),
        f'kiwi-ng system {command} --help shows what it accepts'
    )


def _complaint(text: str, extra: Sequence[str]) -> str:
    """Take the complaint itself out of what docopt or typer said.

    Docopt: the complaint, if any, then the usage. Typer: the usage, then the
    complaint, in a box where the package rich is there.
    """
    found: List[str] = []
    for raw in text.splitlines():
        line = re.sub(r'[\u2500-\u257f]', '', raw).strip()
        if re.match(r"(?i)usage:|try ['\"]|error:?$", line):
            if found:
                break
        elif line:
            found.append(re.sub(r'^(?i:error): ', '', line))
    told = ' '.join(found)
    if re.search(r'(?:Option|Argument|Command)\(', told):
        # docopt-ng shows its own objects
        words = [word.partition('=')[0] for word in extra]
        told = ' '.join(word for word in words if f"'{word}'" in told)
        return f'unknown, or given twice: {told}' if told else ''
    return '' if told.startswith('kiwi-ng') else told
