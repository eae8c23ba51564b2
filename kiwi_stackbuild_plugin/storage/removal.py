# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove images and containers from the storage: what is needed, what goes, what that frees."""
from __future__ import annotations

import json
from contextlib import suppress
from typing import Dict, Iterable, Set, Tuple

from kiwi_stackbuild_plugin.host.command import reason_of, run_command
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.storage.directories import short_links, shown_layers
from kiwi_stackbuild_plugin.tree.scan import walk_files

#: a layer is known by all that is below it, and its own diff ID
Chain = Tuple[str, ...]
_SECTOR = 512


def needed_images(images: Iterable[ImageInfo]) -> Dict[str, str]:
    """Return the images that must stay, by ID, and what needs them.

    :param images: that may be mounted by us
    """
    mounts = run_command(['podman', 'image', 'mount', '--format', 'json']).stdout
    containers = run_command([
        # buildah's and those of other tools too
        'podman', 'ps', '--all', '--external', '--no-trunc', '--format', '{{.ImageID}}'
    ]).stdout
    try:
        mounted = [str(entry['id']) for entry in json.loads(mounts or '[]') or ()]
    except (ValueError, KeyError, TypeError):
        raise KiwiStashToolFailed(
            'podman image mount: what it says is no list of images'
        ) from None
    shown = shown_layers()
    mounted += [
        info.image_id for info in images
        if info.directories and shown.intersection(short_links(info)[1][:1])
    ]
    return {
        **dict.fromkeys(mounted, 'it is mounted'),
        **dict.fromkeys(containers.split(), 'a container needs it')
    }


def remove_image(image_id: str) -> None:
    """Remove an image with all its names; layers that others have stay.

    Not by podman, which removes the unnamed images below as well.

    :raises KiwiStashToolFailed: if it is used by a container
    """
    result = run_command(
        ['skopeo', 'delete', f'containers-storage:@{image_id}'], check=False
    )
    if result.returncode:
        raise KiwiStashToolFailed(
            f'image {image_id[:12]} is not removed: {reason_of(result)}'
        )


def remove_container(name: str) -> None:
    """Remove a container, if there is one.

    :raises KiwiStashToolFailed: if it stays
    """
    run_command(['podman', 'rm', '--force', '--ignore', name])


def remove_name(image_id: str, name: str) -> None:
    """Take one name from an image."""
    run_command(['podman', 'untag', image_id, name])


def own_layers(
    gone: Iterable[ImageInfo], left: Iterable[ImageInfo]
) -> Dict[Chain, str]:
    """Return the layers that no image has any more when some are gone.

    :returns: with the directory each is in, '' where that is not known
    """
    shared: Set[Chain] = {
        info.layers[:count] for info in left
        for count in range(1, len(info.layers) + 1)
    }
    found: Dict[Chain, str] = {}
    for info in gone:
        known = info.directories if len(info.directories) == len(info.layers) else ()
        for number in range(len(info.layers)):
            chain = info.layers[:number + 1]
            if chain not in shared:
                found[chain] = known[number] if known else ''
    return found


def disk_usage(directory: str) -> int:
    """Return the bytes that the files below a directory take on the disk."""
    total = 0
    seen: Set[int] = set()
    for entry in walk_files(directory):
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if status.st_ino not in seen:
                total += status.st_blocks * _SECTOR
            if status.st_nlink > 1:
                seen.add(status.st_ino)
    return total
