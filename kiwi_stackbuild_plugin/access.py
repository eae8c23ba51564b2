# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say how registries are reached, and how old a stash may be."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import List, Optional

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid

_SECONDS = {'m': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
PULL_POLICIES = ('missing', 'always', 'never', 'newer')


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


def parse_age(text: Optional[str]) -> Optional[int]:
    """Return the seconds of --max-age: a number and m, h, d or w.

    :raises KiwiStashArgumentInvalid: for anything else
    """
    if text is None:
        return None
    found = re.fullmatch(r'([0-9]{1,6})([mhdw])', text)
    if found is None or int(found[1]) == 0:
        raise KiwiStashArgumentInvalid(
            f'--max-age {text!r} is not known',
            'it is a number above 0 and m, h, d or w: 12h, 7d'
        )
    return int(found[1]) * _SECONDS[found[2]]


def check_policy(text: Optional[str]) -> Optional[str]:
    """Check the value of --pull.

    :raises KiwiStashArgumentInvalid: if it is none of podman's
    """
    if text is not None and text not in PULL_POLICIES:
        raise KiwiStashArgumentInvalid(
            f'--pull {text!r} is not known', f'it is one of {", ".join(PULL_POLICIES)}'
        )
    return text


#: nothing but what podman and skopeo are configured to
DEFAULT_ACCESS = Access()
