# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stackbuild is made of, and whether that was built before (--if-changed)."""
from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import fields
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import kiwi.runtime_config
from kiwi.defaults import Defaults
from kiwi.version import __version__ as kiwi_version

from kiwi_stackbuild_plugin.description.description import parse_xml
from kiwi_stackbuild_plugin.description.facts import MANAGERS
from kiwi_stackbuild_plugin.description.names import Kind, find_names
from kiwi_stackbuild_plugin.host.text import without_login
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash
from kiwi_stackbuild_plugin.inputs.files import digest_description, digest_file
from kiwi_stackbuild_plugin.inputs.inputs import (
    Inputs, changed_inputs, decode_inputs, digest_of
)
from kiwi_stackbuild_plugin.inputs.record import find_results, read_record
from kiwi_stackbuild_plugin.inputs.repositories import Repository, ask_repositories
from kiwi_stackbuild_plugin.stackbuild.kiwi_call import (
    KiwiCall, global_words, without_credentials
)
from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
from kiwi_stackbuild_plugin.stackbuild.target import Target
from kiwi_stackbuild_plugin.storage.local import LOCAL, find_image
from kiwi_stackbuild_plugin.version import __version__

log = logging.getLogger('kiwi')

#: global options that change nothing of what is built, or count by their content
_WITHOUT_EFFECT = (
    '--debug', '--loglevel', '--logfile', '--logsocket', '--color-output', '--temp-dir',
    '--shared-cache-dir', '--debug-run-scripts-in-screen', '--config', '--profile', '--type'
)
#: fields of a request that say where from and where to, or count by their content;
#: all others are options that count as they are
_PLACES = (
    'stashes', 'target_dir', 'description', 'from_registry', 'dry_run', 'kiwi_args',
    'global_args', 'pull', 'max_age', 'access', 'stash_as', 'exports', 'if_changed',
    'overlay'
)
_TYPE_OF_FORMAT = {'deb': 'apt-deb', 'rpm': 'rpm-md', 'pacman': 'pacman', 'apk': 'apk'}


def gather_inputs(
    request: StackbuildRequest, target: Target, call: KiwiCall,
    images: Sequence[ImageInfo], imports: bool
) -> Inputs:
    """Return all that a build depends on; repositories are asked for their state.

    :param call: kiwi's task, with the description that it will build
    :param imports: a stash brings the container that the description derives from
    """
    inputs: Dict[str, str] = {
        f'stash {number}': f'sha256:{image.image_id}'
        for number, image in enumerate(images, 1)
    }
    if request.description is not None:
        inputs['description'] = digest_description(request.description, [target.path])
    settings = request.global_args
    inputs.update({
        'profiles': ' '.join(settings.get('--profile') or ()) or 'none given',
        'type': settings.get('--type') or 'none given',
        'KIWI': kiwi_version, 'plugin': __version__,
        'global options': _digest_of_words(
            word for word in global_words(settings)
            if word.partition('=')[0] not in _WITHOUT_EFFECT
        ),
        'configuration of KIWI': _digest_of_value(
            getattr(kiwi.runtime_config, 'RUNTIME_CONFIG', None)
        ),
        'options': _digest_of_value({
            one.name: getattr(request, one.name) for one in fields(request)
            if one.name not in _PLACES
        }),
        'arguments': _digest_of_words(without_credentials(request.kiwi_args)),
        'SOURCE_DATE_EPOCH': os.environ.get('SOURCE_DATE_EPOCH') or 'not set',
        **_named_files(request.kiwi_args, request.description)
    })
    if request.description is not None and call.task is not None:
        inputs.update(_described(call.task.xml_state, imports, request.description))
        inputs.update(_elsewhere(call.task.xml_state, request.description))
    return inputs


def _described(state: Any, imports: bool, description: str) -> Inputs:
    """Return what a loaded description reads besides its own directory."""
    # with what it includes from elsewhere
    found = {'packages and settings': _digest_of_xml(state)}
    for key in state.get_repositories_signing_keys():
        path = key.partition('file://')[2] or key
        if os.path.isfile(path):
            found[f'signing key {_portable(path, description)}'] = digest_file(path)
    if not imports and state.build_type.get_derived_from():
        # kiwi fetches it anew
        found[f'container {_portable(state.build_type.get_derived_from(), description)}'] = ''
    repositories = list(_repositories(state))
    for repository, told in zip(repositories, ask_repositories(repositories)):
        name = ' '.join(word for word in (
            'repository', _portable(repository.uri, description), repository.distribution
        ) if word)
        # two addresses may differ in what is not shown
        while name in found:
            name += '+'
        found[name] = told
    return found


