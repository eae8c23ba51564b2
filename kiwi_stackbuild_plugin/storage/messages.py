# SPDX-License-Identifier: GPL-3.0-or-later
"""What podman and skopeo say when a registry fails: the reason, and a hint."""
from __future__ import annotations

import re
from typing import Tuple

from kiwi_stackbuild_plugin.host.command import last_line
from kiwi_stackbuild_plugin.host.errors import KiwiStashToolFailed

#: all up to the end of an address, each once: what looks back takes no more time.
#: In it are user and password, and the query, where object stores have keys
_ADDRESS = re.compile(r'(?<=://)[^\s"]+')
_LOGIN_END = re.compile('@(?!sha256:)')
#: characters of a reason that are looked at for a hint
_LOOKED_AT = 1 << 12
_AUTHORIZATION = re.compile(r'\b(Basic|Bearer) [A-Za-z0-9+/=._~-]+', re.IGNORECASE)

#: words of an error and what to do about it; the first that fits
_HINTS = (
    (r'connection refused|no route to host|no such host|i/o timeout|network is unreach',
     'is the registry up, and is its name and port right?'),
    (r'x509|certificate', 'give the directory of its CA with --cert-dir, or put the CA '
     'into /etc/containers/certs.d/<host>/'),
    (r'server gave HTTP response to HTTPS', 'it speaks no TLS: --tls-verify=false'),
    (r'signature was required|signature verification|signed by|is rejected by policy'
     r'|invalid.* signature|signature.* (?:invalid|is not accepted)|for a different (?:key|id)',
     'policy.json of this machine wants it signed: sign it (stash --export --sign-by), or '
     'see containers-policy.json(5)'),
    (r'lookaside|sigstore-staging|attachments|can ?not copy signatures',
     'where signatures go is configured in /etc/containers/registries.d'),
    (r'passphrase|sign-passphrase|bad decrypt|unable to decrypt',
     'give the file with it: --sign-passphrase-file'),
    (r'unauthorized|authentication required|access .*denied|forbidden',
     'podman login <host>, or give a file of logins with --authfile'),
    (r'image index|manifest list|no image found', 'see --target-arch of kiwi-ng'),
    (r'manifest unknown|name unknown|not found',
     "what there is: kiwi-ng system stash_list --remote=<host>"),
    (r'digest|does not match',
     'the registry serves something else than was asked for: do not use it'),
    (r'connection reset|unexpected EOF|broken pipe|\bEOF$',
     'repeat the command: what has arrived is not sent again'),
)


def explain(stderr: str) -> Tuple[str, str]:
    """Return the reason in one line, without secrets, and a hint or nothing."""
    reason = without_secrets(last_line(stderr))
    reason = re.sub(r'^Error: ', '', reason)
    reason = re.sub(r'^Error parsing image name ".*?": ', '', reason)
    for words, hint in _HINTS:
        if re.search(words, reason[:_LOOKED_AT], re.IGNORECASE):
            return reason, hint
    return reason, ''


def without_secrets(text: str) -> str:
    """Return text with logins, queries and tokens in it blotted out."""
    return _AUTHORIZATION.sub(r'\1 ***', _ADDRESS.sub(_blotted, text))


def _blotted(found: re.Match[str]) -> str:
    """Return an address, behind its ://, without login and query."""
    address = found[0]
    ends = [end.start() for end in _LOGIN_END.finditer(address, 1)]
    if ends:
        address = f'***{address[ends[-1]:]}'
    place, _, query = address.partition('?')
    return f'{place}?***' if query else address


def unreadable(stderr: str) -> KiwiStashToolFailed:
    """Return the error for a storage that podman cannot read."""
    return KiwiStashToolFailed(f'podman cannot read its storage: {last_line(stderr)}')
