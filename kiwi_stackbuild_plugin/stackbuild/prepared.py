# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi's prepare phase on a root that was prepared before.

With an extension only what that brings is done to the root, so that later edits
of the tree stay. Kiwi still gets the full description, and keeps it in the root.
"""
from __future__ import annotations

import copy
import logging
import os
import re
import stat
from contextlib import contextmanager
from types import MethodType
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from kiwi.system.prepare import SystemPrepare
from kiwi.system.root_import import base as root_import
from kiwi.system.setup import SystemSetup

from kiwi_stackbuild_plugin.description.extended import Script
from kiwi_stackbuild_plugin.description.facts import MANAGERS
from kiwi_stackbuild_plugin.description.merging import Place
from kiwi_stackbuild_plugin.host.tool_writes import rpm_database
from kiwi_stackbuild_plugin.packages.installed import installed_packages, missed_by_apt
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import after_load, join_bootstrap, swapped
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

log = logging.getLogger('kiwi')

#: methods of kiwi's SystemSetup that do to the root what a description says
_APPLYING = (
    'setup_groups', 'setup_users', 'setup_plymouth_splash', 'import_files',
    'import_image_identifier', 'setup_registry_import',
    'import_repositories_marked_as_imageinclude'
)
#: its methods that run a script in the prepare phase
_SCRIPTS = {
    'call_post_bootstrap_script': 'post_bootstrap.sh',
    'call_config_script': 'config.sh',
    'call_config_overlay_script': 'config-overlay.sh',
    'call_config_host_overlay_script': 'config-host-overlay.sh',
}
_INSTALLED = ('package', 'product', 'namedCollection')
#: a pattern, a file or a condition: for the package manager to understand
_NO_NAME = re.compile(r'[^\w.+:~-]')


class Preparation:
    """What of a description kiwi does to a root in its prepare phase.

    :param done: what in the description is done already
    :param scripts: what runs instead of a script in image/, None for nothing
    :param has_manager: packages of the description are installed already
    :param has_id: the identifier of the image is in the root already
    """

    def __init__(
        self, done: Sequence[Place] = (),
        scripts: Optional[Mapping[str, Optional[Script]]] = None,
        has_manager: bool = False, has_id: bool = False
    ) -> None:
        self.scripts = scripts or {}
        self._places = [
            place for place in done if has_manager or place.child not in _INSTALLED
        ]
        self._has_manager = has_manager
        self._has_id = has_id
        self._done: List[Tuple[Any, str, int]] = []

    def follow(self, task: Any) -> None:
        """Find what is done in each description that a kiwi task loads."""
        after_load(task, self._find)

    def _find(self, state: Any) -> None:
        self._done = [
            (getattr(state.xml_data, f'get_{place.section}')()[place.number],
             place.child.replace('-', '_'), place.position)
            for place in self._places
        ]

    def changes(self, state: Any) -> Any:
        """Return an XMLState like kiwi's, without what is done.

        Arguments of kiwi change its state after the loading, so it is made
        when kiwi begins.
        """
        found = copy.copy(state)
        found.xml_data = copy.copy(state.xml_data)
        for name in dict.fromkeys(place.section for place in self._places):
            sections = getattr(state.xml_data, f'get_{name}')()
            setattr(found.xml_data, name, [self._without(one) for one in sections])
        if self._has_id:
            found.xml_data.id = None
        in_image = [
            section for section, child, _ in self._done if not child
        ]

        def used_in_image(self: Any) -> List[Any]:
            return [
                one for one in type(state).get_repository_sections_used_in_image(state)
                if not any(one is old for old in in_image)
            ]

        found.get_repository_sections_used_in_image = MethodType(used_in_image, found)
        if vars(found).pop('get_packages_sections', None):
            join_bootstrap(found)
        return found

    def _without(self, section: Any) -> Any:
        """Return a section of kiwi's without what is done of it."""
        places: List[Tuple[str, int]] = [
            (child, index) for other, child, index in self._done
            if other is section and child
        ]
        if not places:
            return section
        rest = copy.copy(section)
        for name in {child for child, _ in places}:
            gone: Set[int] = {index for child, index in places if child == name}
            setattr(rest, name, [
                value for index, value in enumerate(getattr(section, name))
                if index not in gone
            ])
        return rest


