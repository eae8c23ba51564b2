# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that kiwi builds (types oci, docker) as layers on a stash.

Kiwi packs a container with umoci or buildah: unpack what it is derived from,
copy the root there, pack all of it. The object here has the interface of these
two classes of kiwi's (kiwi.oci_tools.base) and makes one small layer.
"""
from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from kiwi.defaults import Defaults
from kiwi.oci_tools.base import OCIBase
from kiwi.runtime_config import RuntimeConfig

from kiwi_stackbuild_plugin.description.origin import read_origin, take_moment, trusted_moment
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid, printable_path
)
from kiwi_stackbuild_plugin.host.mounts import find_mounts
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.container import (
    add_layers, apply_settings, first_config, inherited_config
)
from kiwi_stackbuild_plugin.image.image import (
    Document, ImageInfo, extras_of, is_rounded, stored_layers, timestamp
)
from kiwi_stackbuild_plugin.image.layout import make_layout
from kiwi_stackbuild_plugin.layer.blob import Layer, write_layer
from kiwi_stackbuild_plugin.layer.extras import amend, read_entry, split_xattrs
from kiwi_stackbuild_plugin.layer.protected import excluded_part, overlaid
from kiwi_stackbuild_plugin.overlay.changed import find_changed_and_excluded
from kiwi_stackbuild_plugin.packages.database_files import without_passing
from kiwi_stackbuild_plugin.stackbuild.kiwi_patches import with_container_tool
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.cleanup import open_space
from kiwi_stackbuild_plugin.storage.documents import (
    export_container, read_config, read_manifest, write_archive
)
from kiwi_stackbuild_plugin.storage.find import Sources, fetch_copy
from kiwi_stackbuild_plugin.storage.lower_layers import put_together, store_on_layers
from kiwi_stackbuild_plugin.tree.ahead import scan_ahead
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.opening import open_shown, opened_tree
from kiwi_stackbuild_plugin.tree.scan import Exclusion
from kiwi_stackbuild_plugin.tree.selection import make_exclusion, storable

log = logging.getLogger('kiwi')

STASH = 'stash'
_TOOLS = (STASH, 'umoci', 'buildah')
_KINDS = ('oci', 'docker')
#: podman mounts no image of many more
_MOST_LAYERS = 120
_NEVER = 2**63 - 1


@dataclass(frozen=True)
class ContainerPlan:
    """How a container is made.

    :param tool: one of _TOOLS, '' for what kiwi is configured to
    :param base: the stash that it is a layer on
    :param imported: config of the container that it is derived from, as JSON
        text, where that is the lowest layers of the stash
    :param needs_own: kiwi needs its own tool too, to import another container
    :param text: a line for people, '' where no container is made
    """

    tool: str = ''
    base: Optional[ImageInfo] = None
    imported: str = ''
    needs_own: bool = False
    text: str = ''


#: kiwi makes none, or does it as it is configured to
NO_PLAN = ContainerPlan()


def check_tool(text: Optional[str]) -> Optional[str]:
    """Check what --container-tool says.

    :raises KiwiStashArgumentInvalid: if it is none of the tools
    """
    if text is not None and text not in _TOOLS:
        raise KiwiStashArgumentInvalid(
            f'--container-tool {text!r} is not known', 'it is stash, umoci or buildah'
        )
    return text


def choose_tool(
    asked: Optional[str], state: Any, base: ImageInfo, imported: Optional[ImageInfo]
) -> ContainerPlan:
    """Return how a container is made of what is built, and say what was asked in vain.

    :param asked: --container-tool
    :param state: kiwi's XMLState of what is built
    :param imported: see derived_from.choose_import
    """
    kind = state.get_build_type_name()
    if asked and asked != STASH:
        return ContainerPlan(asked, text=f'{asked} packs it')
    if kind not in _KINDS:
        if asked:
            log.warning('--container-tool=%s: %s is no type of a container', asked, kind)
        return NO_PLAN
    why = _why_not(asked, state, base)
    if why:
        text = f'kiwi\'s own tool packs it, not as a layer on the stash: {why}'
        log.warning('Container: %s', text)
        return ContainerPlan(text=text)
    return ContainerPlan(
        STASH, base, (imported and imported.stash_labels.imported_root) or '',
        bool(state.get_derived_from_image_uri()) and not imported,
        f'one layer on the {len(base.layers)} of {base.display_name}'
    )


def _why_not(asked: Optional[str], state: Any, base: ImageInfo) -> str:
    if state.build_type.get_delta_root():
        return 'delta_root asks for the change alone'
    if not asked and not base.stash_labels.is_stash:
        return f'{base.display_name} is no stash (--container-tool=stash does it)'
    if len(base.layers) >= _MOST_LAYERS:
        return f'{base.display_name} has {len(base.layers)} layers'
    return ''


@contextmanager
def container_tool(plan: ContainerPlan) -> Iterator[None]:
    """Let kiwi make a container as planned, for a block."""
    with ExitStack() as held:
        def make(own: Callable[[], Any]) -> Any:
            base = plan.base and local.find_image(plan.base.image_id)
            if base:
                return StashContainer(base, plan.imported, held)
            log.warning(
                'Container: kiwi\'s own tool packs it, not as a layer on the stash: '
                '%s is no longer stored', plan.base and plan.base.display_name
            )
            return own()

        with with_container_tool(plan.tool, make, plan.needs_own):
            yield


class StashContainer:
    """A container in the making; the methods are those of kiwi's OCIBase.

    :param base: the stored image that it is a layer on
    :param imported: see ContainerPlan
    :param held: what ends with the container, or later where it is not finished
    """

    def __init__(self, base: ImageInfo, imported: str, held: ExitStack) -> None:
        self.creation_date = timestamp()
        self._base = base
        self._imported = imported
        self._held = held
        self._config: Document = {}
        self._container = ''
        self._layer: Optional[Layer] = None
        self._image_id = ''
        with self._working():
            self._space: Workspace = held.enter_context(
                open_space(Defaults.get_temp_location())
            )
            self._layout = os.path.join(self._space.path, 'layout')
            self._blob_dir = make_layout(self._layout)
            self._base_config = read_config(base.image_id)
            self._base_layers = stored_layers(
                read_manifest(base.image_id)['layers'], self._base_config
            )

    def __enter__(self) -> StashContainer:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Leave nothing behind if a block fails, or is ended by a signal."""
        with clean_exit():
            try:
                yield
            except BaseException:
                self._held.close()
                raise

    def init_container(self) -> None:
        """Begin a container that is derived from none."""
        self._config = first_config(self._base_config)

    def import_container_image(self, container_image_ref: str) -> None:
        """Begin a container that is derived from another one.

        :param container_image_ref: skopeo's reference, of an archive
        """
        with self._working():
            config: Document
            if self._imported:
                data = self._imported.encode('utf-8', 'surrogateescape')
                self._container = hashlib.sha256(data).hexdigest()
                config = json.loads(data)
                if local.find_added(self._space, self._container) is None:
                    put_together(self._space, self._base, data)
            else:
                self._container = fetch_copy(
                    container_image_ref, Sources(self._space), any_platform=True
                ).image_id
                config = read_config(self._container)
            self._config = inherited_config(config)

    def unpack(self) -> None:
        """Unpack nothing: what is below stays as it is stored."""

    def sync_rootfs(
        self, root_dir: str, exclude_list: Optional[Sequence[str]] = None
    ) -> None:
        """Write what the root has changed of the stash, and what is excluded, as a layer.

        :param exclude_list: patterns of rsync without their leading slash
        """
        log.info('Container: looking for what is not in %s', self._base.display_name)
        with self._working(), ExitStack() as stack:
            root_fd = stack.enter_context(opened_tree(root_dir))
            trees = _Trees(
                root_dir, root_fd, open_shown(stack, local.tree_of(self._space, self._base)),
                open_shown(stack, local.mounted(
                    self._space, self._container
                )) if self._container else None
            )
            delta = trees.compare(self._base, exclude_list or ())
            if not delta.is_empty:
                self._layer = write_layer(
                    self._blob_dir, root_fd, delta.removed, delta.changes,
                    elsewhere=trees.elsewhere
                )
        size = self._layer.tar_size if self._layer else 0
        log.info(
            'Container: one layer of %d kB on %d of %s', (size + 1023) // 1024,
            len(self._base.layers), self._base.display_name
        )

    def import_rootfs(
        self, root_dir: str, exclude_list: Optional[List[str]] = None
    ) -> None:
        """Copy the container that this one is derived from into a root."""
        if not self._container:
            raise KiwiStashDescriptionInvalid('no container was imported to be copied')
        with self._working(), local.mounted(self._space, self._container) as path:
            OCIBase._sync_data(
                os.path.join(path, ''), root_dir, exclude_list=exclude_list,
                options=Defaults.get_sync_options()
            )

    def repack(self, oci_config: Mapping[str, Any]) -> None:
        """Put the layer into the config, with its history."""
        self._config = add_layers(
            self._config, self._base_config,
            self._layer.diff_id if self._layer else None, oci_config, self.creation_date
        )

    def set_config(self, oci_config: Mapping[str, Any]) -> None:
        """Put what the description says of the container into the config."""
        self._config = apply_settings(self._config, oci_config, self.creation_date)

    def post_process(self) -> None:
        """Put the container together in the storage, without a name and for now."""
        with self._working():
            self._image_id, _ = store_on_layers(
                self._space, self._layout, self._config, self._base_layers, self._layer, {}
            )

    def export_container_image(
        self, filename: str, transport: str, image_ref: str,
        additional_names: Optional[Sequence[str]] = None
    ) -> None:
        """Write the archive, and end what was held for it.

        :param transport: docker-archive or oci-archive
        """
        log.info('Container: writing %s', filename)
        with self._working():
            if os.path.lexists(filename):
                os.unlink(filename)
            if transport == 'oci-archive':
                write_archive(self._space, self._image_id, filename, image_ref)
            else:
                export_container(
                    self._image_id, transport, filename, image_ref, additional_names or ()
                )
            self._held.close()
        if RuntimeConfig().get_container_compression():
            log.info(
                'kiwi packs the archive with xz now, which takes longer than all before; '
                'not with "compress: none" below "container:" in its runtime config'
            )


