# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash": store a root tree as a layer on the image it came from."""
from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.description.description import (
    RootDescription, read_root_description
)
from kiwi_stackbuild_plugin.description.links import RootWork, warn_of_links
from kiwi_stackbuild_plugin.description.origin import take_moment, write_origin
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashDescriptionInvalid, printable, printable_path
)
from kiwi_stackbuild_plugin.host.locks import locked
from kiwi_stackbuild_plugin.host.progress import ProgressMeter
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import container_layers, timestamp
from kiwi_stackbuild_plugin.image.layout import make_layout
from kiwi_stackbuild_plugin.image.reference import check_stash_name
from kiwi_stackbuild_plugin.layer.blob import Layer, write_layer
from kiwi_stackbuild_plugin.layer.extras import (
    Extras, can_carry, encode, watch, with_holes, with_times
)
from kiwi_stackbuild_plugin.stash.base import (
    Base, chain_is_beyond_use, chain_is_full, chain_limit, container_below,
    imported_label, resolve_base
)
from kiwi_stackbuild_plugin.stash.changes import find_changes, last_time, verify
from kiwi_stackbuild_plugin.stash.diff import (
    compare_with_base, difference_document, format_dry_run
)
from kiwi_stackbuild_plugin.stash.export import Copying, check_exports, check_signing, export_all
from kiwi_stackbuild_plugin.stash.index import IndexWriter
from kiwi_stackbuild_plugin.stash.new_image import (
    NewImage, files_with_holes, parse_labels, root_extra, store_image
)
from kiwi_stackbuild_plugin.stash.report import stash_summary, times_summary
from kiwi_stackbuild_plugin.stash.sbom import keep_documents
from kiwi_stackbuild_plugin.stash.source import RootTree, open_root, report_findings
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.access import (
    DEFAULT_ACCESS, NOT_SIGNED, Access, Signing
)
from kiwi_stackbuild_plugin.storage.cleanup import open_space, sweep
from kiwi_stackbuild_plugin.storage.directories import storage_key
from kiwi_stackbuild_plugin.storage.documents import ImageDocuments
from kiwi_stackbuild_plugin.storage.find import Policy, Sources
from kiwi_stackbuild_plugin.storage.local import longest_path
from kiwi_stackbuild_plugin.tree.ahead import ScanAhead
from kiwi_stackbuild_plugin.tree.chance import EMPTIED
from kiwi_stackbuild_plugin.tree.delta import Change, Delta, whole_tree
from kiwi_stackbuild_plugin.tree.entry import Entry
from kiwi_stackbuild_plugin.tree.scan import tree_size
from kiwi_stackbuild_plugin.tree.times import ByteCode, Times, clamp, empty

log = logging.getLogger('kiwi')


@dataclass(frozen=True)
class StashRequest:
    """What "system stash" was asked for; fields are its options.

    :param inputs: the record of what the tree was built of, where that is known
    """

    root: str
    container_name: Optional[str] = None
    tag: str = 'latest'
    base: Optional[str] = None
    no_base: bool = False
    labels: Tuple[str, ...] = ()
    exports: Tuple[str, ...] = ()
    dry_run: bool = False
    form: Optional[str] = None
    strict: bool = False
    verify: bool = False
    ignore_times: bool = False
    inputs: Optional[str] = None
    clamp_mtime: bool = False
    reproducible: bool = False
    access: Access = DEFAULT_ACCESS
    signing: Signing = NOT_SIGNED
    sbom: bool = False


@dataclass(frozen=True)
class _Job:
    """A stash being made: what was asked for, the tree, and where to work."""

    request: StashRequest
    name: str
    tree: RootTree
    description: RootDescription
    space: Workspace
    started: float
    moment: Optional[int]
    index: IndexWriter
    ahead: ScanAhead
    extras: Extras = field(default_factory=dict)
    #: mtimes, in nanoseconds: the last one stored, and those that stay beyond it
    last_time: Optional[int] = None
    exempt: Dict[bytes, int] = field(default_factory=dict)

    def entries(
        self, findings: List[Tuple[bytes, str]], base: Optional[Base] = None,
        some: Optional[Iterator[Entry]] = None
    ) -> Iterator[Entry]:
        """Scan what is stored; what a label must keep goes into extras.

        :param some: what a scan would find, as far as it may differ from the base
        """
        findings.clear()
        self.extras.clear()
        found = some or self.ahead.entries(self.index.begin())
        entries = self.tree.entries(findings, longest_path, found)
        if self.request.reproducible:
            entries = empty(entries, EMPTIED)
        if self.last_time is not None:
            entries = clamp(entries, self.last_time, ByteCode(self.tree.fd), self.exempt)
        return watch(entries, self.extras, _is_lossy(base))

    def times(self, delta: Optional[Delta]) -> Times:
        """Return the times of the image that the scan and a delta make."""
        return Times(
            self.last_time, {**self.exempt, **(delta.kept_times if delta else {})},
            EMPTIED if self.request.reproducible else frozenset()
        )


