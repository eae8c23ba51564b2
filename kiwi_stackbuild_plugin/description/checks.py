# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a description fit the stashes it is built on? Asked before any work."""
from __future__ import annotations

import logging
import os
import re
from typing import Any, Mapping, Sequence, Set

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.description.description import parse_xml
from kiwi_stackbuild_plugin.description.facts import MANAGERS, BaseFacts, is_bootstrapped
from kiwi_stackbuild_plugin.description.names import applying, find_missing
from kiwi_stackbuild_plugin.host.errors import KiwiStashDescriptionInvalid
from kiwi_stackbuild_plugin.host.text import without_login
from kiwi_stackbuild_plugin.image.image import ImageInfo, oci_architecture

log = logging.getLogger('kiwi')

#: words of repository addresses that tell for which distribution it is
_DISTRIBUTIONS = (
    'debian', 'ubuntu', 'devuan', 'fedora', 'centos', 'rocky', 'almalinux',
    'rhel', 'opensuse', 'sle', 'mageia', 'archlinux', 'alpine'
)
#: suites of Debian and its kin that are not a codename
_MOVING_SUITES = {'stable', 'oldstable', 'testing', 'unstable', 'sid', 'experimental'}


def check_architecture(
    images: Sequence[ImageInfo], global_args: Mapping[str, Any]
) -> None:
    """Compare the architecture of stashes with the one to build for.

    :raises KiwiStashDescriptionInvalid: naming the stash that is of another
    """
    machine = global_args.get('--target-arch') or Defaults.get_platform_name()
    wanted = oci_architecture(machine)
    for image in images:
        if image.architecture and image.architecture != wanted:
            raise KiwiStashDescriptionInvalid(
                f'{image.display_name} is a root tree for {image.architecture}, '
                f'the image is to be built for {machine} ({wanted})',
                'build on a machine of that kind, or see --target-arch of kiwi-ng'
            )


def check_packages(state: Any, facts: BaseFacts, base: str) -> bool:
    """Compare what a description installs with and from with the base.

    :param state: kiwi's XMLState of the description
    :param base: name of the base, for messages
    :returns: whether the base has the package manager that is asked for
    :raises KiwiStashDescriptionInvalid: for packages of another format
    """
    manager = state.get_package_manager()
    if is_bootstrapped(facts, manager):
        _warn_of_distribution(state, facts, base)
        _warn_of_release(state, facts, base)
        return True
    wanted = MANAGERS.get(manager, ('', ()))[0]
    if wanted and facts.formats and wanted not in facts.formats:
        present = ', '.join(sorted(facts.managers or facts.formats))
        raise KiwiStashDescriptionInvalid(
            f'the description installs with {manager}, {base} has {present}',
            'choose a stash of the same kind of distribution'
        )
    _warn_of_release(state, facts, base)
    log.warning(
        '%s has no %s: kiwi bootstraps into what is there', base, manager
    )
    return False


def check_files(state: Any, path: str, shown: str) -> None:
    """Look for the files that a full description names.

    :param state: kiwi's XMLState of it
    :param path: of its text with nothing included any more
    :param shown: its file, for messages
    :raises KiwiStashDescriptionInvalid: one is not there that kiwi asks for in the end
    """
    with open(path, 'rb') as source:
        image = parse_xml(source.read(), shown)
    for name in find_missing(
        image, os.path.dirname(shown),
        applying(state.profiles or (), state.get_build_type_name())
    ):
        if name.is_needed:
            raise KiwiStashDescriptionInvalid(
                f'{shown}: Specified {name.element.tag} {name.value} does not exist'
            )
        log.warning('The description names %s: is not there', name.shown)


def _warn_of_release(state: Any, facts: BaseFacts, base: str) -> None:
    """Warn of a <release-version> that is not the release of the base.

    9 is the release of a 9.4, and the other way round; names say nothing.
    """
    wanted = state.get_release_version() or ''
    one, two = (
        re.findall(r'\d+', text) if re.match(r'[\d.]+$', text) else []
        for text in (wanted, facts.version)
    )
    if any(left != right for left, right in zip(one, two)):
        log.warning(
            '%s is %s %s, the description is for release version %s',
            base, facts.distribution, facts.version, wanted
        )


def _warn_of_distribution(state: Any, facts: BaseFacts, base: str) -> None:
    """Warn of repositories that are for another distribution than the base."""
    known = {facts.distribution, *facts.related}
    for repository in state.get_repository_sections_used_for_build():
        address = repository.get_source().get_path().lower()
        named = _distributions_in(address)
        if named and facts.distribution and not any(
            name.startswith(word) or word.startswith(name)
            for name in known if name for word in named
        ):
            log.warning(
                '%s is %s, the repository %s looks like one for %s',
                base, facts.distribution, without_login(address),
                ' or '.join(sorted(named))
            )
        suite = re.split('[-/]', repository.get_distribution() or '')[0]
        if suite and facts.codename and suite != facts.codename and (
            suite not in _MOVING_SUITES
        ):
            log.warning(
                '%s is %s %s, the repository %s is for %s', base,
                facts.distribution, facts.codename, without_login(address), suite
            )


def _distributions_in(address: str) -> Set[str]:
    words = set(re.findall('[a-z]+', address))
    return words.intersection(_DISTRIBUTIONS)