def _portable(place: str, description: Optional[str]) -> str:
    """Name a place in a record that travels, and says the same of a copy elsewhere.

    A path of this machine is relative to the description if it is in that or beside
    it; of another one there are the last name and a digest.
    """
    plain = without_login(place)
    local = re.fullmatch(r'((?:(?:dir|file|iso):/{0,2})?)(/.*)', plain, re.DOTALL)
    if local is None:
        return plain
    path = os.path.normpath(local[2])
    near = os.path.relpath(path, description) if description else '../..'
    if f'{near}/'.startswith('../../') or near == '..':
        near = f'{os.path.basename(path)}@{digest_of(path)[7:19]}'
    return local[1] + near


def _elsewhere(state: Any, directory: str) -> Inputs:
    """Return the files that a loaded description names outside of its directory.

    :param directory: of the user's description; that of the loaded one may be another
    """
    here = os.path.join(os.path.realpath(directory), '')
    loaded = getattr(state.xml_data, 'description_dir', None) or directory
    return {
        f'file {_portable(name.value, directory)}': digest_file(path)
        for name in find_names(parse_xml(_exported(state).encode(), 'image description'))
        if name.kind in (Kind.STORED, Kind.BESIDE, Kind.HOST) and '\0' not in name.value
        for path in (os.path.realpath(os.path.join(loaded, name.value)),)
        if os.path.isfile(path) and not path.startswith(here)
    }


def _repositories(state: Any) -> Iterator[Repository]:
    kind = _TYPE_OF_FORMAT[MANAGERS.get(state.get_package_manager(), ('rpm', ()))[0]]
    machine = Defaults.get_platform_name()
    variables = [('$basearch', machine), ('$arch', machine)]
    release = state.get_release_version()
    if release and release != '0':
        variables.append(('$releasever', release))
    for section in state.get_repository_sections_used_for_build():
        source_type = getattr(section, 'get_sourcetype', lambda: '')() or ''
        yield Repository(
            section.get_source().get_path(), section.get_type() or kind,
            section.get_distribution() or '', source_type, section.get_alias() or '',
            (section.get_username() or '', section.get_password() or ''), tuple(variables)
        )


def _digest_of_xml(state: Any) -> str:
    return digest_of(_exported(state))


def _exported(state: Any) -> str:
    import io
    text = io.StringIO()
    state.xml_data.export(text, 0)
    return text.getvalue()


def _digest_of_words(words: Any) -> str:
    return digest_of(json.dumps(list(words)))


def _digest_of_value(value: Any) -> str:
    return digest_of(json.dumps(value, sort_keys=True, default=repr))


def _named_files(words: Sequence[str], description: Optional[str]) -> Dict[str, str]:
    """Return the files that arguments name, such as a signing key."""
    found = {}
    # credentials change nothing, and a digest could be guessed
    for word in without_credentials(words):
        path = word.partition('=')[2] if word.startswith('-') else word
        if os.path.isfile(path):
            name = _portable(os.path.abspath(path), description)
            found[f'file {name}'] = digest_file(path)
    return found


def reasons_to_build(
    request: StackbuildRequest, target: Target, inputs: Inputs
) -> List[str]:
    """Return why the results of an earlier build will not do; nothing if they do."""
    if request.stash_as is not None:
        name = request.stash_as if ':' in request.stash_as else f'{request.stash_as}:latest'
        info = find_image(f'{LOCAL}/{name}')
        # what others built on a stash has its labels too
        told = decode_inputs(
            info.stash_labels.inputs or ''
        ) if info and is_own_stash(info) else None
        if told is None:
            return [f'no stash {name} that says what it was built of']
        reasons = changed_inputs(told, inputs) or list(_missing_archives(request.exports))
        if reasons or request.root_only:
            return reasons
    record = read_record(target.build_dir)
    if record is None:
        return [f'no record of an earlier build in {target.build_dir}']
    return changed_inputs(record.inputs, inputs) or _missing(target, record.results)


def _missing(target: Target, results: Mapping[str, Any]) -> List[str]:
    if not os.path.isdir(target.image_root):
        return [f'{target.image_root} is gone']
    there = find_results(target.path)
    return [
        f'{os.path.join(target.path, name)} is {"another" if name in there else "gone"}'
        for name, told in results.items() if there.get(name) != told
    ]


def _missing_archives(exports: Sequence[str]) -> Iterator[str]:
    for text in exports:
        transport, _, rest = text.partition(':')
        if transport != 'docker' and not os.path.exists(rest.partition(':')[0]):
            yield f'{text} is not there'
