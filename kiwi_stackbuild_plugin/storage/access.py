# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say how registries are reached, and how old a stash may be."""
from __future__ import annotations

import os
import re
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


@dataclass(frozen=True)
class Signing:
    """How copies in registries are signed, if at all: as skopeo does it.

    key is the fingerprint of a GPG key, or a file with a private key of
    sigstore (cosign) or with skopeo's parameters for one; passphrase_file a path.
    """

    key: Optional[str] = None
    passphrase_file: Optional[str] = None
    kind: str = ''

    def options(self) -> List[str]:
        """Return options of skopeo copy."""
        if self.key is None:
            return []
        return [f'--{self.kind}={self.key}'] + (
            [] if self.passphrase_file is None
            else [f'--sign-passphrase-file={self.passphrase_file}']
        )


def make_signing(key: Optional[str], passphrase_file: Optional[str]) -> Signing:
    """Check the options that say how copies are signed.

    :raises KiwiStashArgumentInvalid: with the option that is wrong
    """
    if passphrase_file is not None:
        if key is None:
            raise KiwiStashArgumentInvalid('--sign-passphrase-file needs --sign-by')
        if not os.path.isfile(passphrase_file):
            raise KiwiStashArgumentInvalid(
                f'--sign-passphrase-file {passphrase_file!r}: no such file'
            )
    if key is None:
        return NOT_SIGNED
    if '-----BEGIN' in key or '\n' in key:
        raise KiwiStashArgumentInvalid(
            '--sign-by: a key itself is not given, it would show in the list of processes',
            'give the file that it is in'
        )
    return Signing(key, passphrase_file, _kind_of_key(key))


def _kind_of_key(key: str) -> str:
    """Return skopeo's option for a key: a file is one of sigstore."""
    if os.path.isfile(key):
        with open(key, 'rb') as source:
            begin = source.read(64)
        return 'sign-by-sigstore-private-key' if begin.lstrip().startswith(b'-----BEGIN') \
            else 'sign-by-sigstore'
    if '/' in key or not re.fullmatch(r'[^\s-][^\s]*', key):
        raise KiwiStashArgumentInvalid(
            f'--sign-by {key!r}: no such file, and no fingerprint of a GPG key',
            'what there is: gpg --list-secret-keys, or cosign generate-key-pair'
        )
    return 'sign-by'


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
#: no signature
NOT_SIGNED = Signing()
