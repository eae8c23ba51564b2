# SPDX-License-Identifier: GPL-3.0-or-later
"""All of the distribution, made into a directory."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stackos import machine
from stackos.contents import DROPPED, WANTED, own_packages
from stackos.debs import download, unpack
from stackos.rpms import build, names_of, sign


def make_repository(
    repo: Path, work: Path, dbpath: str, like: str, bootable: bool = False
) -> None:
    """Make the signed repository.

    :param repo: to be made
    :param work: an empty directory with a short name: gpg has sockets there
    :param dbpath: where the distribution has rpm's data base
    :param like: ID_LIKE in os-release
    :param bootable: with what a machine needs
    :raises RepositoryFailed: with what a tool says
    """
    wanted, dropped, own = WANTED, DROPPED, own_packages(work, like)
    if bootable:
        wanted, dropped = wanted + machine.WANTED, dropped + machine.DROPPED
        own += machine.own_packages(work)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        packages = list(pool.map(
            lambda deb: unpack(deb, work / 'trees' / deb.stem, dbpath),
            download(work, wanted, dropped)
        )) + own
        available = names_of(packages)
        repo.mkdir()
        list(pool.map(
            lambda package: build(package, work, repo, available), packages
        ))
    sign(repo, work / 'gnupg')
