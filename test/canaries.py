# SPDX-License-Identifier: GPL-3.0-or-later
"""Things worth reading and writing outside of a tree, and what reaches for them."""
from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Dict

from storages import Storage
from trees import CONFIG

SECRET = 'only-outside-of-the-tree'

#: '@' stands for the canary directory
XML = {
    'entity': '<!DOCTYPE image [<!ENTITY x SYSTEM "file://@/secret">]>\n'
              '<image name="a">&x;</image>',
    'parameter': '<!DOCTYPE image [<!ENTITY % x SYSTEM "file://@/secret"> %x;]>\n<image/>',
    'dtd': '<!DOCTYPE image SYSTEM "file://@/secret">\n<image name="a"/>',
    'laughs': '<!DOCTYPE image [<!ENTITY a0 "ha">' + ''.join(
        f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(12)
    ) + ']>\n<image name="&a12;"/>',
    'include': CONFIG.format(schema='7.4', name='small').replace(
        '</image>', '<include from="file://@/included.xml"/></image>'
    ),
    'xinclude': '<image xmlns:xi="http://www.w3.org/2001/XInclude" name="small">'
               '<xi:include href="file://@/secret" parse="text"/></image>',
    'deep': '<image name="small">' + '<a>' * 100_000,
}

#: files of an image as container() takes them
GOOD: Dict[str, Any] = {
    'image/': None, 'image/config.xml': CONFIG.format(schema='7.4', name='bad').encode(),
    'etc/': None, 'etc/hostname': b'a', 'usr/': None, 'usr/share/doc/': None,
    'var/lib/dpkg/': None
}


def make_canary(place: Path) -> Path:
    """Make a directory whose files all hold the secret."""
    for name in ('dpkg', 'apt', 'sub/deeper'):
        (place / name).mkdir(parents=True)
    for name in ('secret', 'config.xml', 'hosts', 'passwd', 'stash.json', 'sub/file'):
        (place / name).write_text(SECRET)
    (place / 'included.xml').write_text(
        f'<image><packages type="image"><package name="{SECRET}"/></packages></image>'
    )
    return place


def check_no_secret(tree: Path) -> None:
    """Hold that the secret is in no file of a tree."""
    found = subprocess.run(
        ['grep', '-rl', '--devices=skip', SECRET, str(tree)],
        capture_output=True, text=True, check=False
    )
    assert found.stdout == ''


def container(
    storage: Storage, place: Path, files: Dict[str, Any], name: str = 'bad'
) -> None:
    """Put an image into the storage whose layer was written by hand.

    Values are contents, or ('link', target), or None for a directory.
    """
    archive = place / f'{name}.tar'
    archive.unlink(missing_ok=True)
    with tarfile.open(archive, 'w') as tar:
        for path, value in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(value, tuple):
                member.type = tarfile.SYMTYPE if value[0] == 'link' else tarfile.LNKTYPE
                member.linkname = value[1]
            elif value is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(value)
            tar.addfile(member, io.BytesIO(value) if isinstance(value, bytes) else None)
    storage.run('podman', 'import', '--quiet', str(archive), f'localhost/{name}:latest',
                check=False)
