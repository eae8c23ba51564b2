# SPDX-License-Identifier: GPL-3.0-or-later
"""When what a scan told of two entries is the same."""
from __future__ import annotations

import stat

from kiwi_stackbuild_plugin.entry import Entry

_SECOND = 10**9


def same_metadata(old: Entry, new: Entry) -> bool:
    """Tell whether two entries agree in all but mtime and content."""
    one, two = old.stat, new.stat
    if one.st_mode != two.st_mode or one.st_uid != two.st_uid \
            or one.st_gid != two.st_gid or old.xattrs != new.xattrs:
        return False
    if stat.S_ISDIR(two.st_mode):
        return True
    return (
        one.st_size == two.st_size and old.target == new.target
        and one.st_rdev == two.st_rdev
    )


def same_but_rounded(old: Entry, new: Entry) -> bool:
    """Tell whether mtimes differ only by a lost fraction of a second."""
    one, two = old.stat.st_mtime_ns, new.stat.st_mtime_ns
    return abs(one - two) < _SECOND and (
        one % _SECOND == 0 or two % _SECOND == 0
    )
