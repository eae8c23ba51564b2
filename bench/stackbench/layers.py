# SPDX-License-Identifier: GPL-3.0-or-later
"""Import an image as stackbuild does, and nothing else: layers.py IMAGE DIRECTORY.

Writes the seconds of that alone to DIRECTORY.seconds, without the start of Python.
"""
from __future__ import annotations

import os
import sys
import time

sys.path.insert(0, os.path.abspath(f'{os.path.dirname(__file__)}/../..'))

from kiwi_stackbuild_plugin.stackbuild.root_import import import_images
from kiwi_stackbuild_plugin.stackbuild.stacking import Step
from kiwi_stackbuild_plugin.storage.cleanup import open_space
from kiwi_stackbuild_plugin.storage.local import find_image, mounted


def main(name: str, target: str) -> None:
    """Make the directory, which is there and empty, the root tree of an image."""
    image = find_image(name)
    assert image is not None
    os.rmdir(target)
    with open_space('/tmp') as space, mounted(space, image.image_id) as path:
        started = time.monotonic()
        import_images([Step(image, path)], target)
        taken = time.monotonic() - started
    with open(f'{target}.seconds', 'w', encoding='ascii') as out:
        out.write(str(taken))


if __name__ == '__main__':
    main(*sys.argv[1:])
