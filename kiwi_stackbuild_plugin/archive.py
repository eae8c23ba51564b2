# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI archives in files: read the config of one, write a stored image to one."""
from __future__ import annotations

from kiwi_stackbuild_plugin.host.command import run_command


def read_archive_config(path: str, kind: str = 'oci-archive') -> str:
    """Return the config of the one image in an archive, byte for byte.

    :param kind: oci-archive, or docker-archive
    """
    return run_command([
        'skopeo', 'inspect', '--config', '--raw', f'{kind}:{path}'
    ]).stdout


def write_archive(image_id: str, path: str, tag: str) -> None:
    """Write a stored image to a new archive, which has no room for signatures."""
    run_command([
        'skopeo', 'copy', '--remove-signatures', f'containers-storage:@{image_id}',
        f'oci-archive:{path}:{tag}'
    ])
