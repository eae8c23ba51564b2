# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors a user can cause or meet: one line (what, which, why) and a hint."""
from __future__ import annotations

import errno
import os

from kiwi.exceptions import KiwiError


class KiwiStackBuildError(KiwiError):  # type: ignore[misc]
    """Root of all errors of this plugin; kiwi prints it and exits with 1.

    :param message: one line: what failed, on which object, why
    :param hint: one line: what to do about it, or empty
    """

    def __init__(self, message: str, hint: str = '') -> None:
        self.summary = on_one_line(message)
        self.hint = on_one_line(hint)
        super().__init__(
            self.summary + (f'\n  hint: {self.hint}' if hint else '')
        )


class KiwiStashArgumentInvalid(KiwiStackBuildError):
    """An option value, a name, a tag or a pass-through argument is wrong."""


class KiwiStashRootInvalid(KiwiStackBuildError):
    """The root tree is missing, not a root tree, or not safe to read."""


class KiwiStashTreeChanged(KiwiStackBuildError):
    """A file of the root tree changed while it was being read."""


class KiwiStashNotStorable(KiwiStackBuildError):
    """The tree holds entries that no layer can hold (with --strict)."""


class KiwiStashVerifyFailed(KiwiStackBuildError):
    """What was stored is not what is in the tree (with --verify)."""


class KiwiStashDamaged(KiwiStackBuildError):
    """What is stored is not what was recorded of it."""


class KiwiStashDescriptionInvalid(KiwiStackBuildError):
    """An image description is missing, unreadable or does not fit."""


class KiwiStashImageNotFound(KiwiStackBuildError):
    """No stash, image or archive behind a reference."""


class KiwiStashTargetInvalid(KiwiStackBuildError):
    """The target directory cannot be used."""


class KiwiStashToolFailed(KiwiStackBuildError):
    """podman, skopeo or another tool is missing, failed or took too long."""


class KiwiStashSystemFailed(KiwiStackBuildError):
    """The system refused: disk full, read-only, input/output error."""


class KiwiStashLocked(KiwiStackBuildError):
    """Another run works on the same stash name or root tree."""


#: what says that there is nothing of a name: no such thing, or not on this way
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def is_absent(issue: OSError) -> bool:
    """Tell whether an error says that there is nothing of a name; else nobody knows."""
    return issue.errno in _ABSENT


def printable(text: str) -> str:
    """Return text with control characters and undecodable bytes escaped.

    Names come from trees and containers of strangers: a terminal escape in
    them must not reach the terminal. Line feeds stay.
    """
    if text.isprintable():
        return text
    return ''.join(
        char if char.isprintable() or char == '\n'
        else char.encode('unicode_escape', 'backslashreplace').decode('ascii')
        if not 0xDC80 <= ord(char) <= 0xDCFF else f'\\x{ord(char) - 0xDC00:02x}'
        for char in text
    )


def printable_path(path: bytes) -> str:
    """Return a path of a tree on one line, with nothing a terminal acts on."""
    return on_one_line(os.fsdecode(path))


def on_one_line(text: str) -> str:
    """Return printable text whose line feeds are escaped as well."""
    return printable(text).replace('\n', '\\n')
