# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of podman and skopeo about stored images."""
from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager
from typing import Iterator, List, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.graph.notes import (
    DAMAGED, UNFINISHED, forget_import, marked_layers, note_import
)
from kiwi_stackbuild_plugin.host.command import (
    reason_of, require_tools, run_command
)
from kiwi_stackbuild_plugin.host.durable import sync_directory, sync_filesystem
from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDamaged, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.locks import in_use, unless_in_use
from kiwi_stackbuild_plugin.host.workspace import IMAGE, MOUNT, Workspace
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.consume import consumed
from kiwi_stackbuild_plugin.storage.directories import graph_root, merged, storage_key
from kiwi_stackbuild_plugin.storage.messages import unreadable
from kiwi_stackbuild_plugin.storage.parsing import parse_infos

LOCAL = 'localhost'
#: what a run holds a lock on as long as it has an image mounted
_MOUNTED = 'the mounted image'
#: and as long as it needs an image that it, or another one, has added
_ADDED = 'the added image'
#: the name of an image that came without one and is needed after the run
_KEPT = f'{LOCAL}/kiwi-imported'
#: what podman says of an image that it cannot mount, and what to do
_UNMOUNTABLE = (
    ('max depth exceeded', 'it has more layers than the storage can mount: make one '
     'of them, with podman build --squash-all'),
    ('layer not known', 'podman mounts nothing out of a read-only store '
     '(additionalimagestores): pull it with a storage.conf that does not name that store')
)
#: what is known of layers that must not be built on
_MARKED = {
    DAMAGED: 'damaged, as stash_list --check has found',
    UNFINISHED: 'left by an import that did not end'
}
#: what podman says of an image that is not there, in versions 3 to 5
_UNKNOWN = ('no such image', 'image not known', 'unable to find')

#: less the terminating zero
_PATH_MAX = 4095


def require_storage_tools() -> None:
    """Check that podman and skopeo are installed, and their time limit.

    :raises KiwiStashToolFailed: naming what is missing
    :raises KiwiStashArgumentInvalid: for a limit that is none
    """
    require_tools(['podman', 'skopeo'])
    network_timeout()


def network_timeout() -> float:
    """Return the limit, in seconds, of a call that talks to a network.

    Environment variable KIWI_STASH_TIMEOUT, one hour by default.

    :raises KiwiStashArgumentInvalid: if it is no positive number
    """
    text = os.environ.get('KIWI_STASH_TIMEOUT', '3600')
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 10**9:
        raise KiwiStashArgumentInvalid(
            f'KIWI_STASH_TIMEOUT {text!r}: not a number of seconds above 0'
        )
    return seconds


def find_image(name: str) -> Optional[ImageInfo]:
    """Return the stored image of a name or ID, None if there is none."""
    result = run_command(
        ['podman', 'image', 'inspect', '--', name], check=False
    )
    if result.returncode == 0:
        return parse_infos(result.stdout)[0]
    if _is_unknown(result.stderr):
        return None
    raise unreadable(result.stderr)


def list_stashes(repository: Optional[str] = None) -> List[ImageInfo]:
    """Return all images that carry the label of a stash, in two calls.

    :param repository: only those with a name in it, whatever the tag
    """
    return list_images('--filter', f'label={labels.META}', repository=repository)


def list_images(*options: str, repository: Optional[str] = None) -> List[ImageInfo]:
    """Return images, in two calls.

    :param options: of podman images
    :param repository: only those with a name in it, whatever the tag
    """
    found = run_command([
        'podman', 'images', '--all', '--no-trunc', '--format',
        '{{.ID}} {{.Repository}}', *options
    ], check=False)
    if found.returncode:
        raise unreadable(found.stderr)
    rows = [line.partition(' ') for line in found.stdout.splitlines()]
    ids = list(dict.fromkeys(
        image_id for image_id, _, name in rows if repository in (None, name)
    ))
    if not ids:
        return []
    result = run_command(['podman', 'image', 'inspect', '--', *ids], check=False)
    if result.returncode and not _is_unknown(result.stderr):
        raise unreadable(result.stderr)
    # another run may have removed one since
    return parse_infos(result.stdout)


