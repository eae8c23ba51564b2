# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a description that bootstraps a root build on one that is there.

Kiwi's bootstrap phase unpacks packages from outside of the root. Done again
over a Debian root whose /bin is a link to usr/bin that breaks it, and it is of
no use where the root has its package manager: then the image phase, inside of
the root, installs the packages of both.
"""
from __future__ import annotations

import logging
from contextlib import contextmanager
from string import Template
from types import MethodType
from typing import Any, Callable, Iterator, List, Sequence

from kiwi.command import Command
from kiwi.package_manager.pacman import PackageManagerPacman
from kiwi.path import Path
from kiwi.repository.template.apt import PackageManagerTemplateAptGet

from kiwi_stackbuild_plugin.description.facts import MANAGERS, BaseFacts

log = logging.getLogger('kiwi')

_BOOTSTRAP = 'bootstrap'
_IMAGE = 'image'


def is_bootstrapped(facts: BaseFacts, manager: str) -> bool:
    """Tell whether kiwi's package manager can work inside of a root."""
    return manager in facts.managers and (
        MANAGERS[manager][0] in facts.formats
    )


def skip_bootstrap(task: Any) -> None:
    """Make a kiwi build task install bootstrap packages in the image phase.

    The description itself stays as it was written: kiwi copies it into the
    root, where it is the record of how the root was built.

    :param task: kiwi's SystemBuildTask, not started yet
    """
    log.info('The package manager is there: no bootstrap, all is installed by it')
    after_load(task, join_bootstrap)
    words = task.command_args
    words['--add-package'] = list(words.get('--add-package') or []) + list(
        words.get('--add-bootstrap-package') or []
    )
    words['--add-bootstrap-package'] = []


def after_load(task: Any, function: Callable[[Any], None]) -> None:
    """Call a function with kiwi's XMLState when a task has read a description."""
    load = task.load_xml_description

    def load_description(*args: Any, **options: Any) -> None:
        load(*args, **options)
        function(task.xml_state)

    task.load_xml_description = load_description


@contextmanager
def without_bootstrap(active: bool) -> Iterator[None]:
    """Have kiwi's package managers do without a bootstrap phase for a block.

    What that phase leaves to the image phase, and nothing else does:

    - kiwi 10 and later name apt a status file of their own, which is empty
      then: apt would install everything again
    - pacman does not read what a repository has but in that phase

    :param active: do nothing if not
    """
    template, pacman = PackageManagerTemplateAptGet, PackageManagerPacman
    originals = template.get_host_template, pacman.process_install_requests
    if active:
        template.get_host_template = _template_with_status(originals[0])
        pacman.process_install_requests = _synchronized(originals[1])
    try:
        yield
    finally:
        template.get_host_template, pacman.process_install_requests = originals


def _template_with_status(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name apt dpkg's own status file."""
    def get_host_template(self: Any, *args: Any, **options: Any) -> Template:
        text: str = original(self, *args, **options).template
        return Template(text.replace('/status.kiwi"', '/status"'))
    return get_host_template


def _synchronized(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have pacman fetch the databases of the repositories first."""
    def process_install_requests(self: Any) -> Any:
        Command.run([
            'chroot', self.root_dir, 'pacman',
            *Path.move_to_root(self.root_dir, self.pacman_args), '-Sy'
        ], self.command_env)
        return original(self)
    return process_install_requests


def join_bootstrap(state: Any) -> None:
    """Have kiwi's XML state give the bootstrap sections as image sections.

    All it tells about packages, archives and files goes through this one
    method, in kiwi 9.24 to 11.
    """
    of_types = type(state).get_packages_sections

    def get_packages_sections(self: Any, types: Sequence[str]) -> List[Any]:
        names = [name for name in types if name != _BOOTSTRAP]
        sections = list(of_types(self, names))
        if _IMAGE in names:
            sections += of_types(self, [_BOOTSTRAP])
        return sections

    state.get_packages_sections = MethodType(get_packages_sections, state)
