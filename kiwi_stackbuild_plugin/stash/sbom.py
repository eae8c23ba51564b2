# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with a stash: its SBOM and its provenance, made of the stored image.

Both follow from the image alone, so that they can be made whenever it is copied.
What is kept is for people and other tools: <directory>/<storage>/<image ID>/.
"""
from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Collection, List, Tuple

from kiwi_stackbuild_plugin.packages.database import Packages, read_packages
from kiwi_stackbuild_plugin.packages.purl import Distribution, read_distribution
from kiwi_stackbuild_plugin.packages.rpm import RpmDatabase
from kiwi_stackbuild_plugin.packages.spdx import DescribedImage, make_sbom
from kiwi_stackbuild_plugin.host.command import remove_tree
from kiwi_stackbuild_plugin.host.durable import replace
from kiwi_stackbuild_plugin.host.errors import KiwiStashTargetInvalid
from kiwi_stackbuild_plugin.host.text import FULL_ID, parse_moment, utc
from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.artifacts import (
    Artifact, provenance_artifact, sbom_artifact
)
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash
from kiwi_stackbuild_plugin.image.provenance import make_provenance
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.directories import open_layers, storage_key
from kiwi_stackbuild_plugin.tree.layered import LayeredTree
from kiwi_stackbuild_plugin.tree.opening import open_shown, opened_tree
from kiwi_stackbuild_plugin.version import __version__

log = logging.getLogger('kiwi')

_DIRECTORY = '/var/lib/kiwi-stackbuild/documents'
_EPOCH = '1970-01-01T00:00:00Z'
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: by the names of their files
KINDS = {
    one.file_name: one for one in (sbom_artifact(b''), provenance_artifact(b''))
}


@dataclass(frozen=True)
class Kept:
    """A document of a stash that is kept here; size in bytes."""

    kind: str
    media_type: str
    path: str
    digest: str
    size: int


def make_artifacts(
    space: Workspace, info: ImageInfo, name: str, digest: str
) -> List[Artifact]:
    """Return the SBOM and the provenance of a stored image.

    :param name: what the image is called where it goes
    :param digest: of its manifest there
    """
    packages, distribution = _read(space, info)
    told = info.stash_labels
    own = is_own_stash(info)
    image = DescribedImage(
        told.title or name.rpartition(':')[0] or name, told.version or 'latest',
        info.image_id, utc(info.created) if parse_moment(info.created) else _EPOCH,
        tuple(f'{tool}-{version}' for tool, version in (
            ('kiwi', told.kiwi_version if own else ''),
            ('kiwi_stackbuild_plugin', __version__)
        ) if version),
        told.base_name if own else '', (told.base_digest or '') if own else ''
    )
    return [
        sbom_artifact(make_sbom(image, packages, distribution)),
        provenance_artifact(make_provenance(info, name, digest))
    ]


def _read(space: Workspace, info: ImageInfo) -> Tuple[Packages, Distribution]:
    """Read the packages from the layers; mounted where they are not to be had."""
    with ExitStack() as stack:
        layers = stack.enter_context(open_layers(info))[::-1]
        if not layers:
            layers = [open_shown(stack, local.tree_of(space, info))]
        tree = LayeredTree(layers)
        packages = read_packages(
            tree, RpmDatabase(lambda: TemporaryDirectory(dir=space.path))
        )
        if not packages.found and not packages.unread:
            log.warning('%s has no package: its SBOM names none', info.display_name)
        return packages, read_distribution(tree)


def state_directory() -> str:
    """Return where the documents of this storage are, below KIWI_STASH_STATE."""
    key = storage_key()
    return os.path.join(
        os.environ.get('KIWI_STASH_STATE') or _DIRECTORY,
        hashlib.sha256(os.fsencode(key)).hexdigest()[:16] if key else 'storage'
    )


def keep_documents(space: Workspace, image_id: str, name: str) -> None:
    """Make the documents of a stored image, and keep them here.

    :param name: name:tag
    :raises KiwiStashTargetInvalid: if others can write where they are kept
    """
    info = local.find_image(image_id)
    if info is None:
        return
    made = make_artifacts(space, info, name, info.digest)
    directory = os.path.join(state_directory(), image_id)
    os.makedirs(directory, 0o755, exist_ok=True)
    with opened_tree(directory) as fd:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise KiwiStashTargetInvalid(
                f'{directory!r}: others can write there, nothing is kept',
                'another directory: KIWI_STASH_STATE'
            )
        for artifact in made:
            _write(fd, artifact)
            log.info('%s: %s', artifact.kind, os.path.join(directory, artifact.file_name))


def _write(fd: int, artifact: Artifact) -> None:
    new = f'.{secrets.token_hex(8)}'
    try:
        with open(os.open(new, _NEW, 0o644, dir_fd=fd), 'wb') as out:
            out.write(artifact.data)
        replace(new, artifact.file_name, source_fd=fd, target_fd=fd)
    except OSError:
        with suppress(OSError):
            os.unlink(new, dir_fd=fd)
        raise


def kept_documents(image_id: str) -> List[Kept]:
    """Return the documents of an image that are kept here."""
    directory = os.path.join(state_directory(), image_id)
    found: List[Kept] = []
    for name, kind in KINDS.items():
        path = os.path.join(directory, name)
        try:
            with open(os.open(path, _READ), 'rb') as source:
                if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                    continue
                data = source.read()
        except OSError:
            continue
        found.append(Kept(
            kind.kind, kind.media_type, path, f'sha256:{hashlib.sha256(data).hexdigest()}',
            len(data)
        ))
    return found


def drop_documents(stored: Collection[str]) -> None:
    """Remove the documents of images that are gone.

    :param stored: IDs of the images that stay
    """
    directory = state_directory()
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        if FULL_ID.fullmatch(name) and name not in stored:
            try:
                remove_tree(os.path.join(directory, name))
            except OSError as issue:
                log.warning('the SBOM of %s is left: %s', name[:12], issue.strerror)