class _Trees:
    """The root, what is below it, and the container that it is derived from.

    elsewhere: files that are taken from the container, with its root
    """

    def __init__(
        self, root_dir: str, root_fd: int, base_fd: int, container_fd: Optional[int]
    ) -> None:
        self._root_dir = root_dir
        self._root_fd = root_fd
        self._base_fd = base_fd
        self._container_fd = container_fd
        self.elsewhere: Dict[bytes, int] = {}
        self._aside: Dict[bytes, Entry] = {}

    def compare(self, base: ImageInfo, patterns: Sequence[str]) -> Delta:
        """Return what turns the base into the container."""
        extras = extras_of(base)
        exclusion = make_exclusion(patterns, find_mounts(self._root_dir))
        both = find_changed_and_excluded(
            self._root_dir, self._root_fd, self._base_fd, base, patterns, exclusion
        ) if self._container_fd is None else None
        there, found, trust = (
            iter(both[0]), iter(both[1]), Trust(None, is_rounded(base))
        ) if both else (
            amend(scan_ahead(self._base_fd), extras), self._scanned(exclusion),
            self._trust_in(base)
        )
        delta = without_passing(compare(
            there, storable(_warned_of(found), _warn, local.longest_path),
            self._same_content, trust
        ), lambda path: read_entry(self._base_fd, path, extras))
        return Delta(delta.removed, tuple(
            change._replace(entry=self._aside.get(change.entry.path, change.entry))
            for change in delta.changes
        ))

    def _trust_in(self, base: ImageInfo) -> Trust:
        moment = self._moment(base)
        is_younger = moment is None or os.fstat(self._root_fd).st_ctime_ns >= moment
        return Trust(moment, is_rounded(base), is_younger)

    def _moment(self, base: ImageInfo) -> Optional[int]:
        """Return up to when root and base are known to agree, None for unknown."""
        origin = read_origin(self._root_fd)
        if origin is None or origin.image != base.image_id:
            return None
        return trusted_moment(origin, self._root_fd, take_moment(self._root_fd))

    def _scanned(self, exclusion: Exclusion) -> Iterator[Entry]:
        """Yield what the container has to have."""
        found = scan_ahead(self._root_fd, exclusion)
        if self._container_fd is None:
            return found
        stays = excluded_part(scan_ahead(self._container_fd), exclusion)
        return overlaid(found, self._of_container(stays, self._container_fd))

    def _of_container(self, entries: Iterator[Entry], fd: int) -> Iterator[Entry]:
        """Pass on entries such that no ctime of them is trusted."""
        for entry in entries:
            if not entry.is_file:
                yield entry
                continue
            self.elsewhere[entry.path] = fd
            self._aside[entry.path] = entry
            yield entry._replace(stat=entry.stat._replace(st_ctime_ns=_NEVER))

    def _same_content(self, path: bytes) -> bool:
        return ContentComparer(
            self._base_fd, self.elsewhere.get(path, self._root_fd)
        )(path)


def _warned_of(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Pass entries on; name those with attributes that no layer can hold."""
    for entry in entries:
        if entry.xattrs and split_xattrs(entry.xattrs)[1]:
            _warn(entry.path, 'its extended attributes, which no layer can hold')
        yield entry


def _warn(path: bytes, why: str) -> None:
    log.warning('not in the container: %s: %s', printable_path(path), why)