@contextmanager
def prepared(preparation: Optional[Preparation]) -> Iterator[None]:
    """Let kiwi's tasks "system build" and "prepare" work on a root that is prepared.

    :param preparation: do nothing if there is none
    """
    if preparation is None:
        yield
        return
    from kiwi.tasks import system_build, system_prepare
    mine = {'preparation': preparation}
    prepare = type('SystemPrepare', (_Prepare,), mine)
    setup = type('SystemSetup', (_Setup,), {**mine, **dict(_setup_methods(preparation))})
    places: Sequence[Tuple[Any, str, Any]] = (
        (system_build, 'SystemPrepare', prepare),
        (system_build, 'SystemSetup', setup),
        (system_prepare, 'SystemPrepare', prepare),
        (system_prepare, 'SystemSetup', setup),
        (root_import, 'SystemSetup', setup),
    )
    with swapped(places):
        yield


class _Prepare(SystemPrepare):  # type: ignore[misc]
    """Installs what an extension brings; deletes what is there."""

    preparation: Preparation

    def __init__(self, xml_state: Any, *args: Any, **options: Any) -> None:
        self.xml_state: Any = None
        self.absent = _absent(args[0] if args else options['root_dir'])
        super().__init__(self.preparation.changes(xml_state), *args, **options)
        self.deleted = xml_state.get_to_become_deleted_packages(True)
        self.back: List[str] = []

    def install_system(self, manager: Any) -> None:
        """Install packages; apt needs those that were deleted by force."""
        state = self.xml_state
        if state.get_system_packages():
            self.bring_back(manager)
        if 'get_packages_sections' in vars(state):
            self.xml_state = copy.copy(state)
            ignored = ignored_packages(state, self.missing)
            self.xml_state.get_system_ignore_packages = lambda: ignored
        try:
            super().install_system(manager)
        finally:
            self.xml_state = state

    def missing(self, packages: Sequence[str]) -> bool:
        """Tell whether some of these packages are not installed."""
        manager = self.xml_state.get_package_manager()
        return _there(self.root_dir, manager, packages) != list(packages)

    def install_packages(self, manager: Any, packages: Sequence[str]) -> None:
        """Install packages that are named on the command line."""
        self.bring_back(manager)
        super().install_packages(manager, packages)

    def bring_back(self, manager: Any) -> None:
        """Have installed for now what the description deletes by force."""
        if self.xml_state.get_package_manager() == 'apt':
            missed = _missed(self.root_dir)
            for name in sorted(missed.intersection(self.deleted)):
                log.info('Installed and deleted again, apt needs it: %s', name)
                manager.request_package(name)
                self.back.append(name)

    def clean_package_manager_leftovers(self) -> None:
        """Remove the link of kiwi's from where this machine has its data base of rpm.

        In a new root it goes when the bootstrap phase ends.
        """
        super().clean_package_manager_leftovers()
        with opened_tree(self.root_dir) as root_fd:
            for name in self.absent:
                _remove_link(root_fd, name)

    def pinch_system(self, manager: Any = None, force: bool = False) -> None:
        """Delete packages, those that came back too."""
        state = self.xml_state
        self.xml_state = copy.copy(state)
        self.xml_state.get_to_become_deleted_packages = lambda forced=True: sorted({
            *state.get_to_become_deleted_packages(forced),
            *(self.back if forced else ())
        })
        try:
            super().pinch_system(manager, force)
        finally:
            self.xml_state = state

    def delete_packages(
        self, manager: Any, packages: Sequence[str], force: bool = False
    ) -> None:
        """Delete packages: what is not there needs no deletion."""
        there = _there(
            self.root_dir, self.xml_state.get_package_manager(), packages
        )
        if there:
            super().delete_packages(manager, there, force)