def split_name(full_name: str) -> Tuple[str, str]:
    """Return name and tag as they are shown: without our own host."""
    name, _, tag = full_name.rpartition(':')
    prefix = f'{LOCAL}/'
    return name[len(prefix):] if name.startswith(prefix) else name, tag


def _is_unknown(stderr: str) -> bool:
    return any(words in stderr.lower() for words in _UNKNOWN)


@contextmanager
def mounted(space: Workspace, image_id: str) -> Iterator[str]:
    """Mount an image read-only for a block and give the directory."""
    with in_use(_MOUNTED, image_id, storage_key()):
        space.note(MOUNT, image_id)
        path = _mount(image_id)
        try:
            yield path
        finally:
            # if not, the workspace tries again, and so does the next run
            if not _unmount(image_id):
                space.forget(MOUNT, image_id)


@contextmanager
def tree_of(space: Workspace, info: ImageInfo) -> Iterator[str]:
    """Give a directory with the tree of an image for a block, to look at."""
    with in_use(_MOUNTED, info.image_id, storage_key()), ExitStack() as stack:
        yield stack.enter_context(merged(info, space.path)) or stack.enter_context(
            mounted(space, info.image_id)
        )


def _mount(image_id: str) -> str:
    words = ['podman', 'image', 'mount', image_id]
    result = run_command(words, check=False)
    if result.returncode and _repair_mount(image_id, result.stderr):
        result = run_command(words, check=False)
    if result.returncode:
        raise KiwiStashToolFailed(
            f'podman image mount {image_id[:12]}: {reason_of(result)}',
            next((hint for words, hint in _UNMOUNTABLE if words in result.stderr), '')
        )
    return result.stdout.strip()


def _unmount(image_id: str) -> str:
    """Take back one mount of an image; others may have it mounted too.

    :returns: why it stays mounted; nothing if it does not
    """
    try:
        result = run_command(['podman', 'image', 'unmount', image_id], check=False)
    except KiwiStashToolFailed as issue:
        return issue.summary
    if (
        result.returncode == 0 or _is_unknown(result.stderr)
        or _repair_mount(image_id, result.stderr)
    ):
        return ''
    return reason_of(result)


def _repair_mount(image_id: str, stderr: str) -> bool:
    """Help podman out where it was killed as it took a mount back.

    It then has removed the mount point, but still counts the mount, and can
    neither mount nor unmount the image any more.
    """
    found = re.search(r'lstat (/\S+/merged): no such file', stderr)
    if not found or not os.path.isdir(os.path.dirname(found[1])):
        return False
    try:
        os.mkdir(found[1], 0o700)
    except FileExistsError:
        return False
    run_command(['podman', 'image', 'unmount', '--force', image_id], check=False)
    return True


def import_image(
    space: Workspace, layout: str, image_id: str,
    platform: Sequence[str] = (), options: Sequence[str] = (),
    timeout: Optional[float] = None, blob: Optional[str] = None,
    is_new: bool = False, layers: Sequence[str] = (), name: str = ''
) -> str:
    """Bring the image of a layout into the storage.

    Layers that the storage has already need not be in the layout. An image
    that is there already stays as it is, and stays if we fail.

    :param layout: skopeo's reference of the image, 'oci:directory:name'
    :param image_id: what the image will be
    :param platform: skopeo's options that choose from a list of images
    :param options: more options for skopeo copy
    :param timeout: seconds, None for no limit
    :param blob: file of the layout that is of no use afterwards
    :param is_new: it is known not to be there
    :param layers: diff IDs of those that may not be there
    :param name: that it gets, with its tag; none if it has to prove itself first
    :returns: digest of the stored manifest
    """
    there = None if is_new else find_added(space, image_id)
    if there is not None:
        return there.digest
    space.note(IMAGE, image_id)
    note_import(graph_root(), image_id, layers)
    digest = os.path.join(space.path, 'digest')
    with consumed(blob):
        run_command([
            'skopeo', *platform, 'copy', *options, f'--digestfile={digest}',
            layout, f'containers-storage:{name}@{image_id}'
        ], timeout=timeout)
    with open(digest, encoding='ascii') as text:
        return text.read().strip()