@clean_exit()
def stash(request: StashRequest, root_is_ours: bool = False) -> str:
    """Store a root tree in podman's storage.

    :param root_is_ours: the caller holds the lock of the root tree
    :returns: text for the user: what a dry run found, else nothing
    :raises KiwiStackBuildError: with nothing stored and the tree as it was
    """
    started = time.monotonic()
    extra = parse_labels(request.labels)
    latest = _check_request(request)
    with ExitStack() as stack:
        tree = _open_tree(request, stack)
        description = read_root_description(tree.fd)
        name = _stash_name(request, tree, description)
        _warn_early(tree, description)
        local.require_storage_tools()
        temp_dir = Defaults.get_temp_location()
        if not root_is_ours:
            stack.enter_context(locked('the root tree', os.path.realpath(tree.path)))
        stack.enter_context(locked('the stash', name, storage_key()))
        sweep([temp_dir])
        space = stack.enter_context(open_space(temp_dir))
        job = _Job(
            request, name, tree, description or RootDescription(), space,
            started, take_moment(tree.fd),
            IndexWriter(os.path.join(space.path, 'index'), tree.exclusion),
            stack.enter_context(closing(
                ScanAhead(tree.fd, tree.exclusion, not tree.is_overlay)
            )), last_time=latest
        )
        stack.callback(job.index.close)
        base = resolve_base(
            Sources(space, Policy(access=request.access)), tree.fd, name,
            request.base, request.no_base, job.moment
        )
        documents = stack.enter_context(closing(
            ImageDocuments(base.info.image_id)
        )) if base else None
        return _store_tree(job, base, documents, extra)


def _check_request(request: StashRequest) -> Optional[int]:
    """Check what can be before a tree is read; return the last time to be stored."""
    check_exports(request.exports)
    check_signing(request.signing, request.exports)
    chain_limit()
    timestamp()
    return last_time(request.ignore_times, request.no_base, request.clamp_mtime)


def _open_tree(request: StashRequest, stack: ExitStack) -> RootTree:
    tree = stack.enter_context(open_root(request.root))
    return tree.without_chance() if request.reproducible else tree


def _warn_early(tree: RootTree, description: Optional[RootDescription]) -> None:
    """Say now what a build from the stash would miss, or refuse, as far as is known."""
    if description is None:
        return
    for line in description.elsewhere:
        log.warning('The stash will not have %s', printable(line))
    warn_of_links(tree.path, tree.path, RootWork(
        manager=description.package_manager or None,
        image=description.build_type or None
    ))


def _stash_name(
    request: StashRequest, tree: RootTree,
    description: Optional[RootDescription]
) -> str:
    """Return name:tag of the stash to be written."""
    if request.container_name is not None:
        check_stash_name(request.container_name, request.tag, '--container-name')
        return f'{request.container_name}:{request.tag}'
    if description is None:
        raise KiwiStashDescriptionInvalid(
            f'root tree {tree.path!r} has no image/config.xml to take a name from',
            'give one with --container-name'
        )
    name = description.name.lower()
    check_stash_name(name, request.tag, "the image description's name")
    return f'{name}:{request.tag}'


def _store_tree(
    job: _Job, base: Optional[Base], documents: Optional[ImageDocuments],
    extra: Dict[str, str]
) -> str:
    findings: List[Tuple[bytes, str]] = []
    if base and chain_is_beyond_use(base.info):
        base = documents = None
    delta = _find_changes(job, base, findings) if base else None
    if base and delta and not delta.is_empty and chain_is_full(base.info):
        lower = container_below(job.space, base.info, imported_label(
            job.tree.fd
        ).get(labels.IMPORTED_ROOT) or base.info.stash_labels.imported_root or '')
        if lower is None:
            return _store_changes(job, None, None, None, extra, findings)
        with closing(ImageDocuments(lower.info.image_id)) as documents:
            delta = _find_changes(job, lower, findings)
            return _store_changes(job, lower, delta, documents, extra, findings)
    return _store_changes(job, base, delta, documents, extra, findings)


def _store_changes(
    job: _Job, base: Optional[Base], delta: Optional[Delta],
    documents: Optional[ImageDocuments], extra: Dict[str, str],
    findings: List[Tuple[bytes, str]]
) -> str:
    """Store a delta on a base, or without one the whole tree."""
    if delta is None:
        log.info('Stashing %s as a whole', job.tree.path)
    changes: Iterable[Change] = delta.changes if delta else whole_tree(job.entries(findings))
    removed = delta.removed if delta else ()
    if job.request.dry_run:
        difference = compare_with_base(
            job.space, job.name, job.tree.fd, base, removed, tuple(changes),
            len(delta.kept_times) if delta else 0
        )
        _extras_label(job, base, delta, (), findings)
        report_findings(findings, job.request.strict)
        return difference_document(difference) if job.request.form == 'json' \
            else format_dry_run(difference, base)
    layout = os.path.join(job.space.path, 'layout')
    layer = None if delta and delta.is_empty else _write_layer(
        job, make_layout(layout), removed, changes
    )
    holes = files_with_holes(base, delta, layer)
    extra = {
        **extra, **_xattrs_label(base), **_imported_label(job, base),
        labels.EXTRAS: _extras_label(job, base, delta, holes, findings),
        labels.INPUTS: job.request.inputs or _inputs_label(base, layer)
    }
    report_findings(findings, job.request.strict)
    image_id, digest = store_image(
        NewImage(
            job.name, job.description, os.fstat(job.tree.fd), base, layer, extra,
            documents
        ), job.space, layout
    )
    _publish(job, image_id, digest, base, layer, delta)
    return ''


