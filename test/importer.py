# SPDX-License-Identifier: GPL-3.0-or-later
"""Import stashes as stackbuild does it, without the build by kiwi that follows.

Usage: importer.py <directory for temporary files> <root to make> <image>...
"""
from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from kiwi_stackbuild_plugin.stackbuild.root_import import import_images
from kiwi_stackbuild_plugin.stackbuild.stacking import plan_stack
from kiwi_stackbuild_plugin.storage.cleanup import open_space
from kiwi_stackbuild_plugin.storage.find import Sources, find


def main(temp_dir: str, root: str, *names: str) -> None:
    """Make a root of stashes."""
    with ExitStack() as stack:
        space = stack.enter_context(open_space(temp_dir))
        images = [find(name, '--stash', Sources(space)) for name in names]
        import_images(plan_stack(space, images, stack), root)


if __name__ == '__main__':
    os.umask(0o077)
    main(*sys.argv[1:])