def ignored_packages(state: Any, missing: Callable[[Sequence[str]], bool]) -> List[str]:
    """Return what is not to be installed where the image phase does it all.

    What only the bootstrap phase is to do without may well be installed in the image
    phase. kiwi says it to no zypper.

    :param state: see kiwi_patches.join_bootstrap
    :param missing: whether some of these packages are not installed
    """
    def names(kind: str, sections: Sequence[Any]) -> Set[str]:
        return {
            one.get_name().strip() for section in sections
            for one in getattr(section, f'get_{kind}')()
            if state.package_matches_host_architecture(one)
        }

    def sections_of(*types: str) -> List[Any]:
        return list(type(state).get_packages_sections(state, types))

    image = sections_of('image', state.get_build_type_name())
    bootstrap = sections_of('bootstrap')
    ignored = names('ignore', image)
    if state.get_package_manager() != 'zypper' and missing(
        sorted(names('package', bootstrap))
    ):
        ignored |= names('ignore', bootstrap) - names('package', image)
    return sorted(ignored)


def _absent(root: str) -> List[str]:
    """Return where this machine has its data base of rpm if a root has nothing there."""
    # kiwi follows links on the way, and was refused a root where they lead out of it
    return [
        name for name in rpm_database() if not os.path.lexists(os.path.join(root, name))
    ]


def _remove_link(root_fd: int, name: str) -> None:
    directory, _, last = os.path.normpath(name).rpartition('/')
    try:
        fd = open_below(root_fd, os.fsencode(directory or '.'))
    except OSError:
        return
    try:
        if stat.S_ISLNK(os.stat(last, dir_fd=fd, follow_symlinks=False).st_mode):
            os.unlink(last, dir_fd=fd)
    except FileNotFoundError:
        pass
    finally:
        os.close(fd)


def _missed(root: str) -> Set[str]:
    with opened_tree(root) as root_fd:
        return missed_by_apt(root_fd)


def _there(root: str, manager: str, packages: Sequence[str]) -> List[str]:
    with opened_tree(root) as root_fd:
        found = installed_packages(root, root_fd, MANAGERS.get(manager, ('', ()))[0])
    if found is None:
        return list(packages)
    gone = [
        name for name in packages
        if name.strip() not in found and not _NO_NAME.search(name.strip())
    ]
    if gone:
        log.info('Not installed, needs no deletion: %s', ', '.join(gone))
    return [name for name in packages if name not in gone]


class _Setup(SystemSetup):  # type: ignore[misc]
    """Does to the root what an extension brings, and keeps the whole."""

    preparation: Preparation

    def __init__(self, xml_state: Any, root_dir: str) -> None:
        self.changes = self.preparation.changes(xml_state)
        super().__init__(self.changes, root_dir)
        self.xml_state = xml_state


def _setup_methods(preparation: Preparation) -> Iterator[Tuple[str, Any]]:
    """Yield those of kiwi's methods that do something else than for a new root."""
    for name in _APPLYING:
        if hasattr(SystemSetup, name):
            yield name, _applying(getattr(SystemSetup, name))
    for name, script in _SCRIPTS.items():
        if script in preparation.scripts:
            yield name, _running(
                getattr(SystemSetup, name), script, preparation.scripts[script]
            )


def _applying(method: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Any, *args: Any, **options: Any) -> Any:
        whole, self.xml_state = self.xml_state, self.changes
        try:
            return method(self, *args, **options)
        finally:
            self.xml_state = whole
    return apply


def _running(
    method: Callable[..., Any], name: str, script: Optional[Script]
) -> Callable[..., Any]:
    def run(self: Any, *args: Any, **options: Any) -> Any:
        with _in_place_of(self.root_dir, name, script):
            return method(self, *args, **options)
    return run


@contextmanager
def _in_place_of(root: str, name: str, script: Optional[Script]) -> Iterator[None]:
    """Have another script, or none, in image/ of a root for a block."""
    aside = f'.{name}.whole'
    with opened_tree(root) as root_fd:
        fd = open_below(root_fd, b'image')
    try:
        os.rename(name, aside, src_dir_fd=fd, dst_dir_fd=fd)
        try:
            if script is not None:
                _write(fd, name, script)
            yield
        finally:
            os.rename(aside, name, src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)


def _write(directory_fd: int, name: str, script: Script) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory_fd)
    with open(fd, 'wb') as out:
        out.write(script.content)
        os.fchmod(out.fileno(), script.mode)
