# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of kiwi's scripts run: the stash's, the extension's, or both."""
from __future__ import annotations

import os
import stat
from typing import Dict, List, NamedTuple, Optional

#: scripts that run when a root tree is prepared, see kiwi.system.prepare and
#: kiwi.system.root_import: the work of the stash's is in the stash
PREPARING = (
    'post_bootstrap.sh', 'config.sh', 'config-overlay.sh',
    'config-host-overlay.sh'
)
#: scripts that run in or on an image being made of it, see kiwi.builder
_CREATING = ('images.sh', 'pre_disk_sync.sh', 'disk.sh')
_JOINED = '''#!/bin/bash
# {name} of the stash, then that of the extension
run() {{
    local script status
    script=$(mktemp "${{0%/*}}/.{name}.XXXXXX") || return
    cat <&3 >"$script" && chmod 700 "$script" && "$script" "$@" 3<&-
    status=$?
    rm -f "$script"
    return "$status"
}}
'''
_PART = '''run "$@" 3<<'{mark}' || exit
{script}
{mark}
'''


class Script(NamedTuple):
    """A script and the permission bits of its file."""

    content: bytes
    mode: int


class MergedScripts(NamedTuple):
    """Scripts of a full description made of that of a stash and an extension.

    said: a line on each; instead: what runs in the place of one, or nothing
    """

    said: List[str]
    instead: Dict[str, Optional[Script]]


def merge_scripts(stashed_dir: str, directory: str, keep: bool) -> MergedScripts:
    """Join the scripts that both have.

    Those of the prepare phase always: the description tells how the root is
    built from nothing. In this build that of the stash runs only on request.

    :param keep: run the scripts of the stash, too
    """
    said: List[str] = []
    instead: Dict[str, Optional[Script]] = {}
    for name in PREPARING + _CREATING:
        old, new = (
            os.path.join(place, name) for place in (stashed_dir, directory)
        )
        has_old, has_new = os.path.exists(old), os.path.exists(new)
        prepares = name in PREPARING
        if has_old and has_new and (keep or prepares):
            if not keep:
                instead[name] = _read(new)
            if keep or _read(old).content != _read(new).content:
                _join(name, old, new)
        elif has_old and prepares and not keep:
            instead[name] = None
        line = _say(name, has_old, has_new, keep)
        if line:
            said.append(line)
    return MergedScripts(said, instead)


def _say(name: str, has_old: bool, has_new: bool, keep: bool) -> str:
    if has_old and has_new:
        return f'{name}: that of the ' + (
            'stash, then that of the extension' if keep
            else 'extension, not that of the stash (see --keep-scripts)'
        )
    if has_new:
        return f'{name}: that of the extension'
    if not has_old:
        return ''
    if name in PREPARING and not keep:
        return f'{name}: not again, that of the stash did its work (see --keep-scripts)'
    return f'{name}: that of the stash'


def _read(path: str) -> Script:
    with open(path, 'rb') as source:
        return Script(source.read(), stat.S_IMODE(os.fstat(source.fileno()).st_mode) & 0o777)


def _join(name: str, old: str, new: str) -> None:
    """Put two scripts into one that runs each with its own interpreter.

    Written beside and renamed: nothing is written through a link.
    """
    text = _JOINED.format(name=name)
    for path in (old, new):
        script = os.fsdecode(_read(path).content).rstrip('\n')
        if not script.startswith('#!'):
            script = f'#!/bin/bash\n{script}'
        mark = 'END-OF-SCRIPT'
        while mark in script:
            mark += '-'
        text += _PART.format(mark=mark, script=script)
    fd = os.open(f'{new}.joined', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
    with open(fd, 'wb') as out:
        out.write(os.fsencode(text))
        os.fchmod(out.fileno(), 0o755)  # kiwi runs it
    os.rename(f'{new}.joined', new)
