# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say how registries are reached, and how old a stash may be."""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Optional

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid


@dataclass(frozen=True)
class Access:
    """How registries are reached, over and above the tools' configuration.

    No secrets: arguments show in /proc. authfile and cert_dir are paths.
    """

    authfile: Optional[str] = None
    tls_verify: Optional[bool] = None
    cert_dir: Optional[str] = None

    def options(self, side: str = '') -> List[str]:
        """Return options of podman and skopeo.

        :param side: 'dest-' or 'src-' for skopeo copy
        """
        found = []
        if self.authfile is not None:
            found.append(f'--{side}authfile={self.authfile}')
        if self.cert_dir is not None:
            found.append(f'--{side}cert-dir={self.cert_dir}')
        if self.tls_verify is not None:
            found.append(f'--{side}tls-verify={str(self.tls_verify).lower()}')
        return found


def make_access(
    authfile: Optional[str], tls_verify: Optional[str], cert_dir: Optional[str]
) -> Access:
    """Check the options that say how registries are reached.

    :param tls_verify: 'true' or 'false'
    :raises KiwiStashArgumentInvalid: with the option that is wrong
    """
    if tls_verify not in (None, 'true', 'false'):
        raise KiwiStashArgumentInvalid(
            f'--tls-verify {tls_verify!r} is not known', 'it is true or false'
        )
    if authfile is not None and not os.path.isfile(authfile):
        raise KiwiStashArgumentInvalid(
            f'--authfile {authfile!r}: no such file',
            'podman login --authfile makes it'
        )
    if cert_dir is not None and not os.path.isdir(cert_dir):
        raise KiwiStashArgumentInvalid(
            f'--cert-dir {cert_dir!r}: no such directory'
        )
    return Access(
        authfile, None if tls_verify is None else tls_verify == 'true', cert_dir
    )


#: nothing but what podman and skopeo are configured to
DEFAULT_ACCESS = Access()
