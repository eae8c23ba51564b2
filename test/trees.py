# SPDX-License-Identifier: GPL-3.0-or-later
"""Root trees for tests: made by hand, compared in every detail."""
from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

CONFIG = '''<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="{schema}" name="{name}">
  <description type="system">
    <author>Test Author</author>
    <contact>test@example.com</contact>
    <specification>a small root tree</specification>
  </description>
  <preferences>
    <version>1.0.0</version>
    <packagemanager>apt</packagemanager>
    <type image="tbz"/>
  </preferences>
  <packages type="image"/>
</image>
'''


def make_root(root: Path, name: str = 'small', schema: str = '7.4') -> Path:
    """Make a small root tree as kiwi would have prepared it."""
    for directory in (
        'image', 'etc', 'usr/bin', 'usr/share/doc', 'var/lib/dpkg',
        'dev', 'proc', 'sys', 'run', 'tmp'
    ):
        (root / directory).mkdir(parents=True)
    (root / 'image/config.xml').write_text(CONFIG.format(name=name, schema=schema))
    (root / '.profile').write_text("kiwi_profiles=''\nkiwi_type='tbz'\n")
    (root / 'etc/os-release').write_text('ID=small\n')
    # kiwi asks the package database of what it built
    (root / 'var/lib/dpkg/status').touch()
    (root / 'etc/hostname').write_text('small\n')
    (root / 'usr/bin/tool').write_bytes(b'\x7fELF' + bytes(range(256)) * 40)
    (root / 'usr/bin/tool').chmod(0o755)
    (root / 'usr/bin/link').symlink_to('tool')
    os.link(root / 'usr/bin/tool', root / 'usr/bin/tool2')
    os.utime(root / 'etc/hostname', ns=(1, 1_600_000_000_987_654_321))
    return root


def describe(root: Any, skip: Tuple[str, ...] = ()) -> Dict[bytes, Tuple[Any, ...]]:
    """Return every entry of a tree with all that must be kept of it.

    Written apart from the code under test, on os.fwalk: the test's own eyes.

    :param skip: paths left out with all below them
    """
    top = os.fsencode(str(root))
    left_out = {os.fsencode(path) for path in skip}
    found: Dict[bytes, Tuple[Any, ...]] = {}
    inodes: Dict[Tuple[int, int], bytes] = {}
    for directory, names, files, fd in os.fwalk(top):
        prefix = directory[len(top):].lstrip(b'/') + b'/'
        prefix = prefix.lstrip(b'/')
        names[:] = sorted(name for name in names if prefix + name not in left_out)
        for name in sorted([*names, *files]):
            if prefix + name not in left_out:
                found[prefix + name] = describe_entry(
                    b'/proc/self/fd/%d/%b' % (fd, name), prefix + name, inodes
                )
    return found


def describe_entry(
    path: bytes, relative: bytes = b'',
    inodes: Optional[Dict[Tuple[int, int], bytes]] = None
) -> Tuple[Any, ...]:
    """Return type, mode, owner, group, mtime, content, hard-link group, xattrs."""
    status = os.lstat(path)
    content: Any = ''
    if stat.S_ISREG(status.st_mode):
        content = status.st_size, _digest(path)
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        content = status.st_rdev
    group = relative
    if inodes is not None and not stat.S_ISDIR(status.st_mode):
        group = inodes.setdefault((status.st_dev, status.st_ino), relative)
    xattrs = {
        key: os.getxattr(path, key, follow_symlinks=False)
        for key in os.listxattr(path, follow_symlinks=False)
    }
    return (
        stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode),
        status.st_uid, status.st_gid, status.st_mtime_ns, content, group,
        tuple(sorted(xattrs.items()))
    )


def _digest(path: bytes) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
