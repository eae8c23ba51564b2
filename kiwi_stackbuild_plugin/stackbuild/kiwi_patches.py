# SPDX-License-Identifier: GPL-3.0-or-later
"""All that we change in kiwi for the time of a build, in one place.

Each is undone at the end of its block, and each has a test that runs on every
kiwi family. prepared has the classes that stand in for kiwi's on a root that was
prepared before.

Kiwi's bootstrap phase unpacks packages from outside of the root. Done again
over a Debian root whose /bin is a link to usr/bin that breaks it, and it is of
no use where the root has its package manager: then the image phase, inside of
the root, installs the packages of both.
"""
from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager, suppress
from string import Template
from types import MethodType, SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import kiwi.container.oci
import kiwi.system.prepare
from kiwi.command import Command
from kiwi.exceptions import KiwiCommandError, KiwiRuntimeError
from kiwi.package_manager.pacman import PackageManagerPacman
from kiwi.path import Path
from kiwi.repository.template.apt import PackageManagerTemplateAptGet
from kiwi.runtime_checker import RuntimeChecker
from kiwi.runtime_config import RuntimeConfig
from kiwi.system.setup import SystemSetup
from kiwi.utils.rpm_database import RpmDataBase
from lxml import isoschematron

from kiwi_stackbuild_plugin.description.schema import expanded_rules
from kiwi_stackbuild_plugin.host.errors import printable_path
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.directories import open_layers
from kiwi_stackbuild_plugin.tree.ahead import read_ahead
from kiwi_stackbuild_plugin.tree.opening import open_below, opened_tree

log = logging.getLogger('kiwi')

_BOOTSTRAP = 'bootstrap'
_IMAGE = 'image'
_FILE_SYSTEM = 'check_target_dir_on_unsupported_filesystem'
#: a check of kiwi's that depends on how a container is made
TOOL_CHAIN = 'check_container_tool_chain_installed'


@contextmanager
def swapped(places: Sequence[Tuple[Any, str, Any]]) -> Iterator[None]:
    """Have other values for attributes of kiwi's modules for a block.

    :param places: module, attribute, value
    """
    originals = [getattr(module, name) for module, name, _ in places]
    for module, name, new in places:
        setattr(module, name, new)
    try:
        yield
    finally:
        for (module, name, _), original in zip(places, originals):
            setattr(module, name, original)


@contextmanager
def rules_compiled_once() -> Iterator[None]:
    """Have kiwi compile the rules of its schema once, for all descriptions of a block.

    It does so for each that it reads, which takes longer than all the rest of it.
    """
    make = isoschematron.Schematron
    compiled: Dict[Any, Any] = {}

    def schematron(schema: Any, **options: Any) -> Any:
        key = (schema.docinfo.URL, *sorted(options.items()))
        if key not in compiled:
            compiled[key] = make(
                expanded_rules(schema), include=False, expand=False, **options
            )
        return compiled[key]

    with swapped([(isoschematron, 'Schematron', schematron)]):
        yield


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
    with swapped([
        (template, 'get_host_template', _template_with_status(template.get_host_template)),
        (pacman, 'process_install_requests', _synchronized(pacman.process_install_requests))
    ] if active else []):
        yield


@contextmanager
def with_database_links() -> Iterator[None]:
    """Have kiwi replace a link of its own to rpm's data base that leads nowhere, for a block.

    Where the build host has the data base elsewhere than the root, kiwi makes a link
    in the root. One that leads nowhere, as an earlier kiwi on another host leaves it, is
    in its way.
    """
    original = RpmDataBase.link_database_to_host_path

    def link(self: Any) -> None:
        try:
            original(self)
        except KiwiCommandError:
            path = self.rpmdb_host.expand_query('%_dbpath')
            if not _remove_dangling(self.root_dir, os.fsencode(path).strip(b'/')):
                raise
            original(self)

    with swapped([(RpmDataBase, 'link_database_to_host_path', link)]):
        yield


@contextmanager
def verified_ahead(info: ImageInfo) -> Iterator[None]:
    """Have an image's files read ahead, in a block, while kiwi has packages verified.

    dpkg and rpm read all of a root for that, one file after the other. A root that was
    copied is in the page cache; an overlay on the image is not.
    """
    verify = SystemSetup.export_package_verification

    def export_package_verification(self: SystemSetup, target_dir: str) -> str:
        with open_layers(info) as layers, read_ahead(layers[::-1]):
            told: str = verify(self, target_dir)
        return told

    with swapped([(SystemSetup, 'export_package_verification', export_package_verification)]):
        yield


def _remove_dangling(root: str, path: bytes) -> bool:
    """Remove a link below a root that leads nowhere; tell whether it was one."""
    parent, _, name = path.rpartition(b'/')
    try:
        with opened_tree(root) as root_fd:
            fd = open_below(root_fd, parent)
    except OSError:
        return False
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            return False
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=fd)
            return False
        os.unlink(name, dir_fd=fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    log.info('%s led nowhere in the root tree: made anew', printable_path(path))
    return True


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


@contextmanager
def without_import(active: bool) -> Iterator[None]:
    """Keep kiwi from importing the container over a root that has it.

    :param active: do nothing if not
    """
    def new(*_: Any) -> Any:
        log.info('The root has the container it is derived from already')
        return SimpleNamespace(
            sync_data=lambda: None, overlay_finalize=lambda state: None
        )

    with swapped([
        (kiwi.system.prepare, 'RootImport', SimpleNamespace(new=new))
    ] if active else []):
        yield


@contextmanager
def with_container_tool(
    tool: str, make: Callable[[Callable[[], Any]], Any], needs_own: bool
) -> Iterator[None]:
    """Have containers made by another tool than kiwi is configured to, for a block.

    :param tool: 'stash' for what make gives, another one of kiwi's, '' for its own
    :param make: called where kiwi wants a tool to make a container with, gets
        what gives kiwi's
    :param needs_own: kiwi needs its own as well, and may look whether it is there
    """
    places: List[Tuple[Any, str, Any]] = []
    if tool == 'stash':
        original = kiwi.container.oci.OCI
        places.append((kiwi.container.oci, 'OCI', SimpleNamespace(
            new=lambda: make(original.new)
        )))
        if not needs_own:
            places.append((RuntimeChecker, TOOL_CHAIN, lambda self: None))
    elif tool:
        places.append((RuntimeConfig, 'get_oci_archive_tool', lambda self: tool))
    with swapped(places):
        yield


@contextmanager
def warning_of_file_system(task: Any) -> Iterator[None]:
    """Have kiwi warn of a target it would refuse for its file system, for a block.

    Kiwi goes by a list of names. What this tree needs, and the target does not
    take, was tried and named when the tree was copied there.
    """
    run_checks = task.run_checks

    def run(checks: Mapping[str, List[str]]) -> None:
        directories = checks.get(_FILE_SYSTEM)
        run_checks({name: args for name, args in checks.items() if name != _FILE_SYSTEM})
        if directories:
            try:
                run_checks({_FILE_SYSTEM: directories})
            except KiwiRuntimeError:
                log.warning(
                    '%s is on a file system that kiwi does not know to keep all '
                    'attributes: what is lost of the stash was named', directories[0]
                )

    task.run_checks = run
    try:
        yield
    finally:
        del task.run_checks
