# SPDX-License-Identifier: GPL-3.0-or-later
"""Package URLs of installed packages, and what a tree calls itself."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import pytest

from kiwi_stackbuild_plugin.packages.database import Package
from kiwi_stackbuild_plugin.packages.purl import Distribution, package_url, read_distribution
from kiwi_stackbuild_plugin.tree.layered import LayeredTree


@pytest.mark.parametrize(('words', 'distribution', 'url'), [
    (('deb', 'base-files', 'amd64', '12.4+deb12u5'), ('debian', '12'),
     'pkg:deb/debian/base-files@12.4%2Bdeb12u5?arch=amd64&distro=debian-12'),
    (('deb', 'libstdc++6', 'amd64', '1:2~rc1'), ('ubuntu', ''),
     'pkg:deb/ubuntu/libstdc%2B%2B6@1:2~rc1?arch=amd64&distro=ubuntu'),
    (('deb', 'a', '', ''), ('', '9'), 'pkg:deb/debian/a'),
    (('rpm', 'GeoIP', 'x86_64', '1:1.0-2'), ('fedora', '40'),
     'pkg:rpm/fedora/GeoIP@1.0-2?arch=x86_64&distro=fedora-40&epoch=1'),
    (('rpm', 'a', 'noarch', '1-1'), ('opensuse-leap', '15.6'),
     'pkg:rpm/opensuse/a@1-1?arch=noarch&distro=opensuse-leap-15.6'),
    (('rpm', 'a', 'noarch', '1-1'), ('rhel', '9.4'),
     'pkg:rpm/redhat/a@1-1?arch=noarch&distro=rhel-9.4'),
    (('rpm', 'a', 'noarch', '1-1'), ('sles', '15'),
     'pkg:rpm/suse/a@1-1?arch=noarch&distro=sles-15'),
    (('rpm', 'a', 'noarch', '1-1'), ('', ''), 'pkg:rpm/a@1-1?arch=noarch'),
    (('apk', 'musl', 'x86_64', '1.2-r4'), ('alpine', '3.19.1'),
     'pkg:apk/alpine/musl@1.2-r4?arch=x86_64&distro=alpine-3.19.1'),
    (('pacman', 'bash', 'x86_64', '5.2-1'), ('arch', ''),
     'pkg:alpm/arch/bash@5.2-1?arch=x86_64&distro=arch'),
    (('deb', 'a/b@c?d#e', 'x&y=z', ' '), ('', ''),
     'pkg:deb/debian/a%2Fb%40c%3Fd%23e@%20?arch=x%26y%3Dz'),
])
def test_package_urls(
    words: tuple[str, str, str, str], distribution: tuple[str, str], url: str
) -> None:
    assert package_url(Package(*words), Distribution(*distribution)) == url


@pytest.mark.parametrize(('usr', 'etc', 'expected'), [
    ('ID=debian\nVERSION_ID="12"\n', None, ('debian', '12')),
    (None, "ID='opensuse-leap'\nVERSION_ID=\"15.6\"\n", ('opensuse-leap', '15.6')),
    ('NAME=x\n', 'ID=debian\n', ('', '')), (None, None, ('', '')),
    ('ID=A b\nVERSION_ID=$(x)\n', None, ('', '')), ('MY_ID=x\n', None, ('', '')),
])
def test_distribution(
    tmp_path: Path, usr: Optional[str], etc: Optional[str], expected: tuple[str, str]
) -> None:
    for place, text in (('usr/lib', usr), ('etc', etc)):
        (tmp_path / place).mkdir(parents=True)
        if text is not None:
            (tmp_path / place / 'os-release').write_text(text)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_distribution(LayeredTree([fd])) == expected
    finally:
        os.close(fd)
