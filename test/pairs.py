# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of trees: compared, and the moment from which one may differ."""
from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from kiwi_stackbuild_plugin.layer.blob import write_layer
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import scan

DISTRUST = Trust()


def copy(source: Path, target: Path) -> Path:
    """Copy a tree with all metadata."""
    subprocess.run(['cp', '-a', '-T', source, target], check=True)
    return target


def find_delta(base: Path, tree: Path, trust: Trust = DISTRUST) -> Delta:
    """Compare two trees."""
    base_fd, tree_fd = open_tree(str(base)), open_tree(str(tree))
    try:
        return compare(
            scan(base_fd), scan(tree_fd), ContentComparer(base_fd, tree_fd), trust
        )
    finally:
        os.close(base_fd)
        os.close(tree_fd)


def write_delta(blob_dir: Path, tree: Path, delta: Delta) -> str:
    """Write a layer and return the path of its blob."""
    tree_fd = open_tree(str(tree))
    try:
        return write_layer(
            str(blob_dir), tree_fd, delta.removed, delta.changes
        ).path
    finally:
        os.close(tree_fd)


def moment_of(tree: Path) -> int:
    """Return a moment of the file system of a tree, later than all it did."""
    time.sleep(0.02)  # ctimes advance in ticks of a few milliseconds
    probe = tree.parent / 'probe'
    probe.write_bytes(b'')
    moment = os.lstat(probe).st_ctime_ns
    probe.unlink()
    return moment
