# SPDX-License-Identifier: GPL-3.0-or-later
"""Links in a root that would lead kiwi's own writes to the files of the host."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from trees import make_root

from kiwi_stackbuild_plugin.errors import KiwiStashRootInvalid
from kiwi_stackbuild_plugin.links import check_links


def put_link(root: Path, where: str, target: str) -> None:
    path = root / where
    subprocess.run(['rm', '-rf', str(path)], check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(('where', 'target'), [
    ('image', '@'), ('image', '../@'), ('image', 'etc'), ('etc', '@'),
    ('etc/hosts.kiwi', '@/hosts'), ('etc/hosts.sha', '@/new'), ('.profile', '@/passwd'),
    ('etc/resolv.conf.kiwi', '@/hosts'), ('etc/hosts', '@'), ('etc/resolv.conf', '@'),
    ('image/config.xml', '@/config.xml'), ('image/config.sh', '../../../../@'),
    ('etc/machine-id', '@/passwd'), ('.kconfig', '@/passwd'), ('etc/apt', '@/apt'),
    ('etc/apt/sources.list.d', '@/apt'), ('var', '@'), ('var/lib', '@'),
    ('var/lib/dpkg', '@/dpkg'), ('var/cache', '../../canary'), ('var/cache/kiwi', '@'),
    ('dev', '@'), ('proc', '@'), ('boot', '@'), ('boot', 'usr'), ('usr/lib', '@'),
    ('etc/ImageID', '@/passwd'), ('etc/sysconfig', '@'), ('etc/fstab', '@/passwd'),
    ('etc/modprobe.d', '../../../../../../../@'), ('usr', 'usr'), ('etc/default', '/etc')
])
def test_root_that_leads_kiwi_out_is_refused(
    tmp_path: Path, where: str, target: str
) -> None:
    (tmp_path / 'canary').mkdir()
    root = make_root(tmp_path / 'root')
    put_link(root, where, target.replace('@', str(tmp_path / 'canary')))
    with pytest.raises(KiwiStashRootInvalid, match='link'):
        check_links(str(root))


@pytest.mark.parametrize(('where', 'target'), [
    ('bin', 'usr/bin'), ('usr/lib64', 'lib'), ('etc/resolv.conf', '/run/resolv.conf'),
    ('etc/localtime', '/usr/share/zoneinfo/UTC'), ('etc/mtab', '../proc/self/mounts'),
    ('var/run', '/run'), ('var/lock', '/run/lock'), ('etc/hosts', '/nowhere/hosts'),
    ('etc/default/grub', '../sysconfig/grub'), ('usr/lib', '../lib'),
    ('var/lib/rpm', '../../usr/lib/sysimage/rpm'), ('etc/sysconfig', './default'),
    ('image/notes', 'config.xml')
])
def test_links_of_real_distributions_pass(
    tmp_path: Path, where: str, target: str
) -> None:
    root = make_root(tmp_path / 'root')
    put_link(root, where, target)
    check_links(str(root))
