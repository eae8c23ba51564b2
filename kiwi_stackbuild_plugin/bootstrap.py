# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a description that bootstraps a root build on one that is there.

Kiwi's bootstrap phase unpacks packages from outside of the root. Done again
over a Debian root whose /bin is a link to usr/bin that breaks it, and it is of
no use where the root has its package manager: then the image phase, inside of
the root, installs the packages of both.
"""
from __future__ import annotations

import logging
import os
from types import MethodType
from typing import Any, Callable, List, Sequence

from kiwi_stackbuild_plugin.base_facts import MANAGERS, BaseFacts
from kiwi_stackbuild_plugin.tree import open_below

log = logging.getLogger('kiwi')

_BOOTSTRAP = 'bootstrap'
_IMAGE = 'image'
_DPKG, _STATUS, _KIWI_STATUS = b'var/lib/dpkg', 'status', 'status.kiwi'


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


def show_installed(root_fd: int) -> None:
    """Let apt, as kiwi calls it in a root, see what dpkg has installed there.

    Kiwi 10 and later name it a status file of their own, which is empty after
    the bootstrap phase: without that phase apt would install everything again.
    """
    try:
        fd = open_below(root_fd, _DPKG)
    except OSError:
        return
    try:
        if os.access(_STATUS, os.R_OK, dir_fd=fd):
            if os.path.lexists(f'/proc/self/fd/{fd}/{_KIWI_STATUS}'):
                os.unlink(_KIWI_STATUS, dir_fd=fd)
            os.symlink(_STATUS, _KIWI_STATUS, dir_fd=fd)
    finally:
        os.close(fd)


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