def find_added(space: Workspace, image_id: str) -> Optional[ImageInfo]:
    """Return an image that may be another run's for now; it stays till we end."""
    if image_id not in space.used:
        space.held.enter_context(in_use(_ADDED, image_id, storage_key()))
        space.used.add(image_id)
    return find_image(image_id)


def keep_added(space: Workspace, info: ImageInfo) -> None:
    """Give an image that came out of an archive a name, so that it stays.

    Of ours: one written in the archive must not move one that is stored.
    """
    if info.image_id in space.used and not info.names:
        tag_image(space, info.image_id, f'{_KEPT}:{info.image_id[:12]}')


def tag_image(space: Workspace, image_id: str, name: str) -> None:
    """Give an image a name; this is what publishes a stash."""
    name_image(image_id, name)
    keep_import(space, image_id)


def keep_import(space: Workspace, image_id: str) -> None:
    """Let an image that has its name stay when this run ends."""
    forget_import(graph_root(), image_id)
    space.forget(IMAGE, image_id)


def damage_of(layers: Sequence[str]) -> str:
    """Return why nothing must be built on layers, '' if nothing is known.

    :param layers: diff IDs from the bottom up
    """
    return '; '.join(
        f'layer {layer.diff_id.partition(":")[2][:12]} is {_MARKED[why]}'
        for layer, why in marked_layers(graph_root(), layers) if why in _MARKED
    )


def refuse_damage(layers: Sequence[str], what: str) -> None:
    """Fail for layers that nothing must be built on.

    :param layers: diff IDs from the bottom up
    :param what: what would be built on them
    :raises KiwiStashDamaged: naming the images to be removed
    """
    why = damage_of(layers)
    if why:
        marked = {layer.diff_id for layer, _ in marked_layers(graph_root(), layers)}
        images = [info.display_name for info in list_images() if marked & set(info.layers)]
        raise KiwiStashDamaged(f'{what}: {why}', (
            f'podman rmi --force {" ".join(images)}, then again' if images else
            'kiwi-ng system stash_list --check looks again'
        ))


def name_image(image_id: str, name: str) -> None:
    """Give a stored image one more name, which says that all of it is on the disk.

    podman syncs its lists, not the files of a layer.
    """
    graph = graph_root()
    sync_filesystem(graph.path)
    run_command(['podman', 'tag', image_id, name])
    sync_directory(graph.of('images'))


def unmount_unused(image_id: str) -> bool:
    """Take back the mount of a killed run, unless another run has one too.

    Then nobody knows whether the killed one got as far as to mount it: a
    count that is too high does no harm, one too low pulls a tree away.
    """
    with unless_in_use(_MOUNTED, image_id, storage_key()) as free:
        reason = _unmount(image_id) if free else ''
    if reason:
        raise KiwiStashToolFailed(f'{image_id[:12]} stays mounted: {reason}')
    return free


def remove_unnamed(image_id: str) -> bool:
    """Remove an image that we added, unless it has a name by now.

    Not by podman, which removes the unnamed images below as well; nor while
    another run has it mounted: skopeo would pull it away.

    :returns: False if another run uses it and it stays for now
    :raises KiwiStashToolFailed: if it stays
    """
    with unless_in_use(_ADDED, image_id, storage_key()) as unused, \
            unless_in_use(_MOUNTED, image_id, storage_key()) as unmounted:
        free = unused and unmounted
        info = find_image(image_id)
        if info is None or info.names:
            return True
        if free:
            run_command(['skopeo', 'delete', f'containers-storage:@{image_id}'])
    return free


def longest_path() -> int:
    """Return the most bytes that a path in a tree may have.

    The storage works with whole paths:
    <graph root>/overlay/<64 digits>/diff/<path in the tree>.
    """
    return _PATH_MAX - len(
        f'{graph_root().path}/overlay//diff/'.encode(errors='surrogateescape')
    ) - 64