def _inputs_label(base: Optional[Base], layer: Optional[Layer]) -> str:
    """Return what a tree was built of that is still the same as its base."""
    return base.info.stash_labels.inputs or '' if base and layer is None else ''


def _is_lossy(base: Optional[Base]) -> bool:
    """Tell whether the storage will lose attributes of what is in the base."""
    return base is not None and base.info.lossy_storage


def _xattrs_label(base: Optional[Base]) -> Dict[str, str]:
    """Return the label that says whether the extras have all attributes."""
    if _is_lossy(base):
        return {labels.XATTRS: 'all'}
    # what a base says would be inherited
    return {labels.XATTRS: ''} if base and base.info.stash_labels.all_xattrs else {}


def _extras_label(
    job: _Job, base: Optional[Base], delta: Optional[Delta], holes: Iterable[bytes],
    findings: List[Tuple[bytes, str]]
) -> str:
    for path, extra in job.extras.items():
        if not _is_lossy(base) and any(can_carry(*pair) for pair in extra.xattrs):
            log.warning(
                '%s: more than 1 MiB of extended attributes: the rest is in a label, '
                'which a stackbuild reads', printable_path(path)
            )
    found = with_times(job.extras, delta.kept_times if delta else {})
    return encode(
        with_holes({**root_extra(
            job.tree.fd, base if job.request.ignore_times else None, job.last_time
        ), **found}, holes),
        lambda path, why: findings.append((path, why))
    )


def _imported_label(job: _Job, base: Optional[Base]) -> Dict[str, str]:
    """Return the label for the container of a derived tree; warn if it is not below."""
    told = imported_label(job.tree.fd)
    layers = container_layers(told.get(labels.IMPORTED_ROOT, ''))
    if layers != (base.info.layers if base else ())[:len(layers)]:
        log.warning(
            '%s has not the layers of the container that the tree is derived '
            'from: it can be built where that container is stored, and nowhere '
            'else', job.name
        )
    return told


def _find_changes(job: _Job, base: Base, findings: List[Tuple[bytes, str]]) -> Delta:
    log.info(
        'Stashing %s as a change of %s (%s)',
        job.tree.path, base.info.display_name, base.why
    )
    return find_changes(
        job.space, job.tree, base, partial(job.entries, findings, base),
        not job.request.verify, job.request.ignore_times,
        job.request.verify or job.request.ignore_times or job.request.reproducible
        or job.last_time is not None
    )


def _write_layer(
    job: _Job, blob_dir: str, removed: Tuple[bytes, ...],
    changes: Iterable[Change]
) -> Layer:
    total = sum(
        change.entry.stat.st_size for change in changes
    ) if isinstance(changes, tuple) else tree_size(job.tree.path)
    meter = ProgressMeter(total, 'Writing layer')
    try:
        return write_layer(blob_dir, job.tree.fd, removed, changes, meter)
    finally:
        meter.finish()


def _publish(
    job: _Job, image_id: str, digest: str, base: Optional[Base],
    layer: Optional[Layer], delta: Optional[Delta]
) -> None:
    times = job.times(delta)
    if job.request.verify:
        verify(
            job.space, job.tree, job.name, image_id, bool(base and base.rounded), times
        )
    if job.request.sbom:
        keep_documents(job.space, image_id, job.name)
    published = f'{local.LOCAL}/{job.name}'
    if not (base and base.info.image_id == image_id and published in base.info.names):
        local.tag_image(job.space, image_id, published)
    write_origin(job.tree.fd, image_id, job.name, digest, job.moment)
    job.index.keep(image_id, times)
    log.info(stash_summary(
        job.name, image_id, layer, base, time.monotonic() - job.started
    ))
    if delta and delta.kept_times:
        log.info(times_summary(len(delta.kept_times)))
    if job.exempt:
        log.info(
            '%d sources of Python stay later than SOURCE_DATE_EPOCH: their byte code '
            'names their time', len(job.exempt)
        )
    _copy_on(job, image_id)


def _copy_on(job: _Job, image_id: str) -> None:
    """Copy the finished stash to where --export says."""
    request = job.request
    info = local.find_image(image_id) if request.exports else None
    if info is not None:
        export_all(job.name, info, request.exports, Copying(
            job.space, request.access, request.signing, request.sbom
        ))
