# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a finished stash is copied to, looked at before anything is done."""
from __future__ import annotations

import os
from typing import Iterable

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image.reference import (
    check_docker, parse_reference, refuse_login
)

_FORMS = 'docker://host/name:tag, oci-archive:file.tar or oci:directory:tag'


def check_exports(texts: Iterable[str]) -> None:
    """Check what --export says as far as that can be known in advance.

    :raises KiwiStashArgumentInvalid: with the reason
    """
    for text in texts:
        refuse_login(text, '--export')
        try:
            reference = parse_reference(text, '--export')
        except KiwiStashArgumentInvalid as issue:
            if 'transport' in issue.summary:
                raise
            raise _no_transport(text) from None
        if reference.kind != 'transport' or text.startswith('containers-storage:'):
            raise _no_transport(text)
        if text.startswith('docker://'):
            if '@' in check_docker(text, '--export'):
                raise KiwiStashArgumentInvalid(
                    f'--export {text!r}: a digest is what a copy has, not where it goes',
                    'docker://host/name:tag'
                )
        else:
            _check_path(text)


def _no_transport(text: str) -> KiwiStashArgumentInvalid:
    return KiwiStashArgumentInvalid(
        f'--export {text!r} names no transport to copy to', f'it is {_FORMS}'
    )


def _check_path(text: str) -> None:
    """Look whether a file or layout can be made where an archive is to go."""
    transport, _, rest = text.partition(':')
    path = os.path.abspath(rest.partition(':')[0])
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise KiwiStashArgumentInvalid(
            f'--export {text!r}: the directory {parent!r} is not there',
            'make it first'
        )
    if transport.endswith('archive') and os.path.isdir(path):
        raise KiwiStashArgumentInvalid(f'--export {text!r}: {path!r} is a directory')
    if not os.access(path if os.path.exists(path) else parent, os.W_OK):
        raise KiwiStashArgumentInvalid(
            f'--export {text!r}: {path!r} cannot be written to'
        )
